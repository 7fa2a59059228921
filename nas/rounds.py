"""Brackets that are run one after the other: a round begins when the last one has all its results.

The trials alone say which bracket each belongs to and what is due, so a resumed study goes on where it was. While a
round waits for its last results the next bracket begins: no worker stands idle. A failed trial is the worst of its
round and never goes on.

With ``doubt`` a bracket leaves out the rungs that had lost their say when it began (``nas.fidelity_trust``): of
9 -> 3 -> 1 stays 3 -> 1 without the first, 9 -> 1 without the second. Every ``AGAIN``-th cycle has those that no trial
tells of in passing. What was known then is read from the trials, too. A look costs as much as there are trials, so not
every bracket looks: one does when there are so many more as ``nas.fidelity_trust.next_look`` says, and those between
go by what the last one saw.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice, pairwise

from estimators.estimator import Fidelity
from nas.brackets import Stage, Stages
from nas.fidelity_trust import next_look
from nas.rungs import believed, best_first, known_before, step_at
from nas.scheduler import Action, Continue, Done, Scheduler, Start
from nas.strategy import Strategy
from nas.trial import Problem, Trial

AGAIN = 5


class Rounds:
    """The brackets of ``cycle``, over and over. Trials belong to them in the order in which they were started.

    What it holds is a cache: brackets that have begun with their stages, what owes nothing more, and who went on.
    """

    def __init__(
        self, problem: Problem, ladder: Sequence[Fidelity], cycle: Sequence[Stages], *, doubt: bool = False
    ) -> None:
        self.problem, self.ladder, self.cycle, self.doubt = problem, tuple(ladder), cycle, doubt
        self._begins: list[int] = []  # the place in the order at which each bracket began
        self._sizes: list[int] = []
        self._stages: dict[int, Stages] = {}  # of the brackets that were looked at
        self._order: list[int] = []  # numbers of the trials as they were started
        self._open: list[int] = []  # brackets that may owe something, the oldest first
        self._chosen: dict[tuple[int, int], list[int]] = {}  # who goes on, by bracket and stage
        # what has its say, by the bracket that looked, and ``again``
        self._kept: dict[tuple[int, bool], tuple[Fidelity, ...]] = {}

    def first(self, trials: Mapping[int, Trial]) -> Stage:
        """Return the stage at which the next trial starts: as others of its bracket, or as a new one has to."""
        self._take(trials)
        if self._begins and len(self._order) < self._begins[-1] + self._sizes[-1]:
            return self._start(len(self._begins) - 1, trials)
        return self._planned(len(self._begins), trials)[0]

    def due(self, trials: Mapping[int, Trial], may_start: bool) -> Continue | None:
        """Return the first continuation that is owed; of a bracket that is not full only if no more may start.

        A bracket that is cut short keeps the same shares of its designs, and one at least.
        """
        self._take(trials)
        for index in list(self._open):
            members = self._members(index, trials)
            whole = len(members) == self._sizes[index]
            if not (whole or not may_start):
                continue
            stages = self._stages_of(index, members, trials)
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
        while (end := self._begins[-1] + self._sizes[-1] if self._begins else 0) < len(self._order):
            self._begins.append(end)
            self._sizes.append(self._start(len(self._begins) - 1, trials).designs)
            self._open.append(len(self._begins) - 1)

    def _start(self, index: int, trials: Mapping[int, Trial]) -> Stage:
        """Return the stage at which bracket ``index`` started: its first trial says so."""
        whole, first = self._cycled(index), trials[self._order[self._begins[index]]]
        begun = first.steps[0] if first.steps else first.asked
        return next((one for one in whole if begun and self.ladder[one.rung] == begun.fidelity), whole[0])

    def _cycled(self, index: int) -> Stages:
        return self.cycle[index % len(self.cycle)]

    def _members(self, index: int, trials: Mapping[int, Trial]) -> list[Trial]:
        begin = self._begins[index]
        return [trials[number] for number in self._order[begin : begin + self._sizes[index]]]

    def _planned(self, index: int, trials: Mapping[int, Trial]) -> Stages:
        """Return the stages of bracket ``index`` on the rungs that have their say by what is known."""
        if not self.doubt:
            return self._cycled(index)
        again = index // len(self.cycle) % AGAIN == AGAIN - 1
        kept = self._believed(looked(index), trials, again)
        return tuple(one for one in self._cycled(index) if self.ladder[one.rung] in kept)

    def _believed(self, at: int, trials: Mapping[int, Trial], again: bool) -> tuple[Fidelity, ...]:
        """Return the rungs to go by from what was known when bracket ``at`` began; it begins now if it did not yet."""
        if at >= len(self._begins):
            return believed(trials.values(), self.problem, self.ladder, again=again)
        if (at, again) not in self._kept:
            known = known_before(trials, trials[self._order[self._begins[at]]])
            self._kept[at, again] = believed(known, self.problem, self.ladder, again=again)
        return self._kept[at, again]

    def _stages_of(self, index: int, members: Sequence[Trial], trials: Mapping[int, Trial]) -> Stages:
        """Return the stages that bracket ``index`` began with; where one has come to the top, they are its steps."""
        if index not in self._stages:
            start = self._start(index, trials)
            gone = next(
                (one for one in members if step_at(one, self.ladder[-1]) and len(one.steps) > 1), None
            )
            if gone is not None:
                passed = [step.fidelity for step in gone.steps]
                later = [one for one in self._cycled(index) if self.ladder[one.rung] in passed]
            else:
                later = list(self._planned(index, trials))
            self._stages[index] = (start, *(one for one in later if one.rung > start.rung))
        return self._stages[index]

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
        for at in range(len(self._stages.pop(index))):
            self._chosen.pop((index, at), None)


def looked(index: int) -> int:
    """Return which bracket up to ``index`` looked last at what has its say."""
    at = 0
    while (after := next_look(at)) <= index:
        at = after
    return at


class Bracketed(Scheduler):
    """A scheduler whose designs go through the brackets that ``cycle`` makes of the ladder; ``begin`` says which."""

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity],
        cycle: Callable[[Sequence[Fidelity]], Sequence[Stages]],
        *,
        doubt: bool,
    ) -> None:
        super().__init__(strategy, ladder)
        self.rounds = Rounds(strategy.problem, self.ladder, cycle(self.ladder), doubt=doubt)

    @abstractmethod
    def begin(self, trials: Mapping[int, Trial], pending: Sequence[int], rung: int) -> Start | Done:
        """Return the start of a new design at ``rung`` of the ladder; DONE where there is none."""

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.next_of(
            lambda may: self.rounds.due(trials, may),
            lambda: self.begin(trials, pending, self.rounds.first(trials).rung),
            pending,
            may_start,
        )

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        return self.rounds.keeps(trials)
