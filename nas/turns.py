"""Tasks that wait for one of several workers, each of which is served by a thread of the engine.

A worker that has nothing to do takes what came first. What goes on where it was (the same scratch folder) is left to
the worker that had it, if that one is idle: what it trained last is still in its memory. So what begins is left to an
idle worker that has nothing in its memory, where there is one.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from estimators.estimator import Result
from nas.executor import Task


class Lost(Exception):
    """A worker is gone; the message says how. What it was at is gone too, unless it had not ``begun``."""

    def __init__(self, cause: str, *, begun: bool = True) -> None:
        super().__init__(cause)
        self.begun = begun


@dataclass(frozen=True, eq=False)
class Turn:
    """A task, the future of its result, and whether it was asked to stop."""

    task: Task
    future: "Future[Result]" = field(default_factory=Future)
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> bool:
        """Return whether the turn is taken from now on: it cannot be cancelled any more, and was not before."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def land(self, result: Result) -> None:
        """Give ``result`` to whoever waits, without a worker; not if it was cancelled."""
        if self.begin():
            self.future.set_result(result)


class Turns:
    """What waits, and what each worker, by its number, has taken."""

    def __init__(self) -> None:
        self._waiting: deque[Turn] = deque()
        self._taken: dict[int, Turn] = {}
        self._idle: dict[int, Path | None] = {}  # what each idle worker was at last
        self._changed = threading.Condition()
        self._closed = False
        self.refusal: str | None = None  # the error that all turns come back with

    def put(self, task: Task) -> "Future[Result]":
        """Have ``task`` wait its turn; its future can be cancelled until then."""
        turn = Turn(task)
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor was closed; make another one")
            refusal = self.refusal
            if refusal is None:
                self._waiting.append(turn)
                self._changed.notify_all()
        if refusal is not None:
            turn.land(Result(error=refusal))
        return turn.future

    def serve(self, worker: int, evaluate: Callable[[Turn], Result]) -> None:
        """Give ``worker`` one turn after the other until there are no more, or ``evaluate`` raises ``Lost``; blocks.

        What is lost comes back as killed, what had not begun has the next turn of all. What else ``evaluate`` raises is
        raised by the future.
        """
        last: Path | None = None
        while (turn := self._take(worker, last)) is not None:
            last = turn.task.context.scratch
            try:
                result = evaluate(turn)
            except Lost as lost:
                self._end(worker)
                if lost.begun or not self._again(turn):
                    turn.future.set_result(Result(error=f"killed: {lost}"))
                return
            except BaseException as error:
                self._end(worker)
                turn.future.set_exception(error)
            else:
                self._end(worker)
                turn.future.set_result(result)

    def stop(self) -> None:
        """Have what waits come back as stopped, and say to what was taken that it is to stop."""
        self._drain(Result(stopped=True))
        with self._changed:
            for turn in self._taken.values():
                turn.stopping.set()

    def refuse(self, error: str | None) -> None:
        """Have what waits, and what is put from now on, fail with ``error``; None takes that back."""
        with self._changed:
            self.refusal = error
        if error is not None:
            self._drain(Result(error=error))

    def close(self) -> None:
        """Cancel what waits, and give no more turns."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for turn in waiting:
            if turn.future.cancel():
                turn.future.set_running_or_notify_cancel()
            else:  # one that a worker gave back
                turn.land(Result(error="killed: the executor was closed"))

    def _drain(self, result: Result) -> None:
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            turn.land(result)

    def _take(self, worker: int, last: Path | None) -> Turn | None:
        """Wait for a turn of ``worker``; None when there are no more."""
        with self._changed:
            self._idle[worker] = last
            while not self._closed:
                if (turn := self._chosen(worker)) is None:
                    self._changed.wait()
                elif turn.begin():
                    self._taken[worker] = turn
                    break
            else:
                turn = None
            del self._idle[worker]
            self._changed.notify_all()  # what was left to this worker is anybody's now
            return turn

    def _chosen(self, worker: int) -> Turn | None:
        """Take out of what waits what ``worker`` goes on with, else the first that no other idle worker does."""
        own = self._idle[worker]
        others = {last for number, last in self._idle.items() if number != worker}
        going_on = (turn for turn in self._waiting if turn.task.context.scratch == own)
        free = (turn for turn in self._waiting if turn.task.context.scratch not in others)
        chosen = next(going_on, None)
        if chosen is None and (own is None or None not in others):
            chosen = next(free, None)
        if chosen is not None:
            self._waiting.remove(chosen)
        return chosen

    def _again(self, turn: Turn) -> bool:
        """Have ``turn`` wait again, before all others; return whether anybody may take it."""
        with self._changed:
            if self._closed or self.refusal is not None:
                return False
            self._waiting.appendleft(turn)
            self._changed.notify_all()
            return True

    def _end(self, worker: int) -> None:
        with self._changed:
            del self._taken[worker]
