"""The baseline that is hard to beat: train many designs a little, then the best of them straight to the end.

How many is right depends on the budget, which a scheduler does not know. So, for as long as there is budget, what was
spent on continuing never exceeds what was spent on starting: as soon as the results at the bottom rung cost as much as
the p-th continuation to the top and all before it, the best that waits goes on. It ends with half of the budget spent
on each, and about c0 / cR of the designs at the top, of rungs that cost c0 and cR. ``starts=N, k=K`` says it exactly.
"""

from collections.abc import Collection, Mapping, Sequence

from estimators.estimator import Fidelity
from nas.brackets import Stage
from nas.rounds import Rounds
from nas.scheduler import Action, Continue, Scheduler, schedulers
from nas.strategy import Strategy
from nas.trial import Trial
from nas.waiting import Waiting


@schedulers.register("one-epoch-top-k")
class OneEpochTopK(Scheduler):
    """Designs at the bottom rung, the best of all straight to the top one, at equal cost.

    With ``starts`` and ``k`` the best ``k`` of every ``starts`` designs, once all of these have their results.
    """

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        starts: int | None = None,
        k: int | None = None,
    ) -> None:
        super().__init__(strategy, ladder)
        self.waiting = Waiting(strategy.problem, (self.ladder[0], self.ladder[-1])[: len(self.ladder)])
        self.rounds = None
        if (starts, k) != (None, None):
            bracket = _bracket(starts, k, len(self.ladder) - 1)
            self.rounds = Rounds(strategy.problem, self.ladder, [bracket])

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self.waiting.tell(trial)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        def due(may_start: bool) -> Continue | None:
            if self.rounds is not None:
                return self.rounds.due(trials, may_start)
            return self._promotion(trials, pending, may_start)

        return self.next_of(due, lambda: self.start(trials, pending, self.ladder[0]), pending, may_start)

    def _promotion(
        self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool
    ) -> Continue | None:
        """Return the next best for the top, if it is paid for; where no more may start, one goes there in any case."""
        if len(self.ladder) == 1 or (first := self.waiting.first(0, trials)) is None:
            return None
        bottom, top = self.ladder[0].cost, self.ladder[-1].cost
        gone = self.waiting.rungs[-1].size + sum(bool(trials[number].steps) for number in pending)
        paid = (gone + 1) * (top - bottom) <= self.waiting.rungs[0].size * bottom
        last = not may_start and not gone and len(pending) == 0
        return Continue(first[0], self.ladder[-1]) if paid or last else None

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        if self.rounds is not None:
            return self.rounds.keeps(trials)
        return set() if len(self.ladder) == 1 else set(self.waiting.ahead(0, trials))


def _bracket(starts: int | None, k: int | None, top: int) -> tuple[Stage, ...]:
    for value in (starts, k):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"one-epoch-top-k: starts={starts!r}, k={k!r}; give both as whole numbers from 1 up, or neither"
            )
    assert starts is not None and k is not None
    if k > starts:
        raise ValueError(f"one-epoch-top-k: k={k} of starts={starts} cannot go on; give k up to starts")
    return (Stage(starts, 0), Stage(k, top)) if top else (Stage(starts, 0),)
