"""Acquisition functions, to be maximised; the objective is minimised.

Notation
    mean, deviation   (n,) of the surrogate         best   the value to improve on
    z                 (best - mean) / deviation     phi, Phi   density and distribution of the standard normal
"""

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from nas.hpo.pareto import nondominated

RHO = 0.05  # weight of the sum in the augmented Tchebycheff norm
_SQRT_2 = np.sqrt(2.0)
_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


def _z(mean: np.ndarray, deviation: np.ndarray, best: float | np.ndarray, xi: float) -> np.ndarray:
    z: np.ndarray = (best - xi - np.asarray(mean, float)) / deviation
    return z


def expected_improvement(
    mean: np.ndarray, deviation: np.ndarray, best: float | np.ndarray, *, xi: float = 0.0
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


def log_probability_below_zero(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return log Phi(-mean / deviation): that a constraint of such a margin holds (Gardner et al. 2014, eq. 4)."""
    value: np.ndarray = log_ndtr(-np.asarray(mean) / deviation)
    return value


def log_expected_hypervolume_improvement(
    mean: np.ndarray, deviation: np.ndarray, told: np.ndarray
) -> np.ndarray:
    """Return log EHVI (n,) of two independent objectives, ``mean`` and ``deviation`` (n, 2), over ``told`` (k, 2).

    The front cuts what it does not dominate into strips; in each the gain is a width times a height, whose expectations
    are improvements (Emmerich et al. 2011, section 3; Yang et al. 2019, eq. 9). The reference point lies a tenth of the
    extent of the front beyond its worst corner.
    """
    front = told[nondominated(told)]
    front = front[np.argsort(front[:, 0], kind="stable")]
    extent = np.ptp(front, axis=0)
    reference = front.max(axis=0) + np.where(extent > 0, 0.1 * extent, 0.1 * (np.ptp(told, axis=0) + 1e-9))
    ends = np.append(front[:, 0], reference[0])
    heights = np.append(reference[1], front[:, 1])
    widths = expected_improvement(mean[:, :1], deviation[:, :1], ends)
    widths = np.diff(widths, axis=1, prepend=0.0)
    gain = (widths * expected_improvement(mean[:, 1:], deviation[:, 1:], heights)).sum(1)
    value: np.ndarray = np.log(np.maximum(gain, 1e-300))
    return value


def log_expected_norm_improvement(
    mean: np.ndarray, deviation: np.ndarray, told: np.ndarray, weights: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """Return the log of the expected improvement (n,) of the augmented Tchebycheff norm (Knowles 2006, eq. 2).

    ``mean``, ``deviation`` (n, m), ``told`` (k, m), ``weights`` (m,); ``normals`` (draws, m) are standard normal draws
    that all points share.
    """
    low, extent = told.min(axis=0), np.ptp(told, axis=0)
    drawn = tchebycheff(mean[:, None, :] + deviation[:, None, :] * normals, weights, low, extent)
    best = tchebycheff(told, weights, low, extent).min()
    value: np.ndarray = np.log(np.maximum(best - drawn, 0.0).mean(axis=1) + 1e-300)
    return value


def tchebycheff(losses: np.ndarray, weights: np.ndarray, low: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Return the augmented Tchebycheff norm (...) of ``losses`` (..., m) (Knowles 2006, eq. 2).

    Losses are scaled by ``low`` and ``extent`` (m,) first; ``weights`` (m,) sum to 1.
    """
    scaled = weights * (losses - low) / np.maximum(extent, 1e-12)
    value: np.ndarray = scaled.max(axis=-1) + RHO * scaled.sum(axis=-1)
    return value
