"""Rank correlations of early scores with the final accuracy, and their paired differences, by one bootstrap.

Notation
    n   designs       y   (n,) final accuracies       x   (n,) early scores by one way
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import kendalltau, spearmanr

RESAMPLES = 2_000
INTERVAL = (2.5, 97.5)


def _or_zero(value: float) -> float:
    return 0.0 if np.isnan(value) else float(value)  # all values are equal: they say nothing


def tau(x: np.ndarray, y: np.ndarray) -> float:
    """Return Kendall's tau-b of two ``(n,)``."""
    return _or_zero(kendalltau(x, y).statistic)


def rho(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rho of two ``(n,)``."""
    return _or_zero(spearmanr(x, y).statistic)


def correlations(ways: Mapping[str, np.ndarray], y: np.ndarray, seed: int = 0) -> dict[str, dict]:
    """Return tau and rho with ``y`` by way, each with a 95 % percentile interval.

    ``less`` is tau less that of the first way on the same resamples, so that the difference is paired.
    """
    rows = np.random.default_rng(seed).integers(len(y), size=(RESAMPLES, len(y)))
    rows = np.array([one for one in rows if np.ptp(y[one]) > 0])
    drawn = {way: np.array([tau(x[one], y[one]) for one in rows]) for way, x in ways.items()}
    first = next(iter(ways))
    found = {}
    for way, x in ways.items():
        rhos = [rho(x[one], y[one]) for one in rows]
        less = np.percentile(drawn[way] - drawn[first], INTERVAL)
        found[way] = {
            "tau": tau(x, y),
            "interval": np.percentile(drawn[way], INTERVAL).tolist(),
            "rho": rho(x, y),
            "rho_interval": np.percentile(rhos, INTERVAL).tolist(),
            "less": tau(x, y) - tau(ways[first], y),
            "less_interval": less.tolist(),
        }
    return found
