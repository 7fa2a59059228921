"""What executors have evaluated by processes that are not the engine's own children, on this host or another one.

A task travels as a ``Parcel``: its estimator and its design are bytes that are unpickled only by the process that
evaluates, so that a worker which hands them on imports neither torch nor a user's modules. ``supervise`` is a plain
function that any ``submit`` can run: it evaluates a parcel in a warm, supervised child process, which keeps the limits
and stays for what comes next.
"""

import atexit
import contextlib
import os
import pickle
import socket
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimators.estimator import Context, Estimator, Fidelity, Result
from nas import supervise as supervised
from nas.executor import Limits, Task
from nas.supervise import Child, on_device

LOOK = 0.5  # seconds between looks at a flag


@dataclass(frozen=True)
class Sealed:
    """A pickle that is pickled as what it holds: it turns into that where it is loaded the next time."""

    content: bytes
    main: str | None

    def __reduce__(self) -> tuple[Any, ...]:
        return opened, (self.content, self.main)


def opened(content: bytes, main: str | None) -> Any:
    """Return what ``content`` is the pickle of; names of the script ``main`` are found by running it once."""
    supervised._Main.path = main
    try:
        return supervised._load(content)
    except Exception as error:
        return Unopened(f"{type(error).__name__}: {error}")


class Unopened(Estimator):
    """Stands for what could not be unpickled, often for want of a module, and says so where it is used."""

    def __init__(self, cause: str) -> None:
        self._cause = cause

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(self.said)

    @property
    def said(self) -> str:
        return f"cannot be loaded on {socket.gethostname()} ({self._cause}); install there what the search imports"

    def prepare(self) -> None:
        raise RuntimeError(self.said)

    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        raise RuntimeError(self.said)


@dataclass(frozen=True)
class Parcel:
    """A task on its way: ``estimator`` and ``design`` are pickles, ``main`` is the script that they may refer to."""

    estimator: bytes
    design: bytes
    fidelity: Fidelity
    context: Context
    limits: Limits
    main: str | None

    @classmethod
    def of(cls, task: Task, device: str | None = None) -> "Parcel":
        """Pack ``task``, for the torch ``device`` if one is named; a ``ValueError`` says what cannot be sent."""
        try:
            estimator, design = pickle.dumps(task.estimator), pickle.dumps(task.design)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"an evaluation runs in a process of its own, but cannot be sent there ({error}); define its function "
                "at the top of a module"
            ) from None
        main = getattr(sys.modules["__main__"], "__file__", None)
        context = on_device(task, device).context
        return cls(estimator, design, task.fidelity, context, task.limits, main)

    def task(self) -> Task:
        """Return the task, whose estimator and design are there once it was pickled again."""
        estimator: Any = Sealed(self.estimator, self.main)
        return Task(estimator, Sealed(self.design, self.main), self.fidelity, self.context, self.limits)


@dataclass(frozen=True)
class Flag:
    """A file of the engine beside a scratch folder, by which a worker on a shared disk hears of it.

    Whoever evaluates takes it, which renames it; nobody can once the engine has withdrawn it. While it is there the
    evaluation goes on, if there is something in it the evaluation is to stop, and without it nobody waits for the
    evaluation any more.
    """

    path: Path

    @classmethod
    def beside(cls, scratch: Path) -> "Flag":
        """Return a new flag beside ``scratch``."""
        scratch.parent.mkdir(parents=True, exist_ok=True)
        flag = cls(scratch.parent / f".{scratch.name}-{uuid.uuid4().hex[:8]}")
        flag.path.touch()
        return flag

    @property
    def _taken(self) -> Path:
        return self.path.with_name(f"{self.path.name}.taken")

    def take(self) -> "Flag | None":
        """Return the flag that a worker looks at from now on, by which it says that it begins; None if there is none.

        It is there also for the next worker, if a pool begins again what it lost.
        """
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(self._taken)
        return Flag(self._taken) if self._taken.exists() else None

    def withdraw(self) -> bool:
        """Take the flag away if no worker has taken it; return whether that was so: then none ever does."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def stop(self) -> None:
        """Ask the evaluation that took the flag to stop, if it is not over."""
        with contextlib.suppress(FileNotFoundError), self._taken.open("r+") as file:
            file.write("stop")

    def lower(self) -> None:
        """Take the flag away, taken or not."""
        self.withdraw()
        self._taken.unlink(missing_ok=True)

    def look(self) -> bool | None:
        """Return whether to stop; None if the flag is not there."""
        try:
            return bool(self.path.read_text())
        except FileNotFoundError:
            return None


_idle: dict[int, list[Child]] = {}  # warm children by the process whose they are: a fork has none


def supervise(parcel: Parcel, flag: Flag) -> Result | OSError:
    """Evaluate ``parcel`` in a warm child of this process, until ``flag`` says to stop; returns a disk's failure."""
    if (taken := flag.take()) is None:
        return FileNotFoundError(
            f"{flag.path.parent} of the engine is not to be seen on {socket.gethostname()}: put the run on a disk that "
            "all workers share, or use the executor 'ray', which carries files"
        )
    idle = _idle.setdefault(os.getpid(), [])
    try:
        child = idle.pop()
    except IndexError:
        child = Child()
    stopping, done = threading.Event(), threading.Event()
    looking = threading.Thread(target=_look, args=(taken, child, stopping, done), daemon=True)
    looking.start()
    try:
        return child.run(parcel.task(), stopping)
    except OSError as error:
        return error
    finally:
        done.set()
        looking.join()
        if taken.look() is None:
            child.close()  # it may have been ended for good
        else:
            idle.append(child)


def _look(flag: Flag, child: Child, stopping: threading.Event, done: threading.Event) -> None:
    """Look at ``flag`` until ``done``, and do as it says."""
    while not done.wait(LOOK):
        told = flag.look()
        if told is None:
            child.end()
            return
        if told:
            stopping.set()


@atexit.register
def _close() -> None:
    for child in _idle.pop(os.getpid(), []):
        child.close()
