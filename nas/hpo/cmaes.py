"""CMA-ES (Hansen 2016, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772), with margins for integers.

Equations are the tutorial's unless said otherwise. The margin is that of Hamano et al. 2022 (arXiv 2205.13482): an
integer whose samples all round to one value would never be varied again.

Notation
    n      dimensions             lam    points of a generation     mu      of them with positive weight
    m      (n,) mean              sigma  step size                  C       (n, n) covariance, scale (n,) of the margin
    x      (lam, n) points        y      (x - m) / (sigma scale)    p_s, p_c  (n,) evolution paths
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri

TINY: Final = 1e-8  # keeps the norm of eq. 46 off zero, as in the package ``cmaes``


@dataclass(frozen=True)
class Rates:
    """Weights and rates for ``n`` dimensions and generations of ``lam`` points (table 1)."""

    n: int
    lam: int

    @cached_property
    def mu(self) -> int:
        """How many of the points the mean moves towards: the better half."""
        return self.lam // 2

    @cached_property
    def raw(self) -> np.ndarray:
        """(lam,) weights before they are scaled, positive for the better half."""
        return math.log((self.lam + 1) / 2) - np.log(np.arange(1, self.lam + 1))  # (eq. 49)

    @cached_property
    def mu_eff(self) -> float:
        """How many equal points the positive weights are worth: the variance-effective selection mass."""
        best = self.raw[: self.mu]
        return float(best.sum() ** 2 / (best**2).sum())

    @cached_property
    def weights(self) -> np.ndarray:
        """(lam,), the positive ones sum to 1 (eq. 53)."""
        worst = self.raw[self.mu :]
        mu_eff_minus = worst.sum() ** 2 / (worst**2).sum()
        alpha = min(
            1 + self.c_1 / self.c_mu,  # (eq. 50)
            1 + 2 * mu_eff_minus / (self.mu_eff + 2),  # (eq. 51)
            (1 - self.c_1 - self.c_mu) / (self.n * self.c_mu),  # (eq. 52)
        )
        positive, negative = self.raw[self.raw > 0].sum(), -self.raw[self.raw < 0].sum()
        return np.where(self.raw >= 0, self.raw / positive, alpha * self.raw / negative)

    @cached_property
    def c_1(self) -> float:
        """Learning rate of the rank-one update."""
        return 2 / ((self.n + 1.3) ** 2 + self.mu_eff)  # (eq. 57)

    @cached_property
    def c_mu(self) -> float:
        """Learning rate of the rank-mu update."""
        rate = 2 * (self.mu_eff - 2 + 1 / self.mu_eff) / ((self.n + 2) ** 2 + self.mu_eff)  # (eq. 58)
        return min(1 - self.c_1 - 1e-8, rate)

    @cached_property
    def c_s(self) -> float:
        """Rate at which the path of the step size forgets."""
        return (self.mu_eff + 2) / (self.n + self.mu_eff + 5)  # (eq. 55)

    @cached_property
    def d_s(self) -> float:
        """Damping of the step size."""
        return 1 + 2 * max(0.0, math.sqrt((self.mu_eff - 1) / (self.n + 1)) - 1) + self.c_s  # (eq. 55)

    @cached_property
    def c_c(self) -> float:
        """Rate at which the path of the covariance forgets."""
        return (4 + self.mu_eff / self.n) / (self.n + 4 + 2 * self.mu_eff / self.n)  # (eq. 56)

    @cached_property
    def chi(self) -> float:
        """The expected length of a standard normal vector."""
        return math.sqrt(self.n) * (1 - 1 / (4 * self.n) + 1 / (21 * self.n**2))


@dataclass(frozen=True)
class Gaussian:
    """The distribution N(m, sigma^2 diag(scale) C diag(scale)) with its paths, after ``generation`` updates."""

    mean: np.ndarray
    sigma: float
    cov: np.ndarray
    p_s: np.ndarray
    p_c: np.ndarray
    scale: np.ndarray
    generation: int = 0

    @classmethod
    def start(cls, mean: np.ndarray, sigma: float) -> "Gaussian":
        """Return the isotropic distribution around ``mean`` (n,)."""
        n = len(mean)
        return cls(mean, sigma, np.eye(n), np.zeros(n), np.zeros(n), np.ones(n))

    @cached_property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """B (n, n) and the deviations D (n,) along its columns: C = B D^2 B^T."""
        values, vectors = np.linalg.eigh((self.cov + self.cov.T) / 2)
        return vectors, np.sqrt(np.where(values < 0, TINY, values))

    @property
    def deviations(self) -> np.ndarray:
        """(n,), of each coordinate."""
        return self.sigma * self.scale * np.sqrt(np.diag(self.cov))

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw (count, n) points (eq. 38 to 40)."""
        b, d = self.axes
        return self.mean + self.sigma * self.scale * ((rng.standard_normal((count, len(d))) * d) @ b.T)

    def whitened(self, x: np.ndarray) -> np.ndarray:
        """Return C^(-1/2) y of points (k, n)."""
        b, d = self.axes
        y = (x - self.mean) / (self.sigma * self.scale)
        return (y @ b / d) @ b.T

    def update(self, rates: Rates, x: np.ndarray) -> "Gaussian":
        """Return the distribution that ``x`` (lam, n), best first, leads to (eq. 41 to 47)."""
        n, generation, weights = rates.n, self.generation + 1, rates.weights
        y = (x - self.mean) / (self.sigma * self.scale)
        step = weights[: rates.mu] @ y[: rates.mu]  # (eq. 41)
        white = self.whitened(x)
        c_s, c_c, c_1, c_mu = rates.c_s, rates.c_c, rates.c_1, rates.c_mu
        turned = weights[: rates.mu] @ white[: rates.mu]
        p_s = (1 - c_s) * self.p_s + math.sqrt(c_s * (2 - c_s) * rates.mu_eff) * turned  # (eq. 43)
        length = float(np.linalg.norm(p_s))
        sigma = self.sigma * math.exp(c_s / rates.d_s * (length / rates.chi - 1))  # (eq. 44)
        bounded = (
            length / math.sqrt(1 - (1 - c_s) ** (2 * (generation + 1))) < (1.4 + 2 / (n + 1)) * rates.chi
        )
        p_c = (1 - c_c) * self.p_c + bounded * math.sqrt(c_c * (2 - c_c) * rates.mu_eff) * step  # (eq. 45)
        signed = weights * np.where(weights >= 0, 1, n / ((white**2).sum(axis=1) + TINY))  # (eq. 46)
        kept = 1 + (0 if bounded else c_1 * c_c * (2 - c_c)) - c_1 - c_mu * weights.sum()
        cov = kept * self.cov + c_1 * np.outer(p_c, p_c) + c_mu * (y.T * signed) @ y  # (eq. 47)
        mean = self.mean + self.sigma * step  # (eq. 42); the scale of a margin is for evaluation alone
        return Gaussian(mean, sigma, cov, p_s, p_c, self.scale, generation)

    def margined(self, low: np.ndarray, high: np.ndarray, alpha: float) -> "Gaussian":
        """Return the distribution with a chance of at least ``alpha`` to leave the bin that each mean lies in.

        ``low`` and ``high`` (n,) are the ends of that bin; the outermost bins end at an infinity, a continuous
        coordinate at both. Hamano et al. 2022.
        """
        mean, scale = self.mean.copy(), self.scale.copy()
        for place in np.flatnonzero(np.isfinite(low) | np.isfinite(high)):
            bounds, spread = (float(low[place]), float(high[place])), float(self.deviations[place])
            if all(map(math.isfinite, bounds)):
                mean[place], factor = _inside(float(mean[place]), spread, *bounds, alpha)
                scale[place] *= factor
            else:
                mean[place] = _at_an_end(float(mean[place]), spread, *bounds, alpha)
        return replace(self, mean=mean, scale=scale)


def _at_an_end(mean: float, spread: float, low: float, high: float, alpha: float) -> float:
    """Return the mean brought so near to the one inner end of its bin that ``alpha`` lies beyond it."""
    reach = -float(ndtri(alpha)) * spread
    return min(mean, low + reach) if math.isfinite(low) else max(mean, high - reach)


def _inside(mean: float, spread: float, low: float, high: float, alpha: float) -> tuple[float, float]:
    """Return the mean, and the factor of the deviation, with which at least ``alpha / 2`` lies beyond either end."""
    below, above = float(ndtr((low - mean) / spread)), float(ndtr((mean - high) / spread))
    if min(below, above) >= alpha / 2:
        return mean, 1.0
    between = 1 - below - above
    raised = [max(below, alpha / 2), max(above, alpha / 2)]
    excess = (1 - sum(raised) - between) / (sum(raised) + between - 1.5 * alpha)
    below, above = (p + excess * (p - alpha / 2) for p in raised)
    left, right = -float(ndtri(below)), -float(ndtri(above))
    return (low * right + high * left) / (left + right), (high - low) / ((left + right) * spread)


@dataclass(frozen=True)
class Categorical:
    """Chances ``q`` (K,) of K options, none of them below ``floor``.

    The update is the natural gradient step of the expected rank, as for the mean of the Gaussian (Ollivier et al.
    2017); the floor is that of CatCMA (Hamano et al. 2024).
    """

    q: np.ndarray
    floor: float = field(default=0.0)

    def update(self, places: np.ndarray, weights: np.ndarray, rate: float) -> "Categorical":
        """Move by ``rate`` towards the options (k,) that were taken, with their ``weights`` (k,)."""
        pull = np.bincount(places, weights, len(self.q)) - weights.sum() * self.q
        q = np.maximum(self.q + rate * pull, self.floor)
        free = q - self.floor
        return replace(self, q=self.floor + free * (1 - len(q) * self.floor) / free.sum())
