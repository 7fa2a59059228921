"""Exact Gaussian process regression on groups of features, with hyperparameters that are fitted to what was observed.

Notation
    n, G, W     observations, groups of features with one lengthscale each, numbers that are warped
    y           (n,) standardised                v   variance of the noise
    l, s, b, k  of the kernel, see ``nas.hpo.kernel``
    K           k + v I                          a   K^-1 (y - mean)
    theta       (G + 3 + 2 W,) = log of l, s, b, v, and of the two shapes of each warp: what is fitted
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from nas.hpo.kernel import Distances, Hyperparameters, Inputs, matern_and_slope, of_source
from nas.hpo.warp import slopes, warped

# normal priors of the logarithms: mean, deviation
SHAPE = (0.0, 0.5)  # the identity is the most probable warp
LENGTH, SIGNAL, ADDITIVE, NOISE = (-0.5, 1.0), (-0.7, 1.0), (-0.7, 1.0), (-6.0, 2.0)
BOUNDS = {
    "lengthscale": (2e-2, 1e3),
    "signal": (1e-3, 20.0),
    "additive": (1e-3, 20.0),
    "noise": (1e-6, 1.0),
    "shape": (0.1, 10.0),
}


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
        inputs = self._as_told(inputs)
        cross = self.theta.covariance(inputs, self.inputs)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self.theta.variance(inputs) - np.einsum("ij,ij->j", half, half)
        return self.mean + cross @ self._a, np.sqrt(np.maximum(variance, 1e-12))

    def sample(self, inputs: Inputs, rng: np.random.Generator) -> np.ndarray:
        """Return one draw (k,) of the noise-free function at k points (R&W 2006, appendix A.2)."""
        inputs = self._as_told(inputs)
        cross = self.theta.covariance(inputs, self.inputs)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        covariance = self.theta.covariance(inputs, inputs) - half.T @ half
        covariance[np.diag_indices_from(covariance)] += 1e-6 * self.theta.variance(inputs)
        factor = cholesky(covariance, lower=True, check_finite=False)
        return self.mean + cross @ self._a + factor @ rng.standard_normal(len(inputs))

    def believing(self, inputs: Inputs) -> "GaussianProcess":
        """Return the process told its own mean at pending points (Ginsbourger et al. 2010, section 4.2)."""
        if not len(inputs):
            return self
        mean, _ = self.predict(inputs)
        told = self.inputs.then(self._as_told(inputs))
        return replace(self, inputs=told, y=np.append(self.y, mean))

    def _as_told(self, inputs: Inputs) -> Inputs:
        """Return ``inputs`` without what a source says of them where the process was told nothing by it."""
        return inputs if self.inputs.source is not None else replace(inputs, source=None)

    def given(self, inputs: Inputs, y: np.ndarray) -> "GaussianProcess":
        """Return the process of the same hyperparameters on other observations."""
        return replace(self, inputs=inputs, y=y, mean=float(y.mean()))


def fit(inputs: Inputs, y: np.ndarray) -> GaussianProcess:
    """Return the process whose hyperparameters are most probable given ``y`` (n,) at n points.

    L-BFGS from the centre of the priors. ``y`` should have mean 0 and deviation 1; its mean is the prior mean.
    """
    mean = float(y.mean())
    groups = inputs.codes.shape[1]
    centre, _ = priors(groups, len(inputs.numbers))
    bounds = [np.log(BOUNDS["lengthscale"])] * groups
    bounds += [np.log(BOUNDS[name]) for name in ("signal", "additive", "noise")]
    bounds += [np.log(BOUNDS["shape"])] * (2 * len(inputs.numbers))
    found = minimize(  # type: ignore[call-overload]
        Posterior(inputs, y - mean).negative_log,
        np.clip(centre, *np.transpose(bounds)),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 40, "ftol": 1e-5},
    )
    return GaussianProcess(inputs, y, hyperparameters(found.x, groups), mean)


def hyperparameters(theta: np.ndarray, groups: int) -> Hyperparameters:
    """Return the hyperparameters whose logarithms are ``theta`` (G + 3 + 2 W,)."""
    values = np.exp(theta)
    signal, additive, noise = values[groups : groups + 3].tolist()
    return Hyperparameters(values[:groups], signal, additive, noise, values[groups + 3 :].reshape(-1, 2))


def priors(groups: int, numbers: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations (G + 3 + 2 W,) of the normal priors of theta; ``numbers`` (W) are warped.

    Lengthscales grow with the square root of the number of groups (Hvarfner et al. 2024, section 4): the more
    dimensions, the longer, so that a hundred parameters do not make every point a stranger to every other.
    """
    rest = np.array([SIGNAL, ADDITIVE, NOISE, *[SHAPE] * (2 * numbers)])
    means = np.append(np.full(groups, LENGTH[0] + 0.5 * math.log(groups)), rest[:, 0])
    return means, np.append(np.full(groups, LENGTH[1]), rest[:, 1])


@dataclass(frozen=True)
class Parts:
    """What a kernel matrix is made of: squared distances in units of l, by group.

    ``own`` are the correlations of each group with their slopes; ``product`` and ``slope`` the same of all groups, and
    ``mean`` the mean of the correlations of the groups.
    """

    scaled: list[np.ndarray]
    own: list[tuple[np.ndarray, np.ndarray]]
    product: np.ndarray
    slope: np.ndarray
    mean: np.ndarray


class Posterior:
    """The posterior density of theta given centred ``y`` (n,); distances of what is not warped are computed once."""

    def __init__(self, inputs: Inputs, y: np.ndarray) -> None:
        self.y, self.numbers = y, inputs.numbers
        self.distances = Distances(inputs, inputs)
        self.linear = of_source(inputs, inputs)
        self.groups = inputs.codes.shape[1]
        self.means, self.deviations = priors(self.groups, len(self.numbers))

    def negative_log(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the negative log posterior of ``theta`` (G + 3 + 2 W,), without constants, and its gradient.

        The gradient follows R&W 2006, eq. 5.9.
        """
        hyper = hyperparameters(theta, self.groups)
        parts = self._parts(hyper)
        k = hyper.signal * parts.product + hyper.additive * parts.mean
        if self.linear is not None:
            k += self.linear
        k[np.diag_indices_from(k)] += hyper.noise
        try:
            factor = cholesky(k, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        a = cho_solve((factor, True), self.y, check_finite=False)
        value = 0.5 * float(self.y @ a) + float(np.log(np.diag(factor)).sum())
        gradient = self._gradient(np.outer(a, a) - _mirrored(dpotri(factor, lower=1)[0]), hyper, parts)
        away = (theta - self.means) / self.deviations
        return value + 0.5 * float(away @ away), -0.5 * gradient + away / self.deviations

    def _parts(self, hyper: Hyperparameters) -> Parts:
        distances = self.distances
        pairs = zip(self._tables(hyper.shapes), hyper.lengthscales.tolist(), strict=True)
        scaled = [table / length**2 for table, length in pairs]
        own = [matern_and_slope(np.sqrt(table)) for table in scaled]
        together = np.sqrt(np.maximum(distances.sum(scaled), 0.0))
        mean = distances.sum([value for value, _ in own]) / self.groups
        return Parts(scaled, own, *matern_and_slope(together), mean)

    def _gradient(self, w: np.ndarray, hyper: Hyperparameters, parts: Parts) -> np.ndarray:
        """Return the sums of ``w`` (n, n) times the derivative of K by each of theta (G + 3 + 2 W,)."""
        sums = zip(
            self.distances.gathered(hyper.signal * w * parts.slope),
            self.distances.gathered(w),
            parts.own,
            strict=True,
        )
        pull = [one + hyper.additive / self.groups * slope * other for one, other, (_, slope) in sums]
        lengths = [np.vdot(each, part) for each, part in zip(pull, parts.scaled, strict=True)]
        variances = [
            hyper.signal * np.vdot(w, parts.product),
            hyper.additive * np.vdot(w, parts.mean),
            hyper.noise * np.trace(w),
        ]
        return np.array([*lengths, *variances, *self._of_shapes(pull, hyper)])

    def _tables(self, shapes: np.ndarray) -> list[np.ndarray]:
        """Return the squared distances of each group, warped."""
        tables = list(self.distances.tables)
        for group, (a, b) in zip(self.numbers, shapes.tolist(), strict=True):
            w = warped(self.distances.points[group], a, b)
            tables[group] = (w - w.T) ** 2
        return tables

    def _of_shapes(self, pull: list[np.ndarray], hyper: Hyperparameters) -> list[float]:
        """Return ``_gradient`` by the logarithms of the shapes.

        ``pull`` is, by group, ``_gradient`` by minus a half of its scaled squared distances.
        """
        found: list[float] = []
        for group, (a, b) in zip(self.numbers, hyper.shapes.tolist(), strict=True):
            u = self.distances.points[group][:, 0]
            w, each = warped(u, a, b), pull[group] / hyper.lengthscales[group] ** 2
            moved = each.sum(axis=1) * w - each @ w
            found += (-2.0 * (slopes(u, a, b) @ moved)).tolist()
        return found


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
    away /= float(np.abs(away).max()) or 1.0  # its squares neither overflow nor matter where they underflow
    unit = float(np.sqrt((away[away <= 0] ** 2).mean())) or float(away.std()) or 1.0
    z = away / unit
    z = np.where(z > 0, np.log1p(np.maximum(z, 0.0)), z)
    spread = float(z.std())
    return (z - z.mean()) / spread if spread > 0 else np.zeros_like(z)
