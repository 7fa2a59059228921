"""How searches are compared: regrets with a floor, geometric means of ratios, bootstrap intervals, Holm's correction.

Notation
    marks    25 and 50 evaluations, and the end of the search
    regrets  ``(replicates, marks)``: of the best observed so far, at least FLOOR
    logs     ``(replicates, marks)``: logarithms of ratios of regrets, ours to theirs; below 0 is better
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from experiments.tables.rivals.kept import Search, marks_of
from experiments.tables.table import Table

FLOOR = 0.002
DRAWS = 2_000
LEVEL = 0.05


@dataclass(frozen=True)
class Ratio:
    """A geometric mean of ratios with its 90 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f}-{self.high:.2f})"


def regrets(table: Table, searches: Sequence[Search]) -> np.ndarray:
    """Return the ``(replicates, marks)`` regrets of the best observed, at least FLOOR."""
    rows = [
        [table.regret(min(search.losses[:mark]), search.replicate) for mark in marks_of(len(search.losses))]
        for search in searches
    ]
    return np.maximum(np.array(rows), FLOOR)


def test_regrets(table: Table, searches: Sequence[Search]) -> np.ndarray:
    """Return the ``(replicates, marks)`` regrets of the test loss of the best observed."""
    return np.array([[table.test_regret(loss) for loss in search.test] for search in searches])


def logs(table: Table, ours: Mapping[int, Search], theirs: Mapping[int, Search]) -> np.ndarray:
    """Return the ``(replicates, marks)`` log ratios over the replicates that both have."""
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return np.empty((0, 3))
    return np.log(regrets(table, [ours[r] for r in common])) - np.log(
        regrets(table, [theirs[r] for r in common])
    )


def ratio(tables: Sequence[np.ndarray]) -> Ratio:
    """Return the ratio over ``(replicates,)`` log ratios of each table: tables count alike.

    The interval is a percentile bootstrap that draws tables, then replicates in each, with repetitions.
    """
    rng, count = np.random.default_rng(0), len(tables)
    means = np.stack([_resampled(values, count, rng) for values in tables], axis=-1)
    chosen = rng.integers(count, size=(DRAWS, count, 1))
    drawn = np.take_along_axis(means, chosen, axis=-1).mean((1, 2))
    low, high = np.quantile(drawn, (0.05, 0.95))
    mean = np.mean([values.mean() for values in tables])
    return Ratio(*np.exp([mean, low, high]).tolist())


def _resampled(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``(DRAWS, count)`` means of ``values`` drawn with repetitions."""
    return values[rng.integers(len(values), size=(DRAWS, count, len(values)))].mean(-1)


def p_value(values: np.ndarray) -> float:
    """Return the p value of a two-sided Wilcoxon signed-rank test that ``(replicates,)`` log ratios are about 0."""
    return float(wilcoxon(values).pvalue) if np.any(values) else 1.0


def holm(p: Sequence[float]) -> np.ndarray:
    """Return p values corrected for their number (Holm 1979)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def losses(tables: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the tables whose ``(replicates,)`` log ratios are significantly above 0, with the corrected p value."""
    corrected = holm([p_value(values) for values in tables.values()])
    return {
        name: float(p)
        for (name, values), p in zip(tables.items(), corrected, strict=True)
        if p < LEVEL and values.mean() > 0
    }
