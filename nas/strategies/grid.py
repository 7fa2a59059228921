"""Grid search: every design of an all-discrete space, once, in order."""

from collections.abc import Iterator, Sequence

import numpy as np

from nas.strategy import EXHAUSTED, Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration


@strategies.register("grid")
class Grid(Strategy):
    """Walks ``Space.grid``; inactive parameters are absent. A continuous parameter is a ``ValueError``."""

    baseline = False

    def __init__(self, problem: Problem, *, seed: int = 0) -> None:
        super().__init__(problem, seed=seed)
        for slot in problem.space.slots:
            if slot.parameter.size == float("inf"):
                raise ValueError(
                    f"strategy 'grid': parameter {slot.path!r} is continuous; use an Int or a Choice in place of "
                    "the Float, or another strategy"
                )
        self._left: Iterator[Configuration] = problem.space.grid()

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        return next((config for config in self._left if self.accepts(config)), EXHAUSTED)
