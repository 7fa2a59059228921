"""Learning curves: what a training that has come so far will reach at later rungs, and how sure that is.

Each rung's value is regressed on the rung before and on the last gain, over all trainings that reached both: what was
only trained because it looked good biases nothing, since that is what is conditioned on. Bayesian linear models, each
with the one before as its prior, so that ten curves are enough to begin with. A mixture of parametric curves (Domhan
et al. 2015) or a network trained on made-up ones (Rakotoarison et al. 2024) knows more shapes; this learns the study's.

Notation
    n, K   curves, rungs          y  (n, K) values, less is better, NaN where not reached
    x      (1, y_k - c, y_k - y_(k-1)), c the median of rung k: features of the step from k to k + 1
    w, P   posterior mean and precision of its coefficients        v  its residual variance
"""

from dataclasses import dataclass

import numpy as np

STRENGTH = 4.0  # how many curves a prior counts for
FEATURES = np.array([0.3, 1.0, 1.0])  # usual size of x, where y is standardised
MOMENTUM = 0.5  # nothing known: so much of the last gain comes again
VARIANCE = 0.05  # of a step, nothing known
SHRUNK = 0.7  # a drift learned at one rung counts for so much at the next


@dataclass(frozen=True)
class Transition:
    """How a value moves from one rung to the next: ``mean = c + x @ w``, variance ``v (1 + x' P^-1 x)``."""

    centre: float
    w: np.ndarray
    covariance: np.ndarray
    v: float

    def step(self, value: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance (n,) at the next rung, from ``value`` and the last ``gain`` (n,)."""
        x = _features(value - self.centre, gain)
        spread = np.einsum("ni,ij,nj->n", x, self.covariance, x)
        return self.centre + x @ self.w, self.v * (1.0 + np.minimum(spread, 1.0))

    @property
    def slope(self) -> float:
        """How much of an error at this rung is found at the next."""
        return float(self.w[1] + 0.5 * self.w[2])


class CurveModel:
    """Fitted to ``y`` (n, K), standardised to about unit size; n may be 0."""

    def __init__(self, y: np.ndarray) -> None:
        self.transitions: list[Transition] = []
        drift, slope, v = 0.0, 1.0, VARIANCE
        for k in range(y.shape[1] - 1):
            both = ~np.isnan(y[:, k]) & ~np.isnan(y[:, k + 1])
            prior = np.array([drift, slope, MOMENTUM if k else 0.0])
            one = _fit(y[both, k], gains(y, k)[both], y[both, k + 1], prior, v)
            self.transitions.append(one)
            drift, slope, v = SHRUNK * one.w[0], one.w[1], one.v

    def predict(self, value: np.ndarray, gain: np.ndarray, rung: int) -> tuple[np.ndarray, np.ndarray]:
        """Return means and deviations (n, K - 1 - rung) at all later rungs, of curves at ``value`` on ``rung``.

        ``gain`` (n,) is the last one, negative when it got better. A mean is carried on as if it were
        observed, its variance by the slope.
        """
        means, variances = [], []
        variance = np.zeros_like(value)
        for one in self.transitions[rung:]:
            mean, own = one.step(value, gain)
            variance = one.slope**2 * variance + own
            value, gain = mean, mean - value
            means.append(mean)
            variances.append(variance)
        return np.column_stack(means), np.sqrt(np.column_stack(variances))


def gains(y: np.ndarray, k: int) -> np.ndarray:
    """Return what each of ``y`` (n, K, ...) changed by on the way to rung ``k``; 0 where that is not known."""
    return np.nan_to_num(y[:, k] - y[:, k - 1]) if k else np.zeros_like(y[:, 0])


def _features(value: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(value), value, gain])


def _fit(value: np.ndarray, gain: np.ndarray, after: np.ndarray, prior: np.ndarray, v: float) -> Transition:
    """Return the posterior of a transition; its prior mean is ``prior``, worth ``STRENGTH`` curves (conjugate)."""
    centre = float(np.median(value)) if len(value) else 0.0
    x = _features(value - centre, gain)
    precision = x.T @ x + STRENGTH * np.diag(FEATURES**2)
    w = prior + np.linalg.solve(precision, x.T @ (after - centre - x @ prior))
    residual = after - centre - x @ w
    found = (STRENGTH * v + float(residual @ residual)) / (STRENGTH + len(value))
    return Transition(centre, w, np.linalg.inv(precision), found)
