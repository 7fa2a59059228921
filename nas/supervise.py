"""A warm child process that evaluates tasks, and its supervisor, which turns every kind of death into a result.

The child is a plain ``python -m nas.supervise``: it shares no memory, no locks and no import side effects with the
engine. Tasks and results cross a socket as pickles between two processes of one user. Besides, the child watches a
pipe that closes when the engine dies, so that a killed engine leaves no orphan behind.
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import pickle
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from estimators.estimator import Estimator, Result
from nas.executor import Limits, Task
from nas.shortage import Watch, over_limit
from nas.trial import checked_metrics

PROGRESS = "progress.jsonl"
POLL = 0.05  # seconds between looks at the clock and at the child's memory
EARLY = 0.8  # of its time, before which an evaluation that counts as far as it came does not stop by itself
SELDOM = 1.0  # seconds between looks at memory that has no limit: only to say what was held when a process is killed
WARM_UP = 300.0  # seconds a child has to start and load what its estimator needs
BROKEN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}  # a disk that fails is no fault of the design
BEGUN = None  # what the child sends when it has a task: from then on it may be asked to stop


def evaluate(task: Task, stopping: Callable[[], bool]) -> Result:
    """Run ``task`` in this process and turn what it raises into a result.

    A full, failing or read-only disk is raised as ``OSError``: it says nothing about the design.
    """
    began = time.monotonic()

    def report(step: int, metrics: Mapping[str, float]) -> None:
        plain, _ = checked_metrics(metrics, ())
        with (task.context.scratch / PROGRESS).open("a") as file:
            file.write(json.dumps({"step": int(step), **plain}) + "\n")

    context = dataclasses.replace(task.context, report=report, stopping=stopping)
    try:
        task.context.scratch.mkdir(parents=True, exist_ok=True)
        result = task.estimator.evaluate(task.design, task.fidelity, context)
    except MemoryError as error:
        result = Result(error=f"memory: {str(error) or 'out of memory'}")
    except Exception as error:
        if (broken := _broken_disk(error)) is not None:
            broken.filename = broken.filename or str(task.context.scratch)
            raise broken from None
        where = traceback.extract_tb(error.__traceback__)[-1]
        cause = " ".join(str(error).split())[:300]
        result = Result(
            error=f"exception: {type(error).__name__}: {cause} ({Path(where.filename).name}:{where.lineno})"
        )
    return result if result.seconds else dataclasses.replace(result, seconds=time.monotonic() - began)


class Reports:
    """What evaluations in the folder ``scratch`` report from now on, read while they run."""

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / PROGRESS
        self._at = self._path.stat().st_size if self._path.exists() else 0

    def new(self) -> list[tuple[int, dict[str, float]]]:
        """Return (step, metrics) of every report since the last look; a line that is being written comes later."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            whole, end, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(end)
        rows = [json.loads(line) for line in whole.splitlines()]
        return [(row.pop("step"), row) for row in rows]


def _broken_disk(error: Exception) -> OSError | None:
    """Return ``error`` as an ``OSError`` if a disk failed; Rust libraries (safetensors) only say so in words."""
    if isinstance(error, OSError):
        return error if error.errno in BROKEN else None
    said = re.search(r"\(os error (\d+)\)", str(error))
    if said is None or int(said[1]) not in BROKEN:
        return None
    return OSError(int(said[1]), os.strerror(int(said[1])))


class Child:
    """One warm worker process and its supervision. ``run`` blocks; one task at a time.

    ``end`` may be called from another thread than the one that runs; only the latter cleans up.
    """

    def __init__(self) -> None:
        self._spawning = threading.Lock()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._life = -1
        self._estimator: bytes | None = None

    def run(self, task: Task, stopping: threading.Event) -> Result:
        """Evaluate ``task`` under its limits until ``stopping`` is set: then it is asked to save and return.

        Death, a limit broken, or an exception is a result with an error; a disk that fails raises ``OSError``.
        """
        began = time.monotonic()
        try:
            payload, estimator = _packed(task), pickle.dumps(task.estimator)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"an evaluation under limits runs in a process of its own, but cannot be sent there ({error}); "
                "define its function at the top of a module, or leave the limits out"
            ) from None
        if (problem := self._ready(estimator, stopping)) is not None:
            return problem
        if stopping.is_set():
            return Result(stopped=True)
        if task.context.partial and task.limits.seconds is not None:
            task = _less(task, time.monotonic() - began)  # its end is a moment, not a duration
            payload = _packed(task)
        assert self._connection is not None
        try:
            self._connection.send_bytes(payload)
        except OSError:
            return self._death()
        return self._wait(task.limits, stopping, partial=task.context.partial)

    def end(self) -> None:
        """Kill the evaluation in flight, if there is one, and begin no other: ``run`` returns soon."""
        with self._spawning:
            self._ended = True
            if self._process is not None:
                _end_group(self._process)

    def close(self) -> None:
        """Kill the child and give back what it held; not while ``run`` is under way in another thread."""
        if self._process is not None:
            _end_group(self._process)
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        if self._life >= 0:
            os.close(self._life)
        self._process, self._connection, self._life, self._estimator = None, None, -1, None

    def _ready(self, estimator: bytes, stopping: threading.Event) -> Result | None:
        """Start the child if need be and hand it the estimator if it has another one; return why that failed."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            with self._spawning:
                if self._ended:
                    return Result(error="killed: the search was ended")
                self._spawn()
        if estimator == self._estimator:
            return None
        assert self._connection is not None
        try:
            self._connection.send_bytes(estimator)
        except OSError:
            return self._death()
        result = self._wait(Limits(seconds=WARM_UP, grace=0.0), stopping)
        if result.error is not None or result.stopped:
            return result
        self._estimator = estimator
        return None

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        listening, self._life = os.pipe()
        main = getattr(sys.modules["__main__"], "__file__", None)
        arguments = [str(theirs.fileno()), str(listening), json.dumps([sys.path, main])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nas.supervise", *arguments],
            pass_fds=(theirs.fileno(), listening),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # its own group: what it starts ends with it
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        theirs.close()
        os.close(listening)
        self._connection = Connection(ours.detach())

    def _wait(self, limits: Limits, stopping: threading.Event, *, partial: bool = False) -> Result:
        """Wait for what the child sends; ask it to stop, and end it, when it is time to.

        The child is sent no signal before it has said that it began: a signal on the way would be lost, or kill it.
        """
        assert self._connection is not None and self._process is not None
        began, begun, asked, due = time.monotonic(), False, False, math.inf
        watch, looked, used = Watch(self._process.pid), -math.inf, 0
        while True:
            try:
                message = self._connection.recv_bytes() if self._connection.poll(POLL) else None
            except (EOFError, OSError):
                death = self._death(time.monotonic() - began, watch)
                return Result(stopped=True) if stopping.is_set() else death
            if message is not None:
                received = pickle.loads(message)
                if isinstance(received, OSError):
                    raise received
                if isinstance(received, Result):
                    late = due < math.inf and not stopping.is_set()
                    return _why_stopped(received, limits, time.monotonic() - began, stopping, late, partial)
                begun = True
            seconds = time.monotonic() - began
            if limits.memory is not None or seconds - looked > SELDOM:
                looked, used = seconds, watch.look()
            if limits.memory is not None and used > limits.memory:
                self.close()
                return Result(error=over_limit(used, limits.memory), seconds=seconds)
            late = limits.seconds is not None and seconds > limits.seconds
            if not (late or stopping.is_set()):
                continue
            due = min(due, seconds + limits.grace)
            if begun and not asked:
                asked = True
                self._process.send_signal(signal.SIGTERM)
            if seconds > due:
                self.close()
                if late and not partial:
                    return Result(error=f"timeout: over {limits.seconds:g} s", seconds=seconds)
                return Result(stopped=True)

    def _death(self, seconds: float = 0.0, watch: Watch | None = None) -> Result:
        code = self._process.wait() if self._process is not None else 0
        self.close()
        if code == -signal.SIGKILL and not self._ended and watch is not None and (why := watch.shortage()):
            return Result(error=f"memory: the system killed the worker process: {why}", seconds=seconds)
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Result(error=f"killed: the worker process ended with {cause}", seconds=seconds)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill ``process`` and all that it started in its group, also where it is gone itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _why_stopped(
    result: Result, limits: Limits, seconds: float, stopping: threading.Event, late: bool, partial: bool
) -> Result:
    """Return ``result`` of an evaluation that took so many ``seconds``, as what it is if it stopped.

    A process that stopped though nobody here asked it to was told to by another: it was lost.
    """
    if not result.stopped or stopping.is_set():
        return result
    if partial and (late or (limits.seconds is not None and seconds > EARLY * limits.seconds)):
        return result
    if late:
        return dataclasses.replace(
            result, error=f"timeout: over {limits.seconds:g} s", stopped=False, seconds=seconds
        )
    return Result(
        error="killed: the worker process was told to end by another one (SIGTERM)", seconds=seconds
    )


def _packed(task: Task) -> bytes:
    return pickle.dumps(dataclasses.replace(task, estimator=None))  # type: ignore[arg-type]


def on_device(task: Task, device: str | None) -> Task:
    """Return ``task`` for the torch ``device``; as it is for None."""
    return (
        task
        if device is None
        else dataclasses.replace(task, context=dataclasses.replace(task.context, device=device))
    )


def _less(task: Task, seconds: float) -> Task:
    """Return ``task`` with ``seconds`` of its time gone."""
    assert task.limits.seconds is not None
    left = max(task.limits.seconds - seconds, POLL)
    context = dataclasses.replace(task.context, deadline=left)
    return dataclasses.replace(task, context=context, limits=dataclasses.replace(task.limits, seconds=left))


class _Main(pickle.Unpickler):
    """Finds what a script defined at its top level: the script is run once, under another name than ``__main__``."""

    path: str | None = None
    names: ClassVar[dict[str, Mapping[str, Any]]] = {}  # what each script defined that was run

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and self.path:
            if self.path not in self.names:
                self.names[self.path] = runpy.run_path(self.path, run_name="__mp_main__")
            if name in self.names[self.path]:  # also where this module has the same name, such as evaluate
                return self.names[self.path][name]
        return super().find_class(module, name)


def _load(data: bytes) -> Any:
    import io

    return _Main(io.BytesIO(data)).load()


def _serve(connection: Connection, life: int) -> None:
    stop = threading.Event()

    def on_term(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(life,), daemon=True).start()
    estimator: Estimator | None = None
    while True:
        with _engine():
            message = connection.recv_bytes()
        received = _load(message)
        answer: Result | OSError
        try:
            if isinstance(received, Task):
                assert estimator is not None
                stop.clear()  # of a signal to the task before that came after its end
                with _engine():
                    connection.send_bytes(pickle.dumps(BEGUN))
                task = dataclasses.replace(received, estimator=estimator)
                answer = evaluate(task, stop.is_set)
            else:
                if estimator is not None:
                    estimator.release()
                estimator = received
                answer = _prepared(received)
        except OSError as error:
            answer = error
        with _engine():
            connection.send_bytes(pickle.dumps(answer))


@contextlib.contextmanager
def _engine() -> Iterator[None]:
    """End this process without a word where the engine, at the other end of the socket, is gone."""
    try:
        yield
    except (EOFError, OSError):
        sys.exit(0)


def _prepared(estimator: Estimator) -> Result:
    try:
        estimator.prepare()
    except Exception as error:
        if (broken := _broken_disk(error)) is not None:
            raise broken from None
        return Result(error=f"exception: {type(error).__name__}: {error}")
    return Result()


def _watch(life: int) -> None:
    """End this process, and what it started, when the engine's end of the pipe closes, however it died."""
    os.read(life, 1)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve tasks until the engine goes away. Arguments: the socket, the life pipe, [sys.path, script]."""
    path, _Main.path = json.loads(sys.argv[3])
    sys.path[:] = path
    _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    main()
