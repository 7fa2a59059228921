"""BOHB (Falkner et al. 2018, algorithm 1): Hyperband whose designs a strategy proposes, but for a third at random.

The paper's strategy is a kernel density estimate, here "tpe"; any other will do. The random third keeps the guarantees
of Hyperband, and what a model would never look at in sight.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from estimators.estimator import Fidelity
from nas.brackets import checked_eta, cycle
from nas.ensemble import drawn
from nas.rounds import Rounds
from nas.scheduler import Action, Done, Scheduler, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial

EVERY: Final = 3  # rho = 1/3, counted instead of drawn
RANDOM: Final = 21  # PURPOSE of the generator of random designs


@schedulers.register("bohb")
class Bohb(Scheduler):
    """Brackets as in ``hyperband``; every third design is random.

    Rungs that are shown to rank nothing are left out (``nas.rounds``); with ``doubt=False`` never, as in the paper.
    """

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        eta: int = 3,
        sizes: str = "li",
        doubt: bool = True,
    ) -> None:
        super().__init__(strategy, ladder)
        brackets = cycle(self.ladder, checked_eta("bohb", eta), sizes)
        self.rounds = Rounds(strategy.problem, self.ladder, brackets, doubt=doubt)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.next_of(
            lambda may: self.rounds.due(trials, may),
            lambda: self._start(trials, pending),
            pending,
            may_start,
        )

    def _start(self, trials: Mapping[int, Trial], pending: Sequence[int]) -> Start | Done:
        index, space = len(trials), self.strategy.problem.space
        fidelity = self.ladder[self.rounds.first(trials).rung]
        if index % EVERY == EVERY - 1:
            key = np.random.SeedSequence(self.strategy.seed, spawn_key=(index, 0, 0, RANDOM))
            start = drawn(self.strategy, space.sample, np.random.default_rng(key), fidelity, "random")
            if start is not None:
                return start
        return self.start(trials, pending, fidelity)

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        return self.rounds.keeps(trials)
