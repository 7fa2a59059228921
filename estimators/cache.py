"""Folders that are dear to make, kept between processes: each is made once, whole or not at all, and by one process.

An entry is a folder of files below ``$NAS_CACHE`` (by default ``nas-engine`` in the user's cache folder), named
KIND-KEY, and sealed by the sizes, times of change, samples and checksums of its files: a damaged one is made anew. A
process that needs an entry which another one is making waits for it. When all entries together outgrow the bound,
those not used for the longest time go; whoever has mapped one keeps it, as the system keeps a file's content while it
is open.

What is noticed at each start: a file that is missing or of another size; one that was written to, by its time of change
and then by the checksum of all its bytes; and one whose content was lost in a crash (zeros, usually), by ``SAMPLES``
pieces of it. What is not: bytes that a disk flips outside of these pieces in a file larger than all of them together.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SEAL = "seal.json"
SHARE = 0.25  # of the disk space that is free without the cache: what all entries may take together
BLOCK = 1 << 22  # bytes read at a time
SAMPLES, PIECE = 16, 1 << 16  # pieces of a file that are read at each start, and bytes of one


def place() -> Path:
    """Return the folder of the cache: ``$NAS_CACHE``, else ``nas-engine`` below ``$XDG_CACHE_HOME`` or ~/.cache."""
    if own := os.environ.get("NAS_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "nas-engine"


def key_of(*parts: Any) -> str:
    """Return a key for what ``repr`` of ``parts`` describes in full."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def fetch(kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """Return ``read(folder)`` of an entry, which ``make(folder)`` fills first if there is none that is whole.

    ``make`` may fetch entries of another kind. An ``OSError`` says that the cache cannot be written.
    """
    root, name = place(), f"{kind}-{key}"
    root.mkdir(parents=True, exist_ok=True)
    entry, partial = root / name, root / f".{name}"
    with _locked(root, name):
        fresh = not _whole(entry)
        if fresh:
            shutil.rmtree(entry, ignore_errors=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                make(partial)
                _seal(partial)
                partial.rename(entry)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        os.utime(entry)
        result = read(entry)
    if fresh:
        _bound(root, keep=name)
    return result


@contextlib.contextmanager
def _locked(root: Path, name: str, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of an entry; without ``wait``, the value says whether it was free.

    The kernel releases the lock of a process that dies. A lock is shared by the entries of a kind whose keys begin
    alike, so that lock files never need to be removed.
    """
    kind, key = name.rsplit("-", 1)
    with (root / f"{kind}-{key[:2]}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            print(f"waiting for another process that prepares {kind} in {root}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield True


def _checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _sample(path: Path, size: int) -> int:
    """Return the CRC-32 of ``SAMPLES`` pieces of a file of ``size`` bytes, spread from its beginning to its end."""
    crc, last = 0, max(size - PIECE, 0)
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(last * number // (SAMPLES - 1))
            crc = zlib.crc32(file.read(PIECE), crc)
    return crc


def _seal(folder: Path) -> None:
    """Note what the files of ``folder`` hold, and make them read-only: run folders hold links to them."""
    paths = sorted(folder.iterdir())
    sealed = {}
    for path in paths:
        status = path.stat()
        sealed[path.name] = status.st_size, status.st_mtime_ns, _sample(path, status.st_size), _checksum(path)
    (folder / SEAL).write_text(json.dumps(sealed))
    for path in paths:
        path.chmod(0o444)


def _whole(entry: Path) -> bool:
    """Return whether an entry is as it was sealed; all its bytes are read only if a file was written to since."""
    try:
        for name, (size, changed, sample, crc) in json.loads((entry / SEAL).read_text()).items():
            path = entry / name
            status = path.stat()
            if status.st_size != size or _sample(path, size) != sample:
                return False
            if status.st_mtime_ns != changed and _checksum(path) != crc:
                return False
    except (OSError, ValueError, TypeError):
        return False
    return True


def _bound(root: Path, keep: str) -> None:
    """Remove what killed processes left half made, and the oldest-used entries beyond the bound, but for ``keep``."""
    for partial in root.glob(".*-*"):
        _remove(root, partial.name[1:], partial)
    entries = {path: _size(path) for path in root.glob("[!.]*-*") if path.is_dir()}
    bound = SHARE * (shutil.disk_usage(root).free + sum(entries.values()))
    for path in sorted(entries, key=_used):
        if sum(entries.values()) <= bound:
            return
        if path.name != keep and _remove(root, path.name, path):
            del entries[path]


def _remove(root: Path, name: str, path: Path) -> bool:
    """Remove ``path`` unless somebody is at work on the entry ``name``."""
    with _locked(root, name, wait=False) as free:
        if free:
            shutil.rmtree(path, ignore_errors=True)
        return free


def _size(entry: Path) -> int:
    try:
        return sum(path.stat().st_size for path in entry.iterdir())
    except OSError:  # another process has just removed it
        return 0


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0
