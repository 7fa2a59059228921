"""A user's own function under way, held where it has reached its fidelity until it is known how it goes on.

It runs in a thread of its own, and only while ``run`` waits for it: the two take turns. At the fidelity that was asked
for it stands still inside ``stopping()``, or inside the first ``report`` beyond, and what it reported so far is the
result. It then goes on from there, or it is told to end: ``stopping()`` is true, and a report ends it.
"""

import ctypes
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from estimators.estimator import Context, Fidelity
from nas.trial import Metrics, checked_metrics


class Told(BaseException):
    """Ends a function that reports after it was told to end. No ``Exception``: a function may catch those."""


class Call:
    """``function(design, context)`` for one trial. ``needed`` are the metrics that it must report to be held.

    ``read`` turns what it reports or returns into a map of metrics.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        design: Any,
        *,
        needed: tuple[str, ...],
        read: Callable[[Any], Metrics],
    ) -> None:
        self.curve: dict[int, Metrics] = {}
        self.returned: Any = None
        self._function, self._design, self._needed, self._read = function, design, needed, read
        self._context: Context | None = None
        self._fidelity = Fidelity()
        self._error: BaseException | None = None
        self._told = False
        self._ended, self._ours, self._theirs = False, threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, name="function", daemon=True)

    @property
    def held(self) -> bool:
        """Whether it stands still and could go on."""
        return not self._ended

    def continues(self, design: Any, fidelity: Fidelity, context: Context) -> bool:
        """Return whether ``context`` asks for more of the same trial, on the same data and side."""
        known, reached = self._context, self._fidelity
        if not self.held or known is None or fidelity.epochs <= reached.epochs:
            return False
        whose = (known.scratch, known.seed, known.lineage, known.replicate, reached.data, reached.side)
        asked = (
            context.scratch,
            context.seed,
            context.lineage,
            context.replicate,
            fidelity.data,
            fidelity.side,
        )
        return whose == asked and bool(self._design == design)

    def run(self, fidelity: Fidelity, context: Context) -> bool:
        """Let it run to ``fidelity``; return whether it is held there. What it raises is raised here.

        An interruption of this thread interrupts the function too, and waits for its end.
        """
        self._fidelity, self._context = fidelity, context
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._theirs.release()
        try:
            self._ours.acquire()
        except BaseException as interruption:
            self._interrupt(type(interruption))
            raise
        if self._error is not None:
            raise self._error
        return self.held

    def end(self) -> None:
        """Tell it to end and wait until it has; what it raises then is lost, as its result is known."""
        self._told = True
        if self._thread.ident is not None:
            self._theirs.release()
            self._thread.join()

    def _interrupt(self, kind: type[BaseException]) -> None:
        ident = self._thread.ident
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident or 0), ctypes.py_object(kind))
        self.end()

    def _work(self) -> None:
        assert self._context is not None
        ours = replace(self._context, report=self._report, stopping=self._stopping)
        try:
            self.returned = self._function(self._design, ours)
        except Told:
            pass
        except BaseException as error:
            self._error = error
        self._ended = True
        self._ours.release()

    def _reached(self) -> bool:
        return max(self.curve, default=0) >= self._fidelity.epochs

    def _report(self, step: int, metrics: Any) -> None:
        point, _ = checked_metrics(self._read(metrics), ())
        if step > self._fidelity.epochs and self._reached():
            self._hold()
        if self._told:
            raise Told
        assert self._context is not None
        self.curve[step] = point
        self._context.report(step, point)

    def _stopping(self) -> bool:
        if self._reached() and not self._hold():
            return True
        assert self._context is not None
        return self._told or self._context.stopping()

    def _hold(self) -> bool:
        """Stand still until it is known how to go on; return whether to. The last rung is the end in any case."""
        assert self._context is not None
        last: Mapping[str, float] = self.curve[max(self.curve)]
        higher = self._fidelity.epochs < self._context.horizon
        if self._told or not higher or any(name not in last for name in self._needed):
            return False
        self._ours.release()
        self._theirs.acquire()
        return not self._told
