"""Exact Gaussian process regression with a Matérn-5/2 kernel and one lengthscale per dimension.

Notation
    n, D        observations, dimensions         x   (n, D) in [0, 1]       y   (n,) standardised
    l           (D,) lengthscales                s   signal variance        v   noise variance
    r           distance in units of l           K   s k(r) + v I           a   K^-1 (y - mean)
    theta       (D + 2,) = log of l, s, v: what is fitted

Lengthscales have the prior LogNormal(sqrt 2 + log sqrt D, sqrt 3) of Hvarfner et al. 2024 (section 4): the more
dimensions, the longer, so that a hundred parameters do not make every point a stranger to every other.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

SQRT_5 = math.sqrt(5.0)
SIGNAL, NOISE = (0.0, 0.5), (-4.0, 1.0)  # (mean, deviation) of the logarithms, normal priors
LEAST_NOISE = 1e-6
BOUNDS = {"lengthscale": (1e-2, 1e3), "signal": (0.05, 20.0), "noise": (LEAST_NOISE, 1.0)}


def matern(r: np.ndarray) -> np.ndarray:
    """Return the Matérn-5/2 correlation at distance ``r`` (Rasmussen and Williams 2006, eq. 4.17)."""
    value: np.ndarray = (1 + SQRT_5 * r + 5 / 3 * r**2) * np.exp(-SQRT_5 * r)
    return value


def distances(a: np.ndarray, b: np.ndarray, lengthscales: np.ndarray) -> np.ndarray:
    """Return the (len(a), len(b)) distances in units of the lengthscales."""
    a, b = a / lengthscales, b / lengthscales
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0.0))


@dataclass(frozen=True)
class GaussianProcess:
    """A process conditioned on ``x`` (n, D), ``y`` (n,). ``mean`` is its constant prior mean."""

    x: np.ndarray
    y: np.ndarray
    lengthscales: np.ndarray
    signal: float
    noise: float
    mean: float = 0.0

    @cached_property
    def _factor(self) -> np.ndarray:
        k = self.signal * matern(distances(self.x, self.x, self.lengthscales))
        k[np.diag_indices_from(k)] += self.noise
        factor: np.ndarray = cholesky(k, lower=True, check_finite=False)
        return factor

    @cached_property
    def _a(self) -> np.ndarray:
        a: np.ndarray = cho_solve((self._factor, True), self.y - self.mean, check_finite=False)
        return a

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation (k,) of the noise-free function at ``x`` (k, D) (R&W 2006, eq. 2.25, 2.26)."""
        cross = self.signal * matern(distances(x, self.x, self.lengthscales))
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self.signal - (half**2).sum(0)
        return self.mean + cross @ self._a, np.sqrt(np.maximum(variance, 1e-12))

    def believing(self, x: np.ndarray) -> "GaussianProcess":
        """Return the process told its own mean at pending points ``x`` (k, D) (Ginsbourger et al. 2010, sec. 4.2)."""
        if not len(x):
            return self
        mean, _ = self.predict(x)
        return replace(self, x=np.vstack([self.x, x]), y=np.append(self.y, mean))

    def given(self, x: np.ndarray, y: np.ndarray) -> "GaussianProcess":
        """Return the process of the same hyperparameters on other observations."""
        return replace(self, x=x, y=y)


def fit(x: np.ndarray, y: np.ndarray, *, seed: int = 0, restarts: int = 2) -> GaussianProcess:
    """Return the process whose hyperparameters are most probable given ``x`` (n, D) and ``y`` (n,).

    L-BFGS from lengthscales of sqrt D and from ``restarts`` - 1 more, drawn from ``seed``. ``y`` should have mean 0
    and deviation 1; its mean is the prior mean.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    mean = float(y.mean())
    rng = np.random.default_rng(seed)
    dimensions = x.shape[1]
    centre = np.append(np.full(dimensions, 0.5 * math.log(dimensions)), [SIGNAL[0], NOISE[0]])
    bounds = [np.log(BOUNDS["lengthscale"])] * dimensions + [
        np.log(BOUNDS["signal"]),
        np.log(BOUNDS["noise"]),
    ]
    best, best_value = centre, math.inf
    for restart in range(restarts):
        start = centre if restart == 0 else centre + 0.7 * rng.standard_normal(len(centre))
        start = np.clip(start, [low for low, _ in bounds], [high for _, high in bounds])
        found = minimize(  # type: ignore[call-overload]
            lambda theta: negative_log_posterior(theta, x, y - mean),
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 60},
        )
        if found.fun < best_value:
            best, best_value = found.x, float(found.fun)
    values = np.exp(best)
    return GaussianProcess(x, y, values[:-2], float(values[-2]), float(values[-1]), mean)


def negative_log_posterior(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the negative log posterior of ``theta`` (D + 2,) and its gradient, constants left out.

    The gradient follows R&W 2006, eq. 5.9; the sum over pairs for all lengthscales is two matrix products.
    """
    n, dimensions = x.shape
    lengthscales, signal, noise = np.exp(theta[:-2]), math.exp(theta[-2]), math.exp(theta[-1])
    r = distances(x, x, lengthscales)
    correlation = matern(r)
    k = signal * correlation
    k[np.diag_indices_from(k)] += noise
    try:
        factor = cholesky(k, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
    a = inverse @ y
    value = 0.5 * float(y @ a) + float(np.log(np.diag(factor)).sum())
    w = np.outer(a, a) - inverse
    m = w * (
        5 / 3 * signal * (1 + SQRT_5 * r) * np.exp(-SQRT_5 * r)
    )  # dk / dlog l = this * (difference / l)^2
    pairs = 2 * ((x**2 * m.sum(1)[:, None]).sum(0) - (x * (m @ x)).sum(0)) / lengthscales**2
    gradient = np.concatenate(
        [-0.5 * pairs, [-0.5 * signal * float((w * correlation).sum())], [-0.5 * noise * float(np.trace(w))]]
    )
    centres = np.append(np.full(dimensions, math.sqrt(2) + 0.5 * math.log(dimensions)), [SIGNAL[0], NOISE[0]])
    spreads = np.append(np.full(dimensions, math.sqrt(3)), [SIGNAL[1], NOISE[1]])
    away = (theta - centres) / spreads
    return value + 0.5 * float(away @ away), gradient + away / spreads


def squash(y: np.ndarray) -> np.ndarray:
    """Return ``y`` (n,) standardised after its bad side was made logarithmic: an outlier is bad, not a landmark.

    The unit is the spread of the better half; a constant ``y`` is all zeros.
    """
    centre = float(np.median(y))
    better = centre - y[y <= centre]
    unit = float(np.sqrt((better**2).mean())) or float(y.std()) or 1.0
    z = (y - centre) / unit
    z = np.where(z > 0, np.log1p(np.maximum(z, 0.0)), z)
    spread = float(z.std())
    return (z - z.mean()) / spread if spread > 0 else np.zeros_like(z)
