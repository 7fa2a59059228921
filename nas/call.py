"""A user's own function under way, held where it has reached its fidelity until it is known how it goes on.

It runs in a thread of its own, and only while ``run`` waits for it: the two take turns. At the fidelity that was asked
for it stands still inside ``stopping()``, or inside the first ``report`` beyond, and what it reported so far is the
result. It then goes on from there, or it is told to end: ``stopping()`` is true, and a report ends it.
"""

import ctypes
import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from estimators.estimator import Context, Fidelity
from nas.saves import Saves
from nas.trial import Metrics, checked_metrics

HEARD = 0.5  # seconds within which an interruption is heard


class Told(BaseException):
    """Ends a function that reports after it was told to end. No ``Exception``: a function may catch those."""


class Call:
    """``function(design, context)`` for one trial. ``needed`` are the metrics that it must report to be held.

    With ``needed`` None, or at the last rung, it is not held, and if it never was it runs in the thread of its caller.
    ``read`` turns what it reports or returns into a map of metrics; ``curve`` has what it reported, by step.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        design: Any,
        *,
        needed: tuple[str, ...] | None,
        read: Callable[[Any], Metrics],
    ) -> None:
        self.curve: dict[int, Metrics] = {}
        self.returned: Any = None
        self.cut = False  # whether it was told to return before it had reported what was asked for
        self._function, self._design, self._needed, self._read = function, design, needed, read
        self._fidelity, self._context = Fidelity(), Context(seed=0, scratch=Path())
        self._saves: Saves | None = None
        self._error: BaseException | None = None
        self._told, self._ended = False, False
        self._ours, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    @property
    def reached(self) -> bool:
        """Whether it has reported what was asked for."""
        return max(self.curve, default=0) >= self._fidelity.epochs

    @property
    def checkpoint(self) -> Path | None:
        """The weights as of the last report, or as of the end without one; None where this call saved none."""
        return None if self._saves is None else self._saves.newest(self._ended)

    def continues(self, design: Any, fidelity: Fidelity, context: Context) -> bool:
        """Return whether ``context`` asks for more of the same trial, on the same data and side."""
        known, reached = self._context, self._fidelity
        whose = (known.scratch, known.seed, known.lineage, known.replicate, reached.data, reached.side)
        asked = (
            context.scratch,
            context.seed,
            context.lineage,
            context.replicate,
            fidelity.data,
            fidelity.side,
        )
        return fidelity.epochs > reached.epochs and whose == asked and bool(self._design == design)

    def run(self, fidelity: Fidelity, context: Context) -> bool:
        """Let it run to ``fidelity``; return whether it is held there. What it raises is raised here.

        An interruption of this thread interrupts the function too, and waits for its end.
        """
        self._fidelity, self._context = fidelity, context
        self._saves = self._saves or Saves(context.scratch)
        if self._thread is None and not self._higher:
            self._work()
        else:
            self._turn()
        if self._error is not None:
            raise self._error
        return not self._ended

    def end(self) -> None:
        """Tell it to end and wait until it has; what it raises then is lost, as its result is known."""
        assert self._thread is not None
        self._told = True
        self._theirs.release()
        if self._thread.ident is not None:  # else an interruption came before it had begun
            self._thread.join()

    def _turn(self) -> None:
        """Let the other thread run until it is held or has ended."""
        begun = self._thread is not None
        if self._thread is None:
            work = partial(copy_context().run, self._work)  # where numpy keeps what it does about errors
            self._thread = threading.Thread(target=work, name="function", daemon=True)
        try:
            if begun:
                self._theirs.release()
            else:
                self._thread.start()
            while not self._ours.acquire(timeout=HEARD):  # a signal just before it waits would not wake it
                pass
        except BaseException as interruption:
            ident, kind = ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(type(interruption))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, kind)
            self.end()
            raise

    def _work(self) -> None:
        ours = replace(self._context, report=self._report, stopping=self._stopping)
        try:
            self.returned = self._function(self._design, ours)
        except Told:
            pass
        except BaseException as error:
            self._error = error
        self._ended = True
        self._ours.release()

    def _report(self, step: int, metrics: Any) -> None:
        if step < 1:
            raise ValueError(f"report({step!r}, ...): epochs count from 1; report one that has ended")
        point, _ = checked_metrics(self._read(metrics), ())
        while step > self._fidelity.epochs and self.reached and self._hold():
            pass
        if self._told:
            raise Told
        assert self._saves is not None
        self._saves.reported()
        self.curve[step] = point
        self._context.report(step, point)

    def _stopping(self) -> bool:
        while self.reached:
            if not self._hold():
                return True
        if not self._told and self._context.stopping():
            self.cut = True
        return self._told or self.cut

    @property
    def _higher(self) -> bool:
        """Whether more of this trial may be asked for, and could be had from this call."""
        return self._needed is not None and self._fidelity.epochs < self._context.horizon

    def _hold(self) -> bool:
        """Stand still until it is known whether to go on; return that. At once False where it cannot be held."""
        last = self.curve[max(self.curve)]
        if self._told or not self._higher or not set(self._needed or ()) <= last.keys():
            return False
        self._ours.release()
        self._theirs.acquire()
        return not self._told
