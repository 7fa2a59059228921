"""Rank correlation with bootstrap intervals, of proxies, of their vote, of parameters and MACs."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata, spearmanr

from estimators.proxy import vote

RESAMPLES = 2_000


def columns(rows: Sequence[Mapping], names: Sequence[str], members: Sequence[str]) -> dict[str, np.ndarray]:
    """Return ``(n,)`` values by proxy, by "vote" of ``members``, by "parameters" and by "macs"; a missing one is the
    lowest."""
    found = {name: np.array([_lowest(row["values"][name]) for row in rows]) for name in names}
    found["vote"] = vote({name: found[name] for name in members})
    for name in ("parameters", "macs"):
        found[name] = np.array([row[name] for row in rows], float)
    return found


def _lowest(value: float | None) -> float:
    return -np.inf if value is None else value


def spearman(a: np.ndarray, b: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return Spearman's rho of ``a`` and ``b`` (n,), with the percentile bootstrap's 95 % interval over the n."""
    rng, n = np.random.default_rng(seed), len(a)
    a, b = rankdata(a), rankdata(b)  # infinities are ranks like others
    drawn = []
    for _ in range(RESAMPLES):
        rows = rng.integers(n, size=n)
        if len(set(a[rows])) > 1 and len(set(b[rows])) > 1:
            drawn.append(spearmanr(a[rows], b[rows]).statistic)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"rho": float(spearmanr(a, b).statistic), "low": float(low), "high": float(high), "n": n}
