"""Successive halving in brackets (Jamieson and Talwalkar 2016, algorithm 1; Li et al. 2018, section 3).

Notation
    R   rungs of the ladder, cheapest first       eta   each rung keeps one in eta
    A bracket starts eta^(R-1) designs at rung 0 and ends with one at rung R-1.
"""

from collections.abc import Collection, Mapping, Sequence

from estimators.estimator import Fidelity
from nas.brackets import Stage, checked_eta
from nas.rounds import Rounds
from nas.scheduler import Action, Scheduler, schedulers
from nas.strategy import Strategy
from nas.trial import Trial


@schedulers.register("halving")
class Halving(Scheduler):
    """Brackets of ``eta ** (R - 1)`` designs, one after the other.

    Rungs that are shown to rank nothing are left out (``nas.rounds``); with ``doubt=False`` never, as in the papers.
    """

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        eta: int = 3,
        doubt: bool = True,
    ) -> None:
        super().__init__(strategy, ladder)
        self.eta, top = checked_eta("halving", eta), len(self.ladder) - 1
        bracket = tuple(Stage(eta ** (top - rung), rung) for rung in range(top + 1))
        self.rounds = Rounds(strategy.problem, self.ladder, [bracket], doubt=doubt)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.next_of(
            lambda may: self.rounds.due(trials, may),
            lambda: self.start(trials, pending, self.ladder[self.rounds.first(trials).rung]),
            pending,
            may_start,
        )

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        return self.rounds.keeps(trials)
