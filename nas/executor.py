"""What an executor is: it places evaluations somewhere and hands back futures of results.

An executor decides *where*; what it places keeps its limits itself (``nas.supervise``), so that they hold anywhere.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from estimators.estimator import Context, Estimator, Fidelity, Result
from nas.shortage import limit_at_start
from search_spaces.registry import Registry

executors: "Registry[type[Executor]]" = Registry("executor", "nas.executors")


@dataclass(frozen=True)
class Limits:
    """What an evaluation may use: wall ``seconds`` and resident ``memory`` in bytes. None is no limit.

    Memory counts the process that evaluates and all that it starts, without pages of files (``nas.shortage``).
    ``grace`` is how many seconds an evaluation has to save and return once it was asked to stop.
    """

    seconds: float | None = None
    memory: int | None = None
    grace: float = 5.0

    def __post_init__(self) -> None:
        if (self.seconds is not None and self.seconds <= 0) or (self.memory is not None and self.memory <= 0):
            raise ValueError(
                f"{self!r}: limits on seconds and memory must be positive; leave out what is not limited"
            )


@dataclass(frozen=True)
class Task:
    """One evaluation: ``estimator.evaluate(design, fidelity, context)`` under ``limits``. Plain data, pickles."""

    estimator: Estimator
    design: Any
    fidelity: Fidelity
    context: Context
    limits: Limits = Limits()


class Executor(ABC):
    """Places tasks on ``slots`` workers. A task's failure is a ``Result``; a future never raises because of it.

    What is no failure of the task is raised: ``OSError`` for a full, failing or read-only disk. A worker that dies of
    something else is ``Result(error="killed: ...")`` and is replaced: its task may be placed again.

    ``threads`` are the cores that an evaluation on each worker has, to be its ``Context.threads``. ``devices`` are the
    names of torch devices that the workers have in turn; without them a task's own is left as it is. A ``ValueError``
    carries the numbers of what cannot be had.
    """

    slots: int = 1
    threads: int = 1

    def threads_of(self, count: int) -> int:
        """Return the cores that each of ``count`` evaluations has, where there are no more of them."""
        return self.threads

    def memory(self) -> int:
        """Return the bytes that each worker may hold as things are now: its share of what is free on this machine."""
        return limit_at_start() // self.slots

    @abstractmethod
    def __init__(self, *, workers: int = 1, devices: Sequence[str] = ()) -> None:
        """Make ready for ``workers`` evaluations at a time."""

    @abstractmethod
    def submit(self, task: Task) -> "Future[Result]":
        """Place ``task``. With more than ``slots`` in flight it waits its turn, and can be cancelled until then."""

    @abstractmethod
    def stop(self) -> None:
        """Ask what is in flight to save and return; its results, and those of what waits, come as ``stopped``."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, at once: what is in flight is lost."""


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def checked_workers(workers: int) -> int:
    """Return ``workers``; a ``ValueError`` where it is no number of workers."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(
            f"workers={workers!r}; give how many evaluations run at a time, a whole number from 1 up"
        )
    return workers
