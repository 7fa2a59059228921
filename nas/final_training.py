"""The final trainings: the best designs again from the start, on all of the data, as many at a time as workers.

Each goes piece by piece, so that a kill costs a piece at most, and at the end of a budget its last whole epoch counts.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from estimators.estimator import Estimator, Fidelity, Result
from nas.ending import SAVE
from nas.executor import Executor, Limits, Task
from nas.flights import Flights
from nas.plan import Finals
from nas.study import Study
from nas.time_left import replicate_of
from nas.trial import Step, Trial
from search_spaces.configuration import Configuration

WORTH = 0.8  # of the seconds that a piece is predicted to take: with less left it is not begun


@dataclass(frozen=True, eq=False)
class FinalTraining:
    """Trains repeats number ``replicate`` of trials of ``study`` in the ``executor``.

    ``estimator`` makes what trains them; their weights lie under ``checkpoints``. ``settings`` are fields of their
    ``Context``, ``memory`` the bytes that a process may hold. ``left`` returns the seconds that are left for them, None
    where no time is counted; ``epoch_seconds`` what an epoch of a trial's design takes. ``told`` is called when pieces
    have come in.
    """

    study: Study
    executor: Executor
    estimator: Callable[[], Estimator]
    decode: Callable[[Configuration], Any]
    checkpoints: Path
    settings: Mapping[str, Any]
    memory: int
    replicate: int
    left: Callable[[], float | None]
    epoch_seconds: Callable[[Trial], float]
    told: Callable[[], None]

    def run(self, plan: Finals) -> None:
        """Train the designs of ``plan``, the best one first, until they are trained or their time is up."""
        flights, due = Flights(self.executor), deque(plan.trials)
        while True:
            while due and len(flights) < self.executor.slots and not self.study.ending:
                if (piece := self._piece(due.popleft(), plan)) is not None:
                    flights.place(self._task(piece, plan), piece)
            if not flights:
                return
            landed = set() if self.study.ending == SAVE else self.study.wait(flights)
            if self.study.ending == SAVE:
                self.executor.stop()
                landed = set(flights)
            for future in sorted(landed, key=flights.number):
                if (more := self._land(future, flights)) is not None:
                    due.appendleft(more)
            self.told()

    def _piece(self, number: int, plan: Finals) -> Trial | None:
        """Ask for the next piece of the final training of trial ``number``; None if there is none to begin."""
        trial = replicate_of(self.study.trials, number, self.replicate)
        last = trial.last if trial is not None else None
        if last is not None and last.error is not None:
            return None
        done = last.fidelity.epochs if last is not None else 0
        epochs = next((upto for upto in plan.steps() if upto > done), None)
        left = self.left()
        if epochs is None or (left is not None and left < self._least(number, epochs, last)):
            return None
        return self.study.repeat(number, self.replicate, Fidelity(epochs))

    def _least(self, number: int, epochs: int, last: Step | None) -> float:
        """Return the seconds without which the piece up to ``epochs`` is not begun."""
        done = last.fidelity.epochs if last is not None else 0
        return WORTH * (epochs - done) * self.epoch_seconds(self.study.history.trials[number])

    def _land(self, future: "Future[Result]", flights: Flights) -> int | None:
        """Tell what a piece came to; return the number of the trial if its final training goes on."""
        trial, result = flights.land(future)
        asked = self.study.history.trials[trial.number].asked  # from step 0, if its checkpoint was gone
        assert asked is not None
        reached = asked.start + len(result.curve) if result.curve else 0
        updated = self.study.land(trial, result, self.checkpoints, reached=reached)
        ended = result.stopped or (updated.last is not None and updated.last.error is not None)
        return None if ended else updated.parent

    def _task(self, trial: Trial, plan: Finals) -> Task:
        """Return what ``trial`` was asked for as a task of which the last whole epoch counts when the time is up."""
        limits, left = Limits(memory=self.memory), self.left()
        if left is not None:  # with time to save, or to be ended, before it is up
            limits = replace(limits, seconds=max(left - min(limits.grace, left / 10), 0.5))
        threads = self.executor.threads_of(len(plan.trials))
        return self.study.task(
            trial,
            self.estimator(),
            self.decode,
            self.checkpoints,
            limits,
            {**self.settings, "threads": threads, "horizon": plan.epochs, "partial": True},
        )
