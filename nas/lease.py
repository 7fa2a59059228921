"""The lease of a store: one writer at a time, by a lock that the kernel takes back when its holder ends, however.

The lock is on the file, not on its name: where another file has taken the name meanwhile (an upgrade, a salvage), the
lease is taken anew on that one. Who holds it is read from the first line, which a holder signs as the first thing and
as the last: a process that has closed a store and lives on is not taken for the one that writes it now.
"""

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

from nas.layout import SCHEMA, WIDTH, Header, host, me, parse_header

CLOSED = "closed by "
PATIENCE = 2.0  # seconds in which a holder has written its name, or nobody is named


_leased = set[int]()  # files of this process that hold a lease


def _forked() -> None:
    """Have a fork of this process hold no lease: it would outlive the process that it is forked from."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in _leased:
        os.dup2(nothing, file)  # and no other file gets its number
    os.close(nothing)
    _leased.clear()


os.register_at_fork(after_in_child=_forked)


def leased(path: Path) -> int:
    """Open ``path`` for reading and writing, made if absent, and hold it until it is closed.

    A ``ValueError`` names the process that holds it.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                _sign(file, me())
                _leased.add(file)
                return file
        except BlockingIOError:
            os.close(file)
            raise ValueError(
                f"{str(path)!r} is being written by {holder(path)}; wait for it to end, or stop it, and try again"
            ) from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def released(file: int) -> None:
    """Close the leased ``file``."""
    _leased.discard(file)
    with contextlib.suppress(OSError):
        _sign(file, CLOSED + me())
    os.close(file)


def _sign(file: int, writer: str) -> None:
    """Write ``writer`` into the first line of ``file``, where there is one that can be believed."""
    header = parse_header(os.pread(file, WIDTH, 0))
    if header is not None and header.schema <= SCHEMA:
        os.pwrite(file, Header(header.rows, header.head, writer, header.schema).line(), 0)


def holder(path: Path) -> str:
    """Return who writes ``path``, once it has signed."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError), path.open("rb") as file:
            header = parse_header(file.read(WIDTH))
            if header is not None and not _ended(header.writer):
                return header.writer
        time.sleep(0.01)
    return "another process"


def _ended(writer: str) -> bool:
    """Return whether ``writer`` has closed the file, or is a process of this machine that is no more."""
    match = re.fullmatch(r"process (\d+) on (.*)", writer)
    died = match is not None and match[2] == host() and not alive(int(match[1]))
    return died or writer.startswith(CLOSED)


def alive(pid: int) -> bool:
    """Return whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def replaced(path: Path, held: int, content: bytes, *, kept: str) -> int:
    """Have ``content`` in the place of the leased file ``held`` at ``path``; return it opened and leased.

    The old file stays beside it under the name ``kept``. Killed at any moment, ``path`` is the old file or the new one,
    whole. ``held`` is closed in the end.
    """
    real = path.resolve()  # a link stays one
    copy_of(held, real.with_name(kept))
    partial = real.with_name(f".{real.name}.{os.getpid()}")
    file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before it has the name that others open
        _filled(file, content)
        partial.replace(real)
        sync_folder(real.parent)
    except BaseException:
        os.close(file)
        partial.unlink(missing_ok=True)
        raise
    os.close(held)
    return file


def copy_of(file: int, path: Path) -> None:
    """Write the content of the open ``file`` to ``path``, all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    target = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _filled(target, content_of(file))
        partial.replace(path)
    finally:
        os.close(target)
        partial.unlink(missing_ok=True)


def _filled(file: int, content: bytes) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], done)
    os.fsync(file)


def content_of(file: int) -> bytes:
    """Return all that ``file`` holds."""
    chunks, at = [], 0
    while chunk := os.pread(file, 1 << 22, at):
        chunks.append(chunk)
        at += len(chunk)
    return b"".join(chunks)


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` survive a power loss."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
