"""Evaluations in flight: how many designs are asked for ahead of free workers, and which steps are placed again.

With several workers the engine is busy for each result, and whoever has ended waits for it meanwhile. So it asks ahead:
what is asked for then waits in the executor, and a worker that has ended goes on at once. What is asked for ahead knows
less, so no more is than ends while the engine is busy: nothing where evaluations are long.

Notation
    a    seconds that the engine is busy for each result: storing and telling it, asking for the next
    e    seconds that an evaluation takes
"""

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Final

from estimators.estimator import Result
from nas.executor import Executor, Task
from nas.trial import Trial

RETRIES: Final = 2  # times that a step is placed again whose worker died
LOST: Final = "killed:"  # how the error of such a step begins
SHORT: Final = 0.005  # of e: with a below it nobody waits for the engine
NEWEST: Final = 0.1  # weight of the newest result in the means


class Stranded(Exception):
    """One worker after the other died, and nothing came of any: it is not what they evaluate."""


class Flights:
    """The trials whose evaluations ``executor`` has, by their futures."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._trials: dict[Future[Result], Trial] = {}
        self._busy, self._evaluated = 0.0, 0.0  # a and e
        self._deaths = 0  # of workers, since a result came in
        self._woken, self._landed = 0.0, 0  # when the engine was woken last, and by how many results

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator["Future[Result]"]:
        return iter(self._trials)

    def __contains__(self, future: object) -> bool:
        return future in self._trials

    @property
    def room(self) -> bool:
        """Whether another design may be asked for."""
        return len(self._trials) < self.executor.slots + self.ahead

    @property
    def ahead(self) -> int:
        """How many designs are asked for that no worker is free for."""
        slots, a, e = self.executor.slots, self._busy, self._evaluated
        if slots == 1 or a <= SHORT * e:
            return 0
        return min(slots, math.ceil(slots * a / e)) if e else slots

    def place(self, task: Task, trial: Trial) -> None:
        """Have ``task`` of ``trial`` evaluated."""
        self._trials[self.executor.submit(task)] = trial

    def recall(self) -> None:
        """Take back what no worker has begun: it stays asked for."""
        for future in list(self._trials):
            if future.cancel():
                del self._trials[future]

    def number(self, future: "Future[Result]") -> int:
        """Return the number of the trial of ``future``."""
        return self._trials[future].number

    def land(self, future: "Future[Result]") -> tuple[Trial, Result]:
        """Return the trial of ``future`` and its result, which is not in flight any more."""
        trial, result = self._trials.pop(future), future.result()
        self._deaths = self._deaths + 1 if lost(result) else 0
        if self._deaths > self.executor.slots * (RETRIES + 1):
            cause = str(result.error).removeprefix(LOST).strip()
            raise Stranded(
                f"{self._deaths} workers died in a row, at last of {cause!r}; what they had is still asked for: see to "
                "the machine or the executor, then go on"
            )
        if not result.stopped:
            self._evaluated = _mean(self._evaluated, result.seconds)
        return trial, result

    def waits(self) -> None:
        """Take note that the engine has nothing to do until a result comes in."""
        if self._landed:
            self._busy = _mean(self._busy, (time.perf_counter() - self._woken) / self._landed)

    def woken(self, landed: int) -> None:
        """Take note that the engine is busy with so many results from now on."""
        self._woken, self._landed = time.perf_counter(), landed


def evaluated(executor: Executor, task: Task) -> Result:
    """Return the result of ``task``, placed again where its worker died."""
    for _ in range(RETRIES):
        if not lost(result := executor.submit(task).result()):
            return result
    return executor.submit(task).result()


def lost(result: Result) -> bool:
    """Return whether the worker died of something that is no fault of what it evaluated, as far as anyone knows."""
    return result.error is not None and result.error.startswith(LOST)


def _mean(mean: float, newest: float) -> float:
    return newest if not mean else (1 - NEWEST) * mean + NEWEST * newest
