"""Grid search: every design of an all-discrete space, once, in order."""

from collections.abc import Sequence

import numpy as np

from nas.strategy import EXHAUSTED, Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration


@strategies.register("grid")
class Grid(Strategy):
    """Walks ``Space.grid``; inactive parameters are absent.

    A continuous parameter takes ``levels`` evenly spaced values, both bounds among them; without ``levels`` it is a
    ``ValueError``.
    """

    baseline = False

    def __init__(self, problem: Problem, *, seed: int = 0, levels: int | None = None) -> None:
        super().__init__(problem, seed=seed)
        for slot in problem.space.slots:
            if slot.parameter.size == float("inf") and levels is None:
                raise ValueError(
                    f"strategy 'grid': parameter {slot.path!r} is continuous; use an Int or a Choice in place of "
                    "the Float, give levels=, or another strategy"
                )
        self._walk = problem.space.grid(levels)
        self._next = next(self._walk, None)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        while self._next is not None and not self.accepts(self._next):  # what is not accepted never will be
            self._next = next(self._walk, None)
        return EXHAUSTED if self._next is None else self._next
