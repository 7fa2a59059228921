"""How long a run goes on: the seconds until its model is there, predicted at each result, a budget obeyed."""

import time
from collections.abc import Callable, Iterable

from estimators.cost.seconds import Interval
from nas.duration import Durations, added
from nas.folder import Settings
from nas.plan import Cost, Finals, search_end
from nas.study import Study
from nas.trial import Trial

NOTHING = Interval(0.0, 0.0, 0.0)


class TimeLeft:
    """The seconds left of the run of ``study``, whose trainings take what ``durations`` predict.

    ``finals_after(seconds)`` are the final trainings as they would be now, were the search to go on for so long.
    """

    def __init__(
        self,
        study: Study,
        settings: Settings,
        durations: Durations,
        finals_after: Callable[[float], Finals | None],
    ) -> None:
        self.study, self.settings, self.durations = study, settings, durations
        self._finals_after = finals_after
        self._predicted: tuple[Interval | None, float] = (None, 0.0)  # and when that was

    def now(self) -> Interval | None:
        """Return the seconds left by the newest prediction and what has gone by since; None while nobody can say."""
        predicted, when = self._predicted
        return None if predicted is None else predicted.after(time.monotonic() - when)

    def predict(self, *, running: bool) -> Interval | None:
        """Return the seconds left, predicted anew; None while nobody can say, and of a run that is not ``running``."""
        left = self._left() if running else None
        self._predicted = left, time.monotonic()
        return left

    def _left(self) -> Interval | None:
        """Predict the seconds of what is left of the search and of the final trainings."""
        events, number, budget = self.study.history.events, self.settings.round, self.settings.budget
        if f"winner {number}" in events:
            return None
        if (stored := events.get(f"finals {number}")) is not None:
            searching: Interval | None = NOTHING
            plan = Finals(tuple(stored["trials"]), stored["epochs"]) if stored else None
        else:
            searching = self._search_left()
            plan = None if searching is None else self._finals_after(searching.median)
        if searching is None or plan is None:
            return None
        finals = self.durations.finals(
            [(self.study.history.trials[one], plan.epochs - self._done(one)) for one in plan.trials],
            self.study.trials,
        )
        at_once = min(self.settings.workers, max(len(plan.trials), 1))
        total = None if finals is None else added([searching, finals.shared(at_once)])
        return total if total is None or budget is None else total.within(budget - self.study.seconds)

    def _search_left(self) -> Interval | None:
        """Return the seconds that the search goes on for: until its time is up, or its trials are through."""
        settings = self.settings
        found = []
        if settings.budget is not None:
            cost = Cost.of(settings.cost) if settings.cost is not None else None
            end = search_end(settings.began, settings.budget, cost, self.durations.images)
            left = max(end - self.study.seconds, 0.0)
            found.append(Interval(left, left, left))
        if settings.trials is not None:
            due = max(settings.trials - self.study.history.starts, 0)
            counted = self.durations.searching(list(self.study.searched.values()), due)
            found += [] if counted is None else [counted.shared(settings.workers)]
        return min(found, key=lambda one: one.median, default=None)

    def _done(self, number: int) -> int:
        """Return the epochs of the final training of trial ``number`` that are behind it."""
        trial = replicate_of(self.study.trials, number, self.settings.round)
        return trial.last.fidelity.epochs if trial is not None and trial.last is not None else 0


def replicate_of(trials: Iterable[Trial], number: int, replicate: int) -> Trial | None:
    """Return replicate ``replicate`` of trial ``number``; None where it was not begun."""
    found = (trial for trial in trials if trial.parent == number and trial.replicate == replicate)
    return next(found, None)
