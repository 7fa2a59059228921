"""Parzen mixtures for the tree-structured Parzen estimator, on mixed and conditional axes.

A mixture has one product of kernels per observation and one component that is the prior (Bergstra et al. 2011,
section 4; all axes in one product as in Falkner et al. 2018, section 4.1). Its density is taken relative to the prior:
where an observation has an axis inactive its kernel is the prior itself, a factor of 1, and nothing is imputed.

Notation
    n, k, s     observations, points, axes       u   (n, s) in [0, 1], the middles of bins on axes that have bins
    a           (n, s) bool: active              w   (n + 1,) weights of sum 1, the prior's last
    h           (s,) deviations of Gaussians; for unordered bins the share of the prior in the kernel
    F           3 features per continuous axis and 1 per bin: a log kernel is the product of a point's features with
                an observation's, so that a thousand components cost one small matrix product
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

SHARE = 0.2  # of the prior in the kernel of unordered bins (Watanabe 2023, section 5)
SCOTT = 0.5  # deviations per n^(-1 / (s + 4)) of spread: half of Scott's, as the good set has several modes
NARROWEST = 0.01  # deviation, in units
STEP = 0.5  # least deviation in bins, on axes that have bins
TINY = 1e-300


class Axes:
    """Dimensions in [0, 1]: ``edges`` of bins as wide as their prior mass, None for a continuous one."""

    def __init__(self, edges: Sequence[np.ndarray | None], ordered: Sequence[bool]) -> None:
        self.ordered = np.array(ordered, bool)
        self.continuous = np.array([s for s, edge in enumerate(edges) if edge is None], int)
        self.edges = {s: edge for s, edge in enumerate(edges) if edge is not None}
        self.widths = {s: np.diff(edge) for s, edge in self.edges.items()}
        self.middles = {s: 0.5 * (edge[1:] + edge[:-1]) for s, edge in self.edges.items()}
        self.bins = np.array([math.inf if edge is None else len(edge) - 1 for edge in edges])
        self._owner = np.repeat(list(self.edges), [len(edge) - 1 for edge in self.edges.values()]).astype(int)
        self._low = np.concatenate([np.empty(0), *(edge[:-1] for edge in self.edges.values())])
        self._high = np.concatenate([np.empty(0), *(edge[1:] for edge in self.edges.values())])

    def places(self, s: int, u: np.ndarray) -> np.ndarray:
        """Return the bins (k,) of axis ``s`` that ``u`` (k,) lie in."""
        return np.minimum(np.searchsorted(self.edges[s], u, side="right"), len(self.widths[s])) - 1

    def indicators(self, u: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Return (n, bins of all axes): 1 for the bin of each active axis."""
        at = u[:, self._owner]
        return ((at >= self._low) & (at < self._high) & a[:, self._owner]).astype(float)

    def masses(self, s: int, h: float) -> np.ndarray:
        """Return (bins, bins) of axis ``s``: row j is the distribution of the kernel that stands on bin j.

        Ordered bins hold the mass of a truncated Gaussian; unordered ones mix the bin itself with the prior, which is
        the kernel of Aitchison and Aitken (1976, eq. 1) where all bins are alike.
        """
        if not self.ordered[s]:
            return (1 - h) * np.eye(len(self.widths[s])) + h * self.widths[s]
        below = ndtr((self.edges[s] - self.middles[s][:, None]) / h)
        mass = np.maximum(np.diff(below, axis=1), TINY)
        return mass / mass.sum(axis=1, keepdims=True)

    def bandwidths(self, u: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Return h (s,) by Scott's rule on the observations that have the axis active, and one that is the prior.

        The prior's variance of 1 / 12 keeps two or three good observations from claiming that they know the place.
        """
        count = a.sum(axis=0)
        mean = np.where(a, u, 0.0).sum(axis=0) / np.maximum(count, 1)
        variance = (np.where(a, (u - mean) ** 2, 0.0).sum(axis=0) + 1 / 12) / (count + 1)
        free = int((self.bins > 1).sum())
        h = SCOTT * np.sqrt(variance) * np.maximum(count, 1.0) ** (-1 / (free + 4))
        return np.where(self.ordered, np.maximum(h, np.maximum(NARROWEST, STEP / self.bins)), SHARE)


@dataclass(frozen=True)
class Parzen:
    """The mixture on observations ``u``, ``a`` (n, s) with weights ``w`` and bandwidths ``h``."""

    axes: Axes
    u: np.ndarray
    a: np.ndarray
    w: np.ndarray
    h: np.ndarray

    def log_ratio(self, u: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Return (k,): log of the density at points ``u``, ``a`` (k, s) over that of the prior."""
        logs = self._left(u, a) @ self._right.T + np.log(self.w[:-1])
        top = logs.max(axis=1, initial=0.0)
        logs -= top[:, None]
        total = np.exp(logs, out=logs).sum(axis=1) + self.w[-1] * np.exp(-top)
        value: np.ndarray = np.log(total) + top
        return value

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw u (count, s); an axis that the drawn component has inactive is drawn from the prior."""
        chosen = np.minimum(np.searchsorted(np.cumsum(self.w), rng.random(count)), len(self.u))
        nothing = np.zeros((1, len(self.h)))
        at, known = np.vstack([self.u, nothing])[chosen], np.vstack([self.a, nothing > 0])[chosen]
        draws = rng.random(at.shape)
        out = np.empty_like(draws)
        c, h = self.axes.continuous, self.h[self.axes.continuous]
        low, high = ndtr(-at[:, c] / h), ndtr((1 - at[:, c]) / h)
        near = at[:, c] + h * ndtri(low + draws[:, c] * (high - low))
        out[:, c] = np.where(known[:, c], np.clip(near, 0.0, 1.0), draws[:, c])
        for s, masses in self._masses.items():
            ends = np.vstack([masses, self.axes.widths[s]]).cumsum(axis=1)[:, :-1]
            row = np.where(known[:, s], self.axes.places(s, at[:, s]), len(masses))
            out[:, s] = self.axes.middles[s][(ends[row] < draws[:, s, None]).sum(axis=1)]
        return out

    @cached_property
    def _masses(self) -> dict[int, np.ndarray]:
        return {s: self.axes.masses(s, float(self.h[s])) for s in self.axes.edges}

    def _left(self, u: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Return the features (k, F) of points."""
        c = self.axes.continuous
        v, active = u[:, c] - 0.5, a[:, c]
        blocks = [v * active, active, v**2 * active]
        for s, masses in self._masses.items():
            table = np.log(masses / self.axes.widths[s]).T
            blocks.append(table[self.axes.places(s, u[:, s])] * a[:, s, None])
        return np.hstack(blocks)

    @cached_property
    def _right(self) -> np.ndarray:
        """The features (n, F) of observations: log N(x; u, h) is linear in x, 1, x^2, all counted from the middle."""
        c = self.axes.continuous
        v, active, h = self.u[:, c] - 0.5, self.a[:, c], self.h[c]
        inside = ndtr((0.5 - v) / h) - ndtr((-0.5 - v) / h)
        constant = -0.5 * (v / h) ** 2 - np.log(math.sqrt(2 * math.pi) * h * inside)
        blocks = [v / h**2 * active, constant * active, -0.5 / h**2 * active]
        return np.hstack([*blocks, self.axes.indicators(self.u, self.a)])
