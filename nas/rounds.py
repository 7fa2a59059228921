"""Brackets that are run one after the other: a round begins when the last one has all its results.

The trials alone say which bracket each belongs to and what is due, so a resumed study goes on where it was. While a
round waits for its last results the next bracket begins: no worker stands idle. A failed trial is the worst of its
round and never goes on.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, islice, pairwise

from estimators.estimator import Fidelity
from nas.brackets import Stage, Stages
from nas.rungs import best_first, step_at
from nas.scheduler import Continue
from nas.trial import Problem, Trial


class Rounds:
    """The brackets of ``cycle``, over and over. Trials belong to them in the order in which they were started.

    What it holds is a cache of what is over: brackets that owe nothing any more, and who went on in them.
    """

    def __init__(self, problem: Problem, ladder: Sequence[Fidelity], cycle: Sequence[Stages]) -> None:
        self.problem, self.ladder, self.cycle = problem, ladder, cycle
        self._ends = list(accumulate(stages[0].designs for stages in cycle))
        self._order: list[int] = []  # numbers of the trials as they were started
        self._open: list[int] = []  # brackets that may owe something, the oldest first
        self._begun = 0  # brackets
        self._chosen: dict[tuple[int, int], list[int]] = {}  # who goes on, by bracket and stage

    def first(self, place: int) -> Stage:
        """Return the stage at which the trial starts that is the ``place``-th of the study, from 0."""
        within = place % self._ends[-1]
        return next(stages[0] for stages, end in zip(self.cycle, self._ends, strict=True) if within < end)

    def due(self, trials: Mapping[int, Trial], may_start: bool) -> Continue | None:
        """Return the first continuation that is owed; of a bracket that is not full only if no more may start.

        A bracket that is cut short keeps the same shares of its designs, and one at least.
        """
        self._take(trials)
        for index in list(self._open):
            members, stages = self._members(index, trials), self._stages(index)
            whole = len(members) == stages[0].designs
            if not members or not (whole or not may_start):
                continue
            owed, over = self._owed(index, members, stages)
            if owed is not None:
                return owed
            if whole and over:
                self._close(index)
        return None

    def keeps(self, trials: Mapping[int, Trial]) -> set[int]:
        """Return who may go on: in brackets that are not over, all that did not fail."""
        self._take(trials)
        members = [trial for index in self._open for trial in self._members(index, trials)]
        return {trial.number for trial in members if not trial.failed}

    def _take(self, trials: Mapping[int, Trial]) -> None:
        self._order += islice(trials, len(self._order), None)
        while self._begin(self._begun) < len(self._order):
            self._open.append(self._begun)
            self._begun += 1

    def _begin(self, index: int) -> int:
        cycles, at = divmod(index, len(self.cycle))
        return cycles * self._ends[-1] + (self._ends[at - 1] if at else 0)

    def _stages(self, index: int) -> Stages:
        return self.cycle[index % len(self.cycle)]

    def _members(self, index: int, trials: Mapping[int, Trial]) -> list[Trial]:
        begin = self._begin(index)
        return [trials[number] for number in self._order[begin : begin + self._stages(index)[0].designs]]

    def _owed(self, index: int, members: list[Trial], stages: Stages) -> tuple[Continue | None, bool]:
        """Return what the bracket owes, and whether all of it has ended."""
        started = len(members)
        by_number = {trial.number: trial for trial in members}
        for at, (below, above) in enumerate(pairwise(stages)):
            if not self._resolved(members, below):
                return None, False
            if (chosen := self._chosen.get((index, at))) is None:
                count = max(1, started * above.designs // stages[0].designs)
                standing = [trial for trial in members if step_at(trial, self.ladder[below.rung])]
                order = best_first(self.problem, standing, self.ladder[below.rung])
                chosen = [trial.number for trial in order[:count]]
                if started == stages[0].designs:
                    self._chosen[index, at] = chosen
            members = [by_number[number] for number in chosen]
            target = self.ladder[above.rung]
            for trial in members:
                if trial.asked is None and not trial.failed and not step_at(trial, target):
                    return Continue(trial.number, target), False
        return None, self._resolved(members, stages[-1])

    def _resolved(self, members: Sequence[Trial], stage: Stage) -> bool:
        rung = self.ladder[stage.rung]
        return all(trial.failed or step_at(trial, rung) is not None for trial in members)

    def _close(self, index: int) -> None:
        self._open.remove(index)
        for at in range(len(self._stages(index))):
            self._chosen.pop((index, at), None)
