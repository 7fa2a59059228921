"""What an executor is: it places evaluations somewhere and hands back futures of results.

An executor decides *where*; what it places keeps its limits itself (``nas.supervise``), so that they hold anywhere.
"""

from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from estimators.estimator import Context, Estimator, Fidelity, Result
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

    What is no failure of the task is raised: ``OSError`` for a full, failing or read-only disk.
    """

    slots: int = 1

    @abstractmethod
    def submit(self, task: Task) -> "Future[Result]":
        """Place ``task``; called only while fewer than ``slots`` are in flight."""

    @abstractmethod
    def stop(self) -> None:
        """Ask what is in flight to save and return; its results come as ``stopped``."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, at once: what is in flight is lost."""
