"""Whether proxies pay as features of a surrogate: a forest on NAS-Bench-201's cells, with them and without.

The features without are those that a search has anyway: numbers and counts of the graph, log parameters and log MACs.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor

from search_spaces.architecture import Design

TOLD = (15, 30, 60)
SPLITS = 12


def graphs(designs: Sequence[Design]) -> np.ndarray:
    """Return ``(n, features)`` of the graphs, a column for every name that one of them has."""
    rows = [design.describe().features for design in designs]
    names = sorted({name for row in rows for name in row})
    return np.array([[row.get(name, 0.0) for name in names] for row in rows])


def gains(
    features: np.ndarray, scores: np.ndarray, accuracy: np.ndarray, seed: int
) -> list[dict[str, float]]:
    """Return Spearman's rho of predictions for the cells not told, with and without ``scores`` (n, proxies).

    One entry for each number of cells told: means over the same ``SPLITS`` splits, the mean difference, and its
    standard error.
    """
    found = []
    for told in TOLD:
        pairs = []
        for split in range(SPLITS):
            order = np.random.default_rng((seed, told, split)).permutation(len(accuracy))
            train, rest = order[:told], order[told:]
            pairs.append(
                [
                    _rho(columns, accuracy, train, rest, split)
                    for columns in (features, np.hstack([features, scores]))
                ]
            )
        without, beside = np.array(pairs).T
        error = (beside - without).std(ddof=1) / SPLITS**0.5
        found.append(
            {
                "told": told,
                "without": float(without.mean()),
                "with": float(beside.mean()),
                "gain": float((beside - without).mean()),
                "error": float(error),
            }
        )
    return found


def _rho(columns: np.ndarray, accuracy: np.ndarray, train: np.ndarray, rest: np.ndarray, seed: int) -> float:
    forest = RandomForestRegressor(100, random_state=seed, n_jobs=1).fit(columns[train], accuracy[train])
    return float(spearmanr(forest.predict(columns[rest]), accuracy[rest]).statistic)
