"""A consistent copy of a run, also while it is written: ``nas backup RUN TO``.

The store is read first, as far as it is whole, and everything else is copied after: nothing of trials that are newer
than what was read, and weights that were dropped meanwhile are noted in the copy's store, so that ``nas doctor`` knows
of them; a resume of the copy begins those trials again from step 0. The copy has its name when it is whole, not before.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from nas.checkpoints import number_of
from nas.folder import Folder
from nas.layout import dumped, store_of
from nas.remains import Patient, Told, files_below, gone
from nas.storage import Row, storages

TRIES, PAUSE = 20, 0.05  # seconds, to copy an export that is replaced meanwhile
OWN_NAMES = ("study.log", "status.json")  # those that are not copied but written


def backup(run: str | Path, to: str | Path) -> Path:
    """Copy the run folder ``run`` into the new folder ``to``; return it.

    A ``ValueError`` says that ``to`` exists, or that the store is damaged. On an ``OSError`` (a full disk) nothing is
    left at ``to``.
    """
    folder, target = Folder.existing(run), Path(to)
    if target.exists():
        raise ValueError(f"{str(target)!r} exists; choose a folder that does not")
    if folder.path.resolve() in target.resolve().parents:
        raise ValueError(f"{str(target)!r} lies in the run itself; choose a folder outside of it")
    folder.check()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Folder(target.with_name(f".{target.name}.{os.getpid()}"))
    shutil.rmtree(partial.path, ignore_errors=True)
    try:
        partial.path.mkdir()
        _copied(folder, partial)
        partial.path.rename(target)
    finally:
        shutil.rmtree(partial.path, ignore_errors=True)
    return target


def _copied(folder: Folder, partial: Folder) -> None:
    rows, status = _whole_rows(folder), folder.status()
    begun = {row["trial"] for row in rows or () if row["kind"] == "start"}
    for path in _files(folder):
        if _begun_since(path, folder, begun):
            continue
        _copy(path, partial.path / path.relative_to(folder.path))
    _copy_best(folder, partial)
    if rows is not None:
        partial.store.write_bytes(store_of(dumped([*rows, _event(folder, partial, rows)])))
    state = "finished" if status["state"] == "finished" else "interrupted"
    if folder.status_file.exists():
        partial.write_status({**status, "state": state})


def _begun_since(path: Path, folder: Folder, begun: Collection[int]) -> bool:
    """Return whether ``path`` is of a trial not among those ``begun``: in the copy its number will be another's."""
    inside = path.relative_to(folder.path)
    if inside.parts[0] != folder.checkpoints.name or len(inside.parts) < 3:
        return False
    number = number_of(Path(inside.parts[1]))
    return number >= 0 and number not in begun


def _whole_rows(folder: Folder) -> list[Row] | None:
    """Return the rows of the store as far as they are appended whole; None before there is one."""
    if not folder.store.exists():
        return None
    with storages.get("log")(folder.store, write=False) as store:
        return list(store.rows)


def _event(folder: Folder, partial: Folder, rows: list[Row]) -> Row:
    """Return the row that says of what this is a copy, and which weights it lacks."""
    told = Told.of(store_of(dumped(rows)))
    lacking = gone(Patient(partial.store, partial.checkpoints, partial), told)
    about = {"of": str(folder.path.resolve()), "rows": len(rows), "without": [list(one) for one in lacking]}
    return {"kind": "event", "name": "backup", "value": about, "t": told.history.seconds}


def _files(folder: Folder) -> Iterator[Path]:
    """Yield the files of a run that are copied as they are; what begins with a dot is being written."""
    for path in files_below(folder.path):
        inside = path.relative_to(folder.path)
        hidden = any(part.startswith(".") for part in inside.parts) or path.suffix == ".tmp"
        own = str(inside) in OWN_NAMES or inside.parts[0] == folder.best.name
        if not hidden and not own:
            yield path


def _copy(path: Path, target: Path) -> None:
    """Copy ``path``, unless it was dropped meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(path, target)


def _copy_best(folder: Folder, partial: Folder) -> None:
    """Copy the exported model, whole: it may be replaced meanwhile."""
    for _ in range(TRIES):
        before = _mark(folder.best)
        shutil.rmtree(partial.best, ignore_errors=True)
        for path in files_below(folder.best):
            _copy(path, partial.best / path.relative_to(folder.best))
        if before == _mark(folder.best):
            return
        time.sleep(PAUSE)
    raise ValueError(f"{str(folder.best)!r} is replaced again and again; try again later")


def _mark(path: Path) -> tuple[int, int] | None:
    """Return which folder ``path`` is now; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
