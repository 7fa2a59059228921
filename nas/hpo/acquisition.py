"""Acquisition functions, to be maximised; the objective is minimised.

Notation
    mean, deviation   (n,) of the surrogate         best   the value to improve on
    z                 (best - mean) / deviation     phi, Phi   density and distribution of the standard normal
"""

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

_SQRT_2 = np.sqrt(2.0)
_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


def _z(mean: np.ndarray, deviation: np.ndarray, best: float, xi: float) -> np.ndarray:
    z: np.ndarray = (best - xi - np.asarray(mean, float)) / deviation
    return z


def expected_improvement(
    mean: np.ndarray, deviation: np.ndarray, best: float, *, xi: float = 0.0
) -> np.ndarray:
    """Return EI = deviation * (phi(z) + z Phi(z)) (Jones et al. 1998, eq. 15), with ``xi`` taken off ``best``."""
    z = _z(mean, deviation, best, xi)
    value: np.ndarray = deviation * (np.exp(-0.5 * z**2 - _LOG_SQRT_2PI) + z * ndtr(z))
    return value


def log_expected_improvement(
    mean: np.ndarray, deviation: np.ndarray, best: float, *, xi: float = 0.0
) -> np.ndarray:
    """Return log EI, finite where EI underflows (Ament et al. 2023, eq. 9 and appendix A)."""
    z = _z(mean, deviation, best, xi)
    value: np.ndarray = np.log(deviation) + _log_h(z)
    return value


def _log_h(z: np.ndarray) -> np.ndarray:
    """Return log(phi(z) + z Phi(z)).

    Below -1 as log phi(z) + log(1 + z Phi(z) / phi(z)), the ratio by the scaled complementary error function; far
    below, where that difference cancels, by its expansion 1 / z^2 (1 - 3 / z^2 + 15 / z^4 - 105 / z^6).
    """
    z = np.asarray(z, float)
    out = np.empty_like(z)
    high, low = z > -1, z < -200
    middle = ~high & ~low
    out[high] = np.log(np.exp(-0.5 * z[high] ** 2 - _LOG_SQRT_2PI) + z[high] * ndtr(z[high]))
    ratio = np.sqrt(np.pi / 2) * erfcx(-z[middle] / _SQRT_2)  # Phi / phi
    direct = -0.5 * z[middle] ** 2 - _LOG_SQRT_2PI
    out[middle] = direct + np.log1p(z[middle] * ratio)
    far = z[low] ** -2.0
    out[low] = (
        -0.5 * z[low] ** 2 - _LOG_SQRT_2PI + np.log(far) + np.log1p(-3 * far + 15 * far**2 - 105 * far**3)
    )
    return out


def probability_of_improvement(
    mean: np.ndarray, deviation: np.ndarray, best: float, *, xi: float = 0.0
) -> np.ndarray:
    """Return PI = Phi(z) (Kushner 1964)."""
    value: np.ndarray = ndtr(_z(mean, deviation, best, xi))
    return value


def log_probability_of_improvement(
    mean: np.ndarray, deviation: np.ndarray, best: float, *, xi: float = 0.0
) -> np.ndarray:
    """Return log PI."""
    value: np.ndarray = log_ndtr(_z(mean, deviation, best, xi))
    return value


def lower_confidence_bound(mean: np.ndarray, deviation: np.ndarray, *, kappa: float = 2.0) -> np.ndarray:
    """Return -(mean - kappa * deviation): UCB of the negated objective (Srinivas et al. 2010, eq. 6)."""
    value: np.ndarray = kappa * np.asarray(deviation) - mean
    return value
