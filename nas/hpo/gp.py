"""Exact Gaussian process regression on groups of features: a product and a sum of Matérn-5/2 kernels.

Notation
    n, F, G     observations, features, groups of features with one lengthscale each
    y           (n,) standardised
    R           (G, n, n) squared distances within a group
    l           (G,) lengthscales                r   distance over all groups, each in units of its lengthscale
    s, b, v     variances of the product part, of the additive part and of the noise
    K           s k(r) + b / G sum_g k(r_g) + v I            a   K^-1 (y - mean)
    theta       (G + 3,) = log of l, s, b, v: what is fitted

The additive part (Duvenaud et al. 2011, first order) says that each parameter has an effect of its own, and learns that
from few observations. Parameters of few values share most distances: their kernels are tables, looked up by code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

SQRT_5 = math.sqrt(5.0)
# normal priors of the logarithms: mean, deviation
LENGTH, SIGNAL, ADDITIVE, NOISE = (-0.5, 1.0), (-0.7, 1.0), (-0.7, 1.0), (-6.0, 2.0)
LEAST_NOISE = 1e-6
BOUNDS = {
    "lengthscale": (2e-2, 1e3),
    "signal": (1e-3, 20.0),
    "additive": (1e-3, 20.0),
    "noise": (LEAST_NOISE, 1.0),
}


def matern(r: np.ndarray) -> np.ndarray:
    """Return the Matérn-5/2 correlation at distance ``r`` (Rasmussen and Williams 2006, eq. 4.17)."""
    return _matern_and_slope(r)[0]


def _matern_and_slope(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    says that a group has many.
    """

    x: np.ndarray
    groups: np.ndarray
    codes: np.ndarray

    @classmethod
    def plain(cls, x: np.ndarray) -> "Inputs":
        """Return ``x`` (n, F) with each feature a continuous group of its own."""
        x = np.asarray(x, float)
        return cls(x, np.arange(x.shape[1]), np.full(x.shape, -1))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, which: np.ndarray | slice) -> "Inputs":
        return Inputs(self.x[which], self.groups, self.codes[which])

    def then(self, other: "Inputs") -> "Inputs":
        """Return these points and those of ``other``."""
        return Inputs(np.vstack([self.x, other.x]), self.groups, np.vstack([self.codes, other.codes]))

    def columns(self, group: int) -> np.ndarray:
        """Return the features (n, F_g) of a group."""
        return self.x[:, self.groups == group]


class Distances:
    """Squared distances between n and m points, group by group: of pairs of points, or of pairs of codes.

    The tables of all finite groups stand on the diagonal of one matrix, between the one-hot codes of the points: a sum
    over these groups is two products of matrices.
    """

    def __init__(self, one: Inputs, other: Inputs) -> None:
        self.tables: list[np.ndarray] = []
        self._blocks: list[slice | None] = []
        rows, columns, width = [], [], 0
        for group in range(one.codes.shape[1]):
            own, others = one.columns(group), other.columns(group)
            codes, other_codes = one.codes[:, group], other.codes[:, group]
            if not len(codes) or codes[0] < 0:
                self.tables.append(_squared(own, others))
                self._blocks.append(None)
                continue
            count = max(int(codes.max()), int(other_codes.max())) + 1
            points = np.zeros((count, own.shape[1]))
            points[other_codes], points[codes] = others, own
            self.tables.append(_squared(points, points))
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
    """Lengthscales (G,), and the variances of the parts."""

    lengthscales: np.ndarray
    signal: float
    additive: float
    noise: float

    def covariance(self, one: Inputs, other: Inputs) -> np.ndarray:
        """Return the covariance (n, m) of the noise-free values at ``one`` (n) and ``other`` (m)."""
        scale = 1 / self.lengthscales[one.groups]
        k = self.signal * matern(np.sqrt(_squared(one.x * scale, other.x * scale)))
        share = self.additive / len(self.lengthscales)
        distances = Distances(one, other)
        pairs = zip(distances.tables, self.lengthscales, strict=True)
        k += distances.sum([share * matern(np.sqrt(table) / length) for table, length in pairs])
        return k

    @property
    def variance(self) -> float:
        """The prior variance of a noise-free value."""
        return self.signal + self.additive


@dataclass(frozen=True)
class GaussianProcess:
    """A process conditioned on ``y`` (n,) at ``inputs``; ``mean`` is its constant prior mean."""

    inputs: Inputs
    y: np.ndarray
    theta: Hyperparameters
    mean: float = 0.0

    @cached_property
    def _factor(self) -> np.ndarray:
        k = self.theta.covariance(self.inputs, self.inputs)
        k[np.diag_indices_from(k)] += self.theta.noise
        factor: np.ndarray = cholesky(k, lower=True, check_finite=False)
        return factor

    @cached_property
    def _a(self) -> np.ndarray:
        a: np.ndarray = cho_solve((self._factor, True), self.y - self.mean, check_finite=False)
        return a

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation (k,) of the noise-free function at k points (R&W 2006, eq. 2.25, 2.26)."""
        cross = self.theta.covariance(inputs, self.inputs)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self.theta.variance - np.einsum("ij,ij->j", half, half)
        return self.mean + cross @ self._a, np.sqrt(np.maximum(variance, 1e-12))

    def sample(self, inputs: Inputs, rng: np.random.Generator) -> np.ndarray:
        """Return one draw (k,) of the noise-free function at k points (R&W 2006, appendix A.2)."""
        cross = self.theta.covariance(inputs, self.inputs)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        covariance = self.theta.covariance(inputs, inputs) - half.T @ half
        covariance[np.diag_indices_from(covariance)] += 1e-6 * self.theta.variance
        factor = cholesky(covariance, lower=True, check_finite=False)
        return self.mean + cross @ self._a + factor @ rng.standard_normal(len(inputs))

    def believing(self, inputs: Inputs) -> "GaussianProcess":
        """Return the process told its own mean at pending points (Ginsbourger et al. 2010, section 4.2)."""
        if not len(inputs):
            return self
        mean, _ = self.predict(inputs)
        return replace(self, inputs=self.inputs.then(inputs), y=np.append(self.y, mean))

    def given(self, inputs: Inputs, y: np.ndarray) -> "GaussianProcess":
        """Return the process of the same hyperparameters on other observations."""
        return replace(self, inputs=inputs, y=y, mean=float(y.mean()))


def fit(inputs: Inputs, y: np.ndarray) -> GaussianProcess:
    """Return the process whose hyperparameters are most probable given ``y`` (n,) at n points.

    L-BFGS from the centre of the priors. ``y`` should have mean 0 and deviation 1; its mean is the prior mean.
    """
    mean = float(y.mean())
    groups = inputs.codes.shape[1]
    centre, _ = priors(groups)
    bounds = [np.log(BOUNDS["lengthscale"])] * groups + [
        np.log(BOUNDS[name]) for name in ("signal", "additive", "noise")
    ]
    found = minimize(  # type: ignore[call-overload]
        Posterior(inputs, y - mean).negative_log,
        np.clip(centre, *np.transpose(bounds)),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 40, "ftol": 1e-5},
    )
    values = np.exp(found.x)
    return GaussianProcess(inputs, y, Hyperparameters(values[:-3], *map(float, values[-3:])), mean)


def priors(groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations (G + 3,) of the normal priors of theta.

    Lengthscales grow with the square root of the number of groups (Hvarfner et al. 2024, section 4): the more
    dimensions, the longer, so that a hundred parameters do not make every point a stranger to every other.
    """
    rest = np.array([SIGNAL, ADDITIVE, NOISE])
    means = np.append(np.full(groups, LENGTH[0] + 0.5 * math.log(groups)), rest[:, 0])
    return means, np.append(np.full(groups, LENGTH[1]), rest[:, 1])


class Posterior:
    """The posterior density of theta given centred ``y`` (n,); distances are computed once."""

    def __init__(self, inputs: Inputs, y: np.ndarray) -> None:
        self.y = y
        self.distances = Distances(inputs, inputs)
        self.means, self.deviations = priors(inputs.codes.shape[1])

    def negative_log(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the negative log posterior of ``theta`` (G + 3,), without constants, and its gradient.

        The gradient follows R&W 2006, eq. 5.9.
        """
        distances, groups = self.distances, len(theta) - 3
        signal, additive, noise = np.exp(theta[groups:]).tolist()
        scaled = [w * table for w, table in zip(np.exp(-2 * theta[:groups]), distances.tables, strict=True)]
        own = [_matern_and_slope(np.sqrt(table)) for table in scaled]
        product, slope = _matern_and_slope(np.sqrt(np.maximum(distances.sum(scaled), 0.0)))
        total = distances.sum([value for value, _ in own]) / groups
        k = signal * product + additive * total
        k[np.diag_indices_from(k)] += noise
        try:
            factor = cholesky(k, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        a = cho_solve((factor, True), self.y, check_finite=False)
        value = 0.5 * float(self.y @ a) + float(np.log(np.diag(factor)).sum())
        w = np.outer(a, a) - _mirrored(dpotri(factor, lower=1)[0])
        parts = zip(distances.gathered(signal * w * slope), distances.gathered(w), scaled, own, strict=True)
        gradient = [
            np.vdot(one + additive / groups * each[1] * sums, part) for one, sums, part, each in parts
        ]
        gradient += [signal * np.vdot(w, product), additive * np.vdot(w, total), noise * np.trace(w)]
        away = (theta - self.means) / self.deviations
        return value + 0.5 * float(away @ away), -0.5 * np.array(gradient) + away / self.deviations


def _mirrored(lower: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix whose lower triangle is given."""
    full = np.tril(lower)
    full += np.tril(lower, -1).T
    return full


def squash(y: np.ndarray) -> np.ndarray:
    """Return ``y`` (n,) standardised after its bad side was made logarithmic: an outlier is bad, not a landmark.

    The unit is the spread of the better half; a constant ``y`` is all zeros.
    """
    y = np.clip(y, -1e150, 1e150)
    away = y - float(np.median(y))
    away /= (
        float(np.abs(away).max()) or 1.0
    )  # squares of what is left neither overflow nor matter where they underflow
    unit = float(np.sqrt((away[away <= 0] ** 2).mean())) or float(away.std()) or 1.0
    z = away / unit
    z = np.where(z > 0, np.log1p(np.maximum(z, 0.0)), z)
    spread = float(z.std())
    return (z - z.mean()) / spread if spread > 0 else np.zeros_like(z)
