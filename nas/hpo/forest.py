"""Random forest regression with the uncertainty of its trees and of their leaves.

Notation
    n, D, T     observations, dimensions, trees        x   (n, D)        y   (n,)
    c           (T, n) how often a tree has drawn an observation, 1 for those that came after the trees were grown
    leaf        number of a node among the nodes of all trees
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

TREES = 48
FEATURES = 0.5  # share of the dimensions tried at a split: less alike trees, better calibrated intervals
LEAF = 2  # observations in a leaf at least
FLOOR = 1e-12  # variance where all trees agree and all leaves are pure


@dataclass(frozen=True)
class Forest:
    """``trees`` are scikit-learn's; the statistics of their leaves are ours, over ``x``, ``y`` counted ``c`` times."""

    trees: tuple[Any, ...]
    x: np.ndarray
    y: np.ndarray
    c: np.ndarray

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation (k,) at ``x`` (k, D), by the law of total variance (Hutter et al. 2014, 4.3.2).

        The variance is the mean of the variances in the trees' leaves and the variance of the leaves' means.
        """
        leaves = self._leaves(x)
        means, variances = self._statistics
        deviation = np.sqrt(variances[leaves].mean(axis=0) + means[leaves].var(axis=0) + FLOOR)
        return means[leaves].mean(axis=0), deviation

    def proximity(self, x: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return (k, p): the share of trees that have ``x`` (k, D) and ``others`` (p, D) in one leaf (Breiman 2001)."""
        return (self._leaves(x)[:, :, None] == self._leaves(others)[:, None, :]).mean(axis=0)

    def given(self, x: np.ndarray, y: np.ndarray) -> "Forest":
        """Return the same trees with leaves over ``x``, ``y``, whose first rows are those the trees were grown on."""
        later = np.ones((len(self.trees), len(x) - self.c.shape[1]))
        return Forest(self.trees, x, y, np.hstack([self.c, later]))

    @cached_property
    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (leaves,) of what each leaf holds."""
        leaves, count = self._leaves(self.x).ravel(), int(self._offsets[-1])
        total = np.maximum(np.bincount(leaves, self.c.ravel(), count), 1e-300)
        means = np.bincount(leaves, (self.c * self.y).ravel(), count) / total
        around = (np.tile(self.y, len(self.trees)) - means[leaves]) ** 2
        return means, np.bincount(leaves, self.c.ravel() * around, count) / total

    @cached_property
    def _offsets(self) -> np.ndarray:
        return np.cumsum([0, *(tree.node_count for tree in self.trees)])

    def _leaves(self, x: np.ndarray) -> np.ndarray:
        """Return the leaves (T, k) that ``x`` (k, D) falls into."""
        single = np.ascontiguousarray(x, np.float32)
        found = np.array([tree.apply(single) for tree in self.trees])
        return found + self._offsets[:-1, None]


def fit(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> Forest:
    """Return a forest grown on ``x`` (n, D) and ``y`` (n,), each tree on a bootstrap sample (Breiman 2001)."""
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(seed)
    c = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=TREES).astype(float)
    single, column = np.ascontiguousarray(x, np.float32), np.asarray(y, float)[:, None]
    trees = []
    for counts, state in zip(c, rng.integers(2**31, size=TREES), strict=True):
        tree = DecisionTreeRegressor(max_features=FEATURES, min_samples_leaf=LEAF, random_state=int(state))
        trees.append(tree.fit(single, column, sample_weight=counts, check_input=False).tree_)
    return Forest(tuple(trees), x, y, c)
