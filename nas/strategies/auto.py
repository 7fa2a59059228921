"""The default: a Gaussian process while trials are few and dear, evolution once they are many."""

from collections.abc import Sequence

import numpy as np

from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration

MODELLED = 300  # told trials up to which fitting the process costs less than what it saves


@strategies.register("auto")
class Auto(Strategy):
    """Asks ``gp`` for the first ``modelled`` trials and ``evolution`` from then on."""

    def __init__(self, problem: Problem, *, seed: int = 0, modelled: int = MODELLED) -> None:
        super().__init__(problem, seed=seed)
        self.modelled = modelled
        self._early = strategies.get("gp")(problem, seed=seed)
        self._late: Strategy | None = None

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self._early.tell(trial)
        if self._late is not None:
            self._late.tell(trial)

    def started(self, key: str) -> None:
        super().started(key)
        self._early.started(key)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        if index < self.modelled:
            return self._early.propose(rng, index, pending)
        if self._late is None:
            self._late = strategies.get("evolution")(self.problem, seed=self.seed)
            for trial in self.trials.values():
                self._late.tell(trial)
        return self._late.propose(rng, index, pending)
