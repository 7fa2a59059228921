"""What schedulers are compared on: designs whose learning curves were recorded, and who has been started of them.

A search proposes any configuration of the space; what it gets is the nearest design that was not started yet, by
Euclidean distance of ``Space.encode``. That is so for our strategies and for others'.

Notation
    n       designs of the table (its rows)        E    epochs of a full training
    epoch   1 to E; column e - 1 of an array holds what is known after epoch e
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_spaces.space import Configuration, Space, Value


@dataclass(frozen=True, eq=False)
class Task:
    """``losses`` (n, E): validation losses, NaN from the epoch in which a training diverged; ``seconds`` (n, E): of
    each epoch alone. ``fulls`` is how many full trainings a search may cost.
    """

    name: str
    space: Space
    configs: tuple[Configuration, ...]
    losses: np.ndarray
    seconds: np.ndarray
    fulls: int

    def __post_init__(self) -> None:
        assert self.losses.shape == self.seconds.shape == (len(self.configs), self.epochs)

    @property
    def epochs(self) -> int:
        """E, the epochs of a full training."""
        return int(self.losses.shape[1])

    @cached_property
    def budget(self) -> float:
        """Seconds that a search may cost: ``fulls`` full trainings of the mean design."""
        return float(self.fulls * self.seconds.sum(1).mean())

    @cached_property
    def units(self) -> np.ndarray:
        """``(n, D)`` encodings of the designs."""
        return np.stack([self.space.encode(config) for config in self.configs])

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The best loss of any design after any epoch, and the median of all at the end; diverged is worst."""
        return float(np.nanmin(self.losses)), self._median

    @cached_property
    def final_bounds(self) -> tuple[float, float]:
        """The best loss of any design at the end, and the median of all; diverged is worst."""
        return float(np.nanmin(self.losses[:, -1])), self._median

    @property
    def _median(self) -> float:
        return float(np.median(np.nan_to_num(self.losses[:, -1], nan=np.inf)))

    def lived(self, row: int, start: int, stop: int) -> int:
        """Return the epoch at which a training of ``row`` from ``start`` to ``stop`` ends: that of its divergence."""
        diverged = np.flatnonzero(np.isnan(self.losses[row, start:stop]))
        return start + int(diverged[0]) + 1 if len(diverged) else stop


class Pool:
    """The designs of ``task`` that were not started yet in one search."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.free = np.ones(len(task.configs), bool)
        self.rows = {config: row for row, config in enumerate(task.configs)}

    def nearest(self, config: Mapping[str, Value]) -> int:
        """Return the row of the free design nearest to ``config``, the first of equals; one must be free."""
        assert self.free.any()
        distances = ((self.task.units - self.task.space.encode(config)) ** 2).sum(1)
        return int(np.where(self.free, distances, np.inf).argmin())

    def take(self, config: Configuration) -> int:
        """Return the row that a start of ``config`` begins, no longer free from then on."""
        row = self.rows.get(config)
        if row is None or not self.free[row]:
            row = self.nearest(config)
        self.free[row] = False
        return row
