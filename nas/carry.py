"""Files that travel between the engine and workers that do not see its disk.

Two kinds do. What an estimator only reads, such as its data set, is *held* by each host, once for all its workers: in
the cache (``estimators.cache``), by its content. What evaluations write, scratch folders with their checkpoints, is
*mirrored*: it has a home with the engine and another place away on the worker, and what is new there comes home.

Notation
    stamp    time of change in ns and size in bytes; the copies of one file have the same, as its time travels along
"""

import copy
import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from estimators import cache
from estimators.estimator import Context, Estimator
from nas.executor import Task
from nas.supervise import PROGRESS

HELD: Final = "held"  # kind of the entries of the cache

Stamps = Mapping[str, tuple[int, int]]  # by path below a folder
Files = Mapping[str, tuple[np.ndarray, int]]  # content (n,) uint8 and time of change, by path below a folder


@dataclass(frozen=True)
class Held:
    """What an estimator reads, a file or a folder of files: the ``key`` of its content, and a reference to it."""

    key: str
    name: str | None  # of the file
    files: tuple[Any, ...]

    def place(self, root: Path) -> Path:
        """Return where it is on a host whose cache is ``root``."""
        entry = root / f"{HELD}-{self.key}"
        return entry if self.name is None else entry / self.name


@dataclass(frozen=True)
class Mirror:
    """A folder of the engine, ``home``, that is ``away`` on a worker, where it needs the files of ``stamps``.

    ``files`` holds a reference to them, or nothing if they are there.
    """

    home: Path
    away: Path
    stamps: Stamps
    files: tuple[Any, ...] = ()


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the stamps of all files below ``folder``, reports left out."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != PROGRESS]
    return {str(path.relative_to(folder)): stamp(path) for path in paths}


def stamp(path: Path) -> tuple[int, int]:
    """Return the stamp of one file."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def load(folder: Path, names: Sequence[str]) -> dict[str, tuple[np.ndarray, int]]:
    """Read the files ``names`` below ``folder``."""
    return {name: (np.fromfile(folder / name, np.uint8), stamp(folder / name)[0]) for name in names}


def store(folder: Path, files: Files) -> None:
    """Write ``files`` below ``folder``, each whole or not at all; reports are added to those that are there."""
    for name, (content, changed) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name == PROGRESS:
            with path.open("ab") as file:
                file.write(content.tobytes())
            continue
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(content.data)
                file.flush()
                os.fsync(file.fileno())
            os.utime(partial, ns=(changed, changed))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def changed(folder: Path, before: Stamps) -> dict[str, tuple[np.ndarray, int]]:
    """Read what is new or another one below ``folder`` since its stamps were ``before``, and all reports."""
    new = [name for name, now in stamps(folder).items() if before.get(name) != now]
    return load(folder, [*new, *(str(path.relative_to(folder)) for path in folder.rglob(PROGRESS))])


def held(path: Path, put: Callable[[Files], Any]) -> Held:
    """Return ``path`` as what hosts can hold; ``put`` turns files into a reference to them."""
    folder = path if path.is_dir() else path.parent
    names = sorted(one.name for one in path.iterdir() if one.is_file()) if path.is_dir() else [path.name]
    files, digest = load(folder, names), hashlib.sha256()
    for name, (content, _) in files.items():
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content.data)
    return Held(digest.hexdigest()[:32], None if path.is_dir() else path.name, (put(files),))


class Depot:
    """What the engine has put where workers can fetch it; ``put`` turns files into a reference to them."""

    def __init__(self, put: Callable[[Files], Any]) -> None:
        self._put, self._lock = put, threading.Lock()
        self._held: dict[Path, tuple[Stamps, Held]] = {}

    def held(self, path: Path) -> Held:
        """Return what hosts can hold of ``path``; it is put once, and again when it has changed."""
        now = {path.name: stamp(path)} if path.is_file() else stamps(path)
        with self._lock:
            known, one = self._held.get(path, (None, None))
            if one is None or known != now:
                one = held(path, self._put)
                self._held[path] = now, one
            return one

    def filled(self, mirror: Mirror, has: Mapping[Path, Stamps]) -> Mirror:
        """Return ``mirror`` with a reference to its files, unless the worker ``has`` them since it wrote them."""
        there = has.get(mirror.home, {})
        if all(there.get(name) == known for name, known in mirror.stamps.items()):
            return mirror
        return replace(mirror, files=(self._put(load(mirror.home, list(mirror.stamps))),))


def hold(one: Held, fetch: Callable[[Any], Files]) -> None:
    """Have ``one`` in the cache of this host; only the first worker that needs it there calls ``fetch``."""
    entry = cache.place() / f"{HELD}-{one.key}"
    if entry.exists():
        os.utime(entry)  # what is in use is not the oldest
        return
    cache.fetch(HELD, one.key, lambda partial: store(partial, fetch(one.files[0])), lambda entry: None)


def away(folder: Path, root: Path) -> Path:
    """Return where a worker whose own folder is ``root`` has ``folder`` of the engine."""
    return root / hashlib.sha256(str(folder).encode()).hexdigest()[:12] / folder.name


def mirrors(task: Task, root: Path) -> list[Mirror]:
    """Return what ``task`` needs of the folders that are written to, without their files, for ``root`` of a worker."""
    context = task.context
    needed: dict[Path, Stamps] = {context.scratch: {}}
    if context.checkpoint is not None:
        needed[context.checkpoint.parent] = stamps(context.checkpoint.parent)
    for path in _paths(task.estimator, task.estimator.writes).values():
        needed[path.parent] = {path.name: stamp(path)} if path.exists() else {}
    return [Mirror(home, away(home, root), known) for home, known in needed.items()]


def reads(estimator: Estimator) -> dict[str, Path]:
    """Return the files and folders that ``estimator`` reads, as far as they are there, by its attributes."""
    return {name: path for name, path in _paths(estimator, estimator.reads).items() if path.exists()}


def relocated(task: Task, places: Mapping[str, Path], root: Path) -> Task:
    """Return ``task`` for a worker that has its own folder at ``root``, and what is read at ``places``."""
    estimator, context = copy.copy(task.estimator), task.context
    written = _paths(task.estimator, task.estimator.writes)
    moved = {**places, **{name: away(path.parent, root) / path.name for name, path in written.items()}}
    for name, path in moved.items():
        object.__setattr__(estimator, name, type(getattr(estimator, name))(path))
    return replace(task, estimator=estimator, context=_moved(context, root))


def _moved(context: Context, root: Path) -> Context:
    checkpoint = context.checkpoint
    if checkpoint is not None:
        checkpoint = away(checkpoint.parent, root) / checkpoint.name
    return replace(context, scratch=away(context.scratch, root), checkpoint=checkpoint)


def _paths(estimator: Estimator, names: Sequence[str]) -> dict[str, Path]:
    found = {name: getattr(estimator, name) for name in names}
    return {name: Path(value) for name, value in found.items() if value is not None}
