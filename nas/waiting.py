"""Who stands on each rung of a ladder, best first, and who of them waits to go on; kept up result by result.

With one objective a result is placed by bisection, so that a rung of thousands costs microseconds. With several there
is no such key: the order of ``nas.rungs.best_first`` is made of the first m results of the rung, m on a grid of steps
of a 32nd, so that it is a function of what was told and no rung is sorted anew for each result.

Who went on is taken out of those that wait as soon as it is met. From the last rung nobody goes on: there nobody waits.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from math import isqrt

from estimators.estimator import Fidelity
from nas.rungs import best_first, merit, step_at
from nas.trial import Problem, Trial

KEPT = 16  # of those that wait on a rung, the least number whose checkpoints are kept
EXACT = 64  # results of a rung up to which each counts at once with several objectives, then steps of a 32nd

Gone = Callable[[int], bool]


class Rung(ABC):
    """The results of one rung; ``size`` of them count, those of failed trials among them as the worst.

    Nobody waits on the ``last`` one.
    """

    size = 0

    def __init__(self, problem: Problem, rung: Fidelity, *, last: bool = False) -> None:
        self.problem, self.rung, self.last = problem, rung, last
        self._waiting: list[
            tuple[float, ...]
        ] = []  # those not known to be gone, best first; numbers at the end

    @abstractmethod
    def add(self, trial: Trial | None) -> None:
        """Take in a trial that stands on the rung now; None is one that failed on its way here."""

    @abstractmethod
    def first(self, gone: Gone) -> tuple[int, int] | None:
        """Return number and place, from 0, of the best trial that waits; None where nobody does.

        Who is ``gone`` once, by number, waits never again.
        """

    @abstractmethod
    def ahead(self, count: int, gone: Gone) -> list[int]:
        """Return the numbers of the best that wait, ``count`` at most, and of those that no order has yet."""

    @abstractmethod
    def best(self, count: int) -> list[int]:
        """Return the numbers of the best of all, ``count`` at most."""


class Single(Rung):
    """A rung under one objective."""

    def __init__(self, problem: Problem, rung: Fidelity, *, last: bool = False) -> None:
        super().__init__(problem, rung, last=last)
        self._all: list[tuple[float, ...]] = []  # merits and numbers in order

    def add(self, trial: Trial | None) -> None:
        self.size += 1
        if trial is not None:
            key = (*merit(self.problem, trial, self.rung), trial.number)
            insort(self._all, key)
            if not self.last:
                insort(self._waiting, key)

    def first(self, gone: Gone) -> tuple[int, int] | None:
        found = _first_of(self._waiting, 1, gone)
        return (found[0], bisect_left(self._all, self._waiting[0])) if found else None

    def ahead(self, count: int, gone: Gone) -> list[int]:
        return _first_of(self._waiting, count, gone)

    def best(self, count: int) -> list[int]:
        return [int(key[-1]) for key in self._all[:count]]


class Several(Rung):
    """A rung under several objectives."""

    def __init__(self, problem: Problem, rung: Fidelity, *, last: bool = False) -> None:
        super().__init__(problem, rung, last=last)
        self._told: list[Trial | None] = []
        self._sorted = 0  # how many results the order below is of
        self._order: list[int] = []

    def add(self, trial: Trial | None) -> None:
        self._told.append(trial)
        self.size = counted(len(self._told))

    def first(self, gone: Gone) -> tuple[int, int] | None:
        self._sort()
        found = _first_of(self._waiting, 1, gone)
        return (found[0], int(self._waiting[0][0])) if found else None

    def ahead(self, count: int, gone: Gone) -> list[int]:
        self._sort()
        newest = [trial.number for trial in self._told[self.size :] if trial is not None]
        return newest + _first_of(self._waiting, count, gone)

    def best(self, count: int) -> list[int]:
        self._sort()
        return self._order[:count]

    def _sort(self) -> None:
        if self._sorted < self.size:
            standing = [trial for trial in self._told[: self.size] if trial is not None]
            self._order = [trial.number for trial in best_first(self.problem, standing, self.rung)]
            self._waiting = [] if self.last else list(enumerate(self._order))
            self._sorted = self.size


class Waiting:
    """The rungs of a ladder as ``tell`` fills them."""

    def __init__(self, problem: Problem, ladder: Sequence[Fidelity]) -> None:
        kind = Single if len(problem.objectives) == 1 else Several
        self.ladder = ladder
        self.rungs: list[Rung] = [kind(problem, rung, last=rung == ladder[-1]) for rung in ladder]

    def tell(self, trial: Trial) -> None:
        """Take in the newest step of ``trial``: it stands on more rungs now, or failed on its way to them."""
        assert trial.last is not None
        before = [step for step in trial.steps[:-1] if step.error is None]
        reached = max((step.fidelity.cost for step in before), default=0.0)
        for rung, fidelity in zip(self.rungs, self.ladder, strict=True):
            if reached < fidelity.cost <= trial.last.fidelity.cost:
                rung.add(None if trial.failed else trial)

    def first(self, at: int, trials: Mapping[int, Trial]) -> tuple[int, int] | None:
        """Return number and place of the best trial that waits on rung ``at``; None where nobody does."""
        return self.rungs[at].first(lambda number: self._gone(at, trials[number]))

    def ahead(self, at: int, trials: Mapping[int, Trial]) -> list[int]:
        """Return who of those that wait on rung ``at`` may go on: so many as its border may move by.

        A rung that grows from n to 2n results moves the place of a quantile by about the root of n.
        """
        rung = self.rungs[at]
        return rung.ahead(max(KEPT, 2 * isqrt(rung.size)), lambda number: self._gone(at, trials[number]))

    def _gone(self, at: int, trial: Trial) -> bool:
        """Return whether ``trial``, which stood on rung ``at``, went on; what is in flight did, too."""
        return trial.asked is not None or trial.failed or step_at(trial, self.ladder[at + 1]) is not None


def counted(told: int) -> int:
    """Return how many of the results ``told`` an order of several objectives is made of: all, or a step of a 32nd."""
    step = 1 << max(told.bit_length() - EXACT.bit_length() + 1, 0) if told > EXACT else 1
    return told - told % step


def _first_of(waiting: list[tuple[float, ...]], count: int, gone: Gone) -> list[int]:
    """Return the numbers of the first of ``waiting``, ``count`` at most; who is gone before them is taken out."""
    kept, seen = list[tuple[float, ...]](), 0
    while seen < len(waiting) and len(kept) < count:
        if not gone(int(waiting[seen][-1])):
            kept.append(waiting[seen])
        seen += 1
    waiting[:seen] = kept
    return [int(key[-1]) for key in kept]
