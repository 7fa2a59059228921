"""The kernel of Gaussian processes on groups of features: a product and a sum of Matérn-5/2 correlations.

Notation
    n, F, G     points, features, groups of features with one lengthscale each
    l           (G,) lengthscales                r   distance over all groups, each in units of its lengthscale
    s, b        variances of the product part and of the additive part
    t           (n,) what a cheaper source says of the points, where there is one
    k           s k(r) + b / G sum_g k(r_g) + SLOPE^2 t t'

What a cheaper source says enters as in Kennedy and O'Hagan (2000, eq. 2), f = rho t + delta: the slope rho, normal
about 0, is integrated out, so that a source that says nothing of the results is hardly heard once there are some.

The additive part (Duvenaud et al. 2011, first order) says that each parameter has an effect of its own, and learns that
from few observations. Parameters of few values share most distances: their kernels are tables, looked up by code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nas.hpo.warp import warped

SQRT_5 = math.sqrt(5.0)
SLOPE = 0.5  # deviation of rho, for results and scores of a source that are both standardised


def matern(r: np.ndarray) -> np.ndarray:
    """Return the Matérn-5/2 correlation at distance ``r`` (Rasmussen and Williams 2006, eq. 4.17)."""
    return matern_and_slope(r)[0]


def matern_and_slope(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``matern``, and its derivative by log l_g over the part of ``r`` squared that is of group g."""
    scaled = SQRT_5 * r
    decay = np.exp(-scaled)
    scaled += 1
    scaled *= decay
    value: np.ndarray = 5 / 3 * r
    value *= r
    value *= decay
    value += scaled
    scaled *= 5 / 3
    return value, scaled


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared distances (len(a), len(b)) of rows."""
    if a.shape[1] == 1:
        return (a - b.T) ** 2
    squared: np.ndarray = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(squared, 0.0, out=squared)


@dataclass(frozen=True)
class Inputs:
    """Points as features ``x`` (n, F); ``groups`` (F,) names the group of each feature, 0 to G - 1.

    ``codes`` (n, G) integers number the values of groups that have few of them: equal codes mean equal features. -1
    says that a group has many. ``numbers`` are the groups of one feature in [0, 1] that is to be warped. ``source``
    (n,) is t, what a cheaper source says of the points; None where there is none.
    """

    x: np.ndarray
    groups: np.ndarray
    codes: np.ndarray
    numbers: tuple[int, ...] = ()
    source: np.ndarray | None = None

    @classmethod
    def plain(cls, x: np.ndarray) -> "Inputs":
        """Return ``x`` (n, F) with each feature a continuous group of its own."""
        x = np.asarray(x, float)
        return cls(x, np.arange(x.shape[1]), np.full(x.shape, -1))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, which: np.ndarray | slice) -> "Inputs":
        source = None if self.source is None else self.source[which]
        return replace(self, x=self.x[which], codes=self.codes[which], source=source)

    def then(self, other: "Inputs") -> "Inputs":
        """Return these points and those of ``other``."""
        both = self.source is not None and other.source is not None
        return replace(
            self,
            x=np.vstack([self.x, other.x]),
            codes=np.vstack([self.codes, other.codes]),
            source=np.concatenate([self.source, other.source]) if both else None,
        )

    def columns(self, group: int) -> np.ndarray:
        """Return the features (n, F_g) of a group."""
        return self.x[:, self.groups == group]

    def warped(self, shapes: np.ndarray) -> "Inputs":
        """Return these points with ``numbers`` (W) warped by ``shapes`` (W, 2), see ``nas.hpo.warp``."""
        if not self.numbers:
            return self
        x = self.x.copy()
        for group, (a, b) in zip(self.numbers, shapes.tolist(), strict=True):
            own = self.groups == group
            x[:, own] = warped(x[:, own], a, b)
        return replace(self, x=x)


class Distances:
    """Squared distances between n and m points, group by group: of pairs of points, or of pairs of codes.

    The tables of all finite groups stand on the diagonal of one matrix, between the one-hot codes of the points: a sum
    over these groups is two products of matrices.
    """

    def __init__(self, one: Inputs, other: Inputs) -> None:
        self.tables: list[np.ndarray] = []
        self.points: list[np.ndarray] = []  # of each group, those that the columns of its table stand for
        self._blocks: list[slice | None] = []
        rows, columns, width = [], [], 0
        for group in range(one.codes.shape[1]):
            own, others = one.columns(group), other.columns(group)
            codes, other_codes = one.codes[:, group], other.codes[:, group]
            if not len(codes) or codes[0] < 0:
                self.tables.append(_squared(own, others))
                self.points.append(others)
                self._blocks.append(None)
                continue
            count = max(int(codes.max()), int(other_codes.max())) + 1
            points = np.zeros((count, own.shape[1]))
            points[other_codes], points[codes] = others, own
            self.tables.append(_squared(points, points))
            self.points.append(points)
            self._blocks.append(slice(width, width + count))
            rows.append(codes + width)
            columns.append(other_codes + width)
            width += count
        self._rows, self._columns = _one_hot(rows, len(one), width), _one_hot(columns, len(other), width)

    def sum(self, tables: Sequence[np.ndarray]) -> np.ndarray:
        """Return the sum (n, m) over groups of ``tables``, one in the place of each of ``self.tables``."""
        diagonal = np.zeros((self._rows.shape[1],) * 2)
        for block, table in zip(self._blocks, tables, strict=True):
            if block is not None:
                diagonal[block, block] = table
        total: np.ndarray = (self._rows @ diagonal) @ self._columns.T
        for block, table in zip(self._blocks, tables, strict=True):
            if block is None:
                total += table
        return total

    def gathered(self, values: np.ndarray) -> list[np.ndarray]:
        """Return for each group ``values`` (n, m) summed over the points of each entry of its table."""
        sums = values @ self._columns
        return [
            values if block is None else self._rows[:, block].T @ sums[:, block] for block in self._blocks
        ]


def _one_hot(places: Sequence[np.ndarray], n: int, width: int) -> np.ndarray:
    """Return (n, ``width``) with ones at ``places``, arrays (n,) of columns."""
    out = np.zeros((n, width))
    for place in places:
        out[np.arange(n), place] = 1.0
    return out


@dataclass(frozen=True)
class Hyperparameters:
    """Lengthscales (G,), the variances of the parts, and the shapes (W, 2) of the warps."""

    lengthscales: np.ndarray
    signal: float
    additive: float
    noise: float
    shapes: np.ndarray = field(default_factory=lambda: np.ones((0, 2)))

    def covariance(self, one: Inputs, other: Inputs) -> np.ndarray:
        """Return the covariance (n, m) of the noise-free values at ``one`` (n) and ``other`` (m)."""
        one, other = one.warped(self.shapes), other.warped(self.shapes)
        scale = 1 / self.lengthscales[one.groups]
        k = self.signal * matern(np.sqrt(_squared(one.x * scale, other.x * scale)))
        share = self.additive / len(self.lengthscales)
        distances = Distances(one, other)
        pairs = zip(distances.tables, self.lengthscales, strict=True)
        k += distances.sum([share * matern(np.sqrt(table) / length) for table, length in pairs])
        return k if (linear := of_source(one, other)) is None else k + linear

    def variance(self, inputs: Inputs) -> np.ndarray:
        """Return the prior variances (n,) of the noise-free values at ``inputs``."""
        own = np.full(len(inputs), self.signal + self.additive)
        return own if inputs.source is None else own + (SLOPE * inputs.source) ** 2


def of_source(one: Inputs, other: Inputs) -> np.ndarray | None:
    """Return the part (n, m) of the covariance that is of what a cheaper source says; None where there is none."""
    if one.source is None or other.source is None:
        return None
    return SLOPE**2 * np.outer(one.source, other.source)
