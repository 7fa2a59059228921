"""Evaluations on any pool that has ``submit(function, *arguments)``: of Dask, MPI, submitit or concurrent.futures.

The pool is one that the user made, for a cluster that the user knows; what it runs keeps its limits itself. All its
workers must see the run folder where the engine sees it.
"""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from estimators.estimator import Result
from nas.executor import Executor, Task, checked_workers, executors
from nas.placed import Flag, Parcel, supervise
from nas.turns import Turn, Turns

PATIENCE = 5.0  # seconds that a pool has to return when the executor is closed


@dataclass(eq=False)
class Job:
    """What the pool has of the engine: the ``flag`` it looks at and, once it has it, the pool's own ``future``."""

    flag: Flag
    future: Any = None
    withdrawn: bool = False  # before the pool began with it: it never does

    def stop(self) -> None:
        """Ask what has begun to save and return, and have the pool drop what has not, if it can; may be repeated."""
        self.withdrawn = self.withdrawn or self.flag.withdraw()
        if not self.withdrawn:
            self.flag.stop()
        elif callable(cancel := getattr(self.future, "cancel", None)):
            cancel()

    def end(self) -> None:
        """End what has begun, without a wait, and have the pool drop what has not."""
        self.stop()
        self.flag.lower()


@executors.register("submit")
class Submit(Executor):
    """``Submit(pool, workers=4)`` has at most so many evaluations in the ``pool`` at a time, each on ``threads`` cores.

    The pool stays the user's: closing this executor ends evaluations, not the pool. A future of the pool needs
    ``result()`` only, and what that raises is a worker lost. With ``cancel()`` too, a job that waits in the pool when
    the search ends is not waited for.
    """

    def __init__(
        self, pool: Any = None, *, workers: int = 1, devices: Sequence[str] = (), threads: int = 1
    ) -> None:
        if not callable(getattr(pool, "submit", None)):
            raise ValueError(
                f"executor 'submit' got the pool {pool!r}; make one in Python that has submit(), and give "
                "Submit(pool, workers=4) as the executor, see docs/executors.md"
            )
        self.slots, self.threads, self._devices = checked_workers(workers), threads, tuple(devices)
        self._pool, self._turns = pool, Turns()
        self._jobs: dict[int, Job] = {}  # in flight, by worker
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"submit-{number}", daemon=True)
            for number in range(self.slots)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> "Future[Result]":
        return self._turns.put(task)

    def stop(self) -> None:
        """Ask what is in flight to save and return, which it hears within a second; what waits is not begun."""
        self._turns.stop()
        for job in list(self._jobs.values()):
            job.stop()

    def close(self) -> None:
        self._turns.close()
        for job in list(self._jobs.values()):
            job.end()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _serve(self, number: int) -> None:
        self._turns.serve(number, partial(self._evaluate, number))

    def _evaluate(self, number: int, turn: Turn) -> Result:
        """Have the pool run what ``turn`` holds, and wait for it."""
        device = self._devices[number % len(self._devices)] if self._devices else None
        parcel = Parcel.of(turn.task, device)
        self._jobs[number] = job = Job(Flag.beside(turn.task.context.scratch))
        try:
            job.future = self._pool.submit(supervise, parcel, job.flag)
            if turn.stopping.is_set():  # meanwhile: nobody may have told the job
                job.stop()
            outcome = job.future.result()
        # of a pool that is not ours: whatever it raises says that there is no result
        except (Exception, asyncio.CancelledError) as error:
            cause = f"the pool lost the evaluation ({type(error).__name__}: {error})"
            outcome = Result(error=f"killed: {cause}"[:300])
        finally:
            del self._jobs[number]
            job.flag.lower()
        if job.withdrawn:
            return Result(stopped=True)
        if isinstance(outcome, OSError):
            raise outcome
        assert isinstance(outcome, Result)
        return outcome
