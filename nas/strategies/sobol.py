"""Quasi-random search: a scrambled Sobol sequence covers the unit cube more evenly than draws do (Owen 1998).

Every parameter has a coordinate of its own; those of inactive parameters are skipped.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import qmc

from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration, Value

SKIPS = 64  # points passed over per design started, before designs are drawn instead


@strategies.register("sobol")
class Sobol(Strategy):
    """Takes the points of the sequence in order, those apart that repeat a design or break a constraint."""

    def __init__(self, problem: Problem, *, seed: int = 0) -> None:
        super().__init__(problem, seed=seed)
        self._engine = qmc.Sobol(len(problem.space.slots), scramble=True, seed=np.random.default_rng(seed))
        self._points = self._engine.random_base2(6)  # (2^k, slots); twice as many whenever they run out
        self._at = 0

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        # What is passed over will never be accepted, so where the search stands follows from what was started.
        while self._at < SKIPS * (len(self._started) + 1):
            config = self._design(self._at)
            if self.accepts(config):
                return config
            self._at += 1
        return self.problem.space.sample(rng)

    def _design(self, place: int) -> Configuration:
        if place == len(self._points):
            more = self._engine.random_base2(place.bit_length() - 1)
            self._points = np.vstack([self._points, more])
        values: dict[str, Value] = {}
        for slot, unit in zip(self.problem.space.slots, self._points[place], strict=True):
            if slot.active(values):
                values[slot.path] = slot.parameter.value(float(unit))
        return Configuration(values)
