"""Asynchronous successive halving (Li et al. 2020, algorithm 2): a worker that is free never waits.

It promotes the best of the top 1/eta of a rung that did not go on yet, from the dearest rung down, and where there is
none starts a design at the bottom. Failed trials count as results of their rung, the worst ones. With several
objectives the top of a rung is that of ``nas.rungs.best_first``.
"""

from collections.abc import Collection, Mapping, Sequence

from estimators.estimator import Fidelity
from nas.brackets import checked_eta
from nas.scheduler import Action, Continue, Scheduler, schedulers
from nas.strategy import Strategy
from nas.trial import Trial
from nas.waiting import Waiting


@schedulers.register("asha")
class Asha(Scheduler):
    """Promotes one in ``eta`` of each rung, at once."""

    def __init__(
        self, strategy: Strategy, ladder: Sequence[Fidelity] = (Fidelity(),), *, eta: int = 3
    ) -> None:
        super().__init__(strategy, ladder)
        self.eta = checked_eta("asha", eta)
        self.waiting = Waiting(strategy.problem, self.ladder)

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self.waiting.tell(trial)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.next_of(
            lambda may: self._promotion(trials),
            lambda: self.start(trials, pending, self.ladder[0]),
            pending,
            may_start,
        )

    def _promotion(self, trials: Mapping[int, Trial]) -> Continue | None:
        for at in reversed(range(len(self.ladder) - 1)):
            first = self.waiting.first(at, trials)
            if first is not None and first[1] < self.waiting.rungs[at].size // self.eta:
                return Continue(first[0], self.ladder[at + 1])
        return None

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        return {number for at in range(len(self.ladder) - 1) for number in self.waiting.ahead(at, trials)}
