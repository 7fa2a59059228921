"""BOHB (Falkner et al. 2018, algorithm 1): Hyperband whose designs a strategy proposes, but for a third at random.

The paper's strategy is a kernel density estimate: that is ``strategy="tpe"``, and any other will do. The random third
keeps the guarantees of Hyperband, and what a model would never look at in sight.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from estimators.estimator import Fidelity
from nas.brackets import checked_eta, cycle
from nas.ensemble import drawn
from nas.rounds import Bracketed
from nas.scheduler import Done, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial

EVERY: Final = 3  # rho = 1/3, counted instead of drawn
RANDOM: Final = 21  # PURPOSE of the generator of random designs


@schedulers.register("bohb")
class Bohb(Bracketed):
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
        eta = checked_eta("bohb", eta)
        super().__init__(strategy, ladder, partial(cycle, eta=eta, sizes=sizes), doubt=doubt)

    def begin(self, trials: Mapping[int, Trial], pending: Sequence[int], rung: int) -> Start | Done:
        index, sample = len(trials) + self.lost, self.strategy.problem.space.sample
        if index % EVERY == EVERY - 1:
            key = np.random.SeedSequence(self.strategy.seed, spawn_key=(index, 0, 0, RANDOM))
            start = drawn(self.strategy, sample, np.random.default_rng(key), self.ladder[rung], "random")
            if start is not None:
                return start
        return self.start(trials, pending, self.ladder[rung])
