"""Successive halving in brackets (Jamieson and Talwalkar 2016, algorithm 1; Li et al. 2018, section 3).

Notation
    R   rungs of the ladder, cheapest first       eta   each rung keeps one in eta
    A bracket starts eta^(R-1) designs at rung 0 and ends with one at rung R-1.

The trials alone say which bracket each belongs to and what is due, so a resumed study goes on where it was. While a
rung waits for its last results, the next bracket begins: no worker stands idle.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from estimators.estimator import Fidelity
from nas.rungs import best_first, step_at
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
        for below, above in pairwise(self.ladder):
            standing = [trial for trial in members if step_at(trial, below)]
            if not standing or not all(trial.failed or step_at(trial, below) for trial in members):
                return None
            members = best_first(self.strategy.problem, standing, below)[: max(1, len(members) // self.eta)]
            for trial in members:
                if trial.asked is None and not trial.failed and not step_at(trial, above):
                    return Continue(trial.number, above)
        return None
