"""Hyperband (Li et al. 2018, algorithm 1): brackets that halve from the cheapest rung, from the next, and so on.

Where low rungs tell the truth the first brackets win, where they lie the last ones do. Brackets take their turns over
and over, for as long as there is budget. ``sizes="keras-tuner"`` has the numbers of designs of that package, which
differ; what is promoted when is the paper's rule with either.
"""

from collections.abc import Collection, Mapping, Sequence

from estimators.estimator import Fidelity
from nas.brackets import checked_eta, cycle
from nas.rounds import Rounds
from nas.scheduler import Action, Scheduler, schedulers
from nas.strategy import Strategy
from nas.trial import Trial


@schedulers.register("hyperband")
class Hyperband(Scheduler):
    """The brackets of ``nas.brackets.cycle``, with ``sizes`` "li" or "keras-tuner".

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
        brackets = cycle(self.ladder, checked_eta("hyperband", eta), sizes)
        self.rounds = Rounds(strategy.problem, self.ladder, brackets, doubt=doubt)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.next_of(
            lambda may: self.rounds.due(trials, may),
            lambda: self.start(trials, pending, self.ladder[self.rounds.first(trials).rung]),
            pending,
            may_start,
        )

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        return self.rounds.keeps(trials)
