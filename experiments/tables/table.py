"""What a search is tried on: a space, and a loss for each of its configurations and each replicate.

Notation
    replicate   the number r of a repetition of a whole search; it is also the seed of the strategy
    regret      0 = the best loss that replicate r can observe, 1 = its median over the space
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from search_spaces.graph import Graph
from search_spaces.space import Choice, Configuration, Space


@dataclass(frozen=True)
class Table(ABC):
    """``graph`` decodes a configuration of an architecture; None where there is no architecture to decode.

    ``baseline`` says whether the default of ``space`` is a fair first proposal: it is where it follows from ranges
    alone, the middle of each, and not in a cell, where it would be all zeros or what we know of good cells.
    """

    name: str
    space: Space
    graph: Callable[[Configuration], Graph] | None = field(default=None, kw_only=True)
    baseline: bool = field(default=True, kw_only=True)

    @abstractmethod
    def evaluate(self, config: Configuration, replicate: int) -> float:
        """Return the loss that a search of ``replicate`` observes: an error in percent, or as the table has it."""

    @abstractmethod
    def test(self, config: Configuration) -> float:
        """Return the loss without the luck of one seed: the test error, else the mean over the seeds."""

    @abstractmethod
    def bounds(self, replicate: int) -> tuple[float, float]:
        """Return the least and the median observable loss of ``replicate``."""

    @abstractmethod
    def test_bounds(self) -> tuple[float, float]:
        """Return the least and the median of ``test``."""

    def regret(self, loss: float, replicate: int) -> float:
        """Return the regret of an observed ``loss``."""
        least, median = self.bounds(replicate)
        return (loss - least) / (median - least)

    def test_regret(self, loss: float) -> float:
        """Return the regret of a ``loss`` of ``test``."""
        least, median = self.test_bounds()
        return (loss - least) / (median - least)


@dataclass(frozen=True, eq=False)
class Lookup(Table):
    """A full grid of unconditional choices. Rows are in the order of the choices, the last one fastest.

    ``losses`` is ``(rows, seeds)``, NaN behind the last seed that a row has; replicate r of a row with s seeds reads
    seed r mod s. ``tests`` is ``(rows,)``.
    """

    losses: np.ndarray
    tests: np.ndarray

    def __post_init__(self) -> None:
        counts = np.isfinite(self.losses).sum(1)
        assert counts.min() > 0 and np.isfinite(self.tests).all() and len(counts) == self.space.size
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "observed", lru_cache(maxsize=64)(self._observed))

    def row(self, config: Configuration) -> int:
        """Return the row of ``config``."""
        row = 0
        for name, choice in self.space.parts.items():
            assert isinstance(choice, Choice)
            row = row * len(choice.options) + choice.index(config[name])
        return row

    def _observed(self, replicate: int) -> np.ndarray:
        """Return the ``(rows,)`` losses that ``replicate`` observes."""
        return self.losses[np.arange(len(self.losses)), replicate % self.counts]

    def evaluate(self, config: Configuration, replicate: int) -> float:
        row = self.row(config)
        return float(self.losses[row, replicate % self.counts[row]])

    def test(self, config: Configuration) -> float:
        return float(self.tests[self.row(config)])

    def bounds(self, replicate: int) -> tuple[float, float]:
        observed = self.observed(replicate)
        return float(observed.min()), float(np.median(observed))

    def test_bounds(self) -> tuple[float, float]:
        return float(self.tests.min()), float(np.median(self.tests))


@dataclass(frozen=True, eq=False)
class Function(Table):
    """A deterministic function with its known minimum ``least``."""

    function: Callable[[Configuration], float]
    least: float

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        median = float(np.median([self.function(self.space.sample(rng)) for _ in range(2_001)]))
        object.__setattr__(self, "median", median)

    def evaluate(self, config: Configuration, replicate: int) -> float:
        return self.function(config)

    def test(self, config: Configuration) -> float:
        return self.function(config)

    def bounds(self, replicate: int) -> tuple[float, float]:
        return self.least, self.median

    def test_bounds(self) -> tuple[float, float]:
        return self.least, self.median
