"""Successive halving in brackets (Jamieson and Talwalkar 2016, algorithm 1; Li et al. 2018, section 3).

Notation
    R   rungs of the ladder, cheapest first       eta   each rung keeps one in eta
    A bracket starts eta^(R-1) designs at rung 0 and ends with one at rung R-1.

The trials alone say which bracket each belongs to and what is due, so a resumed study goes on where it was. While a
rung waits for its last results, the next bracket begins: no worker stands idle.
"""

from collections.abc import Mapping, Sequence

from estimators.estimator import Fidelity
from nas.scheduler import DONE, WAIT, Action, Continue, Done, Scheduler, schedulers
from nas.strategy import Strategy
from nas.trial import Trial


@schedulers.register("halving")
class Halving(Scheduler):
    """Brackets of ``eta ** (R - 1)`` designs, one after the other. A failed trial is out."""

    def __init__(
        self, strategy: Strategy, ladder: Sequence[Fidelity] = (Fidelity(),), *, eta: int = 3
    ) -> None:
        if eta < 2:
            raise ValueError(f"halving: eta={eta} keeps everything; give 2 or more")
        super().__init__(strategy, ladder)
        self.eta = eta
        self.width = eta ** (len(self.ladder) - 1)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        numbers = sorted(trials)
        for begin in range(0, len(numbers), self.width):
            bracket = [trials[number] for number in numbers[begin : begin + self.width]]
            whole = len(bracket) == self.width or not may_start
            if whole and (due := self._due(bracket)) is not None:
                return due
        if may_start:
            action = self.start(trials, pending, self.ladder[0])
            if not isinstance(action, Done):
                return action
            return self.ask(trials, pending, may_start=False)  # exhausted: promote what there is
        return WAIT if pending else DONE

    def _due(self, bracket: Sequence[Trial]) -> Continue | None:
        """Return the first continuation that a rung with all its results owes."""
        members = list(bracket)
        for rung, fidelity in enumerate(self.ladder[1:]):
            reached = [trial for trial in members if self._at(trial, rung)]
            if not all(trial.failed or self._at(trial, rung) for trial in members):
                return None
            if not reached:
                return None
            ranks = self.strategy.problem.ranks([self._metrics(trial, rung) for trial in reached])
            kept = max(1, len(members) // self.eta)
            best = sorted(zip(ranks, reached, strict=True), key=lambda pair: pair[0])[:kept]
            members = [trial for _, trial in best]
            for trial in members:
                if trial.asked is None and not trial.failed and not self._at(trial, rung + 1):
                    return Continue(trial.number, fidelity)
        return None

    def _at(self, trial: Trial, rung: int) -> bool:
        cost = self.ladder[rung].cost
        return any(step.error is None and step.fidelity.cost >= cost for step in trial.steps)

    def _metrics(self, trial: Trial, rung: int) -> Mapping[str, float]:
        cost = self.ladder[rung].cost
        step = next(s for s in trial.steps if s.error is None and s.fidelity.cost >= cost)
        return {**trial.free, **step.metrics}
