"""A worker process that another program started, on whatever host: a warm child, and a folder for what is carried."""

import os
import shutil
import socket
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from estimators import cache
from estimators.estimator import Result
from nas.carry import Files, Held, Mirror, changed, hold, stamps, store
from nas.placed import Parcel
from nas.shortage import limit_at_start
from nas.supervise import PROGRESS, Child

PREFIX = "nas-worker-"
KEPT = 4  # folders of evaluations that stay for a continuation


class Facts(NamedTuple):
    """What the engine has to know of a worker.

    Its ``host``, where it keeps what is its own (``root``) and what is held (``cache``), and the bytes of ``memory``
    that processes may hold there, as far as they were free.
    """

    host: str
    root: Path
    cache: Path
    memory: int


class Outpost:
    """Evaluates parcels, one at a time; the other methods may be called meanwhile from other threads.

    ``paths`` are the engine's ``sys.path``: what this process lacks of it is added. ``fetch`` returns the files that a
    reference stands for.
    """

    def __init__(self, paths: Sequence[str], fetch: Callable[[Any], Files]) -> None:
        sys.path += [path for path in paths if path not in sys.path]
        self._fetch, self._child = fetch, Child()
        self._stops: dict[int, threading.Event] = {}
        self._running = threading.Lock()
        temporary = Path(tempfile.gettempdir())
        self._root = temporary / f"{PREFIX}{os.getpid()}"
        self._recent: OrderedDict[Path, None] = OrderedDict()
        _sweep(temporary)

    def hello(self) -> Facts:
        """Return what the engine has to know."""
        return Facts(socket.gethostname(), self._root, cache.place(), limit_at_start())

    def sees(self, paths: Sequence[Path]) -> bool:
        """Return whether all ``paths`` are there."""
        return all(path.exists() for path in paths)

    def run(
        self, number: int, parcel: Parcel, mirrors: Sequence[Mirror] = (), helds: Sequence[Held] = ()
    ) -> tuple[Result | OSError, list[Files]]:
        """Evaluate ``parcel``, which is run ``number``; return the outcome and what is new in each of ``mirrors``."""
        stopping = self._stops.setdefault(number, threading.Event())
        with self._running:
            for held in helds:
                hold(held, self._fetch)
            before = [self._prepared(mirror) for mirror in mirrors]
            outcome: Result | OSError
            try:
                outcome = self._child.run(parcel.task(), stopping)
            except OSError as error:
                outcome = error
            new: list[Files] = []
            for mirror, known in zip(mirrors, before, strict=True):
                new.append(changed(mirror.away, known))
        del self._stops[number]
        return outcome, new

    def stop(self, number: int) -> None:
        """Ask run ``number`` to save and return, also one that is still to come."""
        self._stops.setdefault(number, threading.Event()).set()

    def end(self) -> None:
        """End the evaluation under way, and leave nothing behind."""
        self._child.end()
        with self._running:
            self._child.close()
            shutil.rmtree(self._root, ignore_errors=True)

    def _prepared(self, mirror: Mirror) -> dict[str, tuple[int, int]]:
        """Have the files of ``mirror`` here; return the stamps of all that is."""
        mirror.away.mkdir(parents=True, exist_ok=True)
        for reports in mirror.away.rglob(PROGRESS):  # they went home
            reports.unlink()
        here = stamps(mirror.away)
        if any(here.get(name) != known for name, known in mirror.stamps.items()):
            store(mirror.away, self._fetch(mirror.files[0]))
        self._recent[mirror.away] = None
        self._recent.move_to_end(mirror.away)
        while len(self._recent) > KEPT:
            shutil.rmtree(self._recent.popitem(last=False)[0], ignore_errors=True)
        return stamps(mirror.away)


def _sweep(temporary: Path) -> None:
    """Remove what workers left in ``temporary`` that were killed."""
    for path in temporary.glob(f"{PREFIX}*"):
        if not psutil.pid_exists(int(path.name.removeprefix(PREFIX))):
            shutil.rmtree(path, ignore_errors=True)
