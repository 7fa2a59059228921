"""Pictures in class folders, read in two passes: all headers, then all pixels, straight into a file.

No more than a batch of pictures is in memory at a time, whatever the folder holds. Pillow lets go of Python's lock
while it decodes and resizes, so that threads keep all cores busy without the seconds that processes need to start.
"""

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from estimators.pictures import GREY, Head, decode, head, is_named_picture
from estimators.saved import Writer, as_report, open_split
from estimators.split import SPLITS, Report, Split

NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
MOST_BROKEN = 0.1  # share of unreadable files above which a folder is refused
SIDE = 64  # pixels a folder's pictures are brought to at most, unless told otherwise
BATCH = 256  # pictures in memory at a time
LISTED = 5  # files that a note names

T = TypeVar("T")


@dataclass(frozen=True)
class File:
    """A file: its path, the number of its class, and its (bytes, time of content, time of change in ns)."""

    path: str
    label: int
    stamp: tuple[int, int, int]


@dataclass(frozen=True)
class Listing:
    """The files below ``folder`` by split, with nothing opened yet."""

    folder: Path
    classes: tuple[str, ...]
    files: Mapping[str, tuple[File, ...]]

    def key(self) -> tuple[Any, ...]:
        """What the content depends on. It moves with the folder: times of change differ wherever content may."""
        base = len(str(self.folder))
        rows = {
            name: [(f.path[base:], f.label, f.stamp) for f in files] for name, files in self.files.items()
        }
        return self.classes, rows

    def relative(self, path: str) -> str:
        """Return ``path`` as seen from the folder."""
        return path[len(str(self.folder)) + 1 :]


def list_files(folder: Path) -> Listing:
    """List class folders below ``folder``, or below its train, val and test folders; hidden names are passed over."""
    split_folders = _split_folders(folder)
    base = split_folders.get("train", folder)
    classes = tuple(sorted(p.name for p in base.iterdir() if p.is_dir() and not _hidden(p.name)))
    if not classes:
        loose = sum(p.is_file() for p in base.iterdir())
        raise ValueError(
            f"{str(base)!r} holds no class folders ({loose} files); put each class into a folder of its own"
        )
    files = {name: _files(where, classes) for name, where in (split_folders or {"train": folder}).items()}
    if not any(files.values()):
        raise ValueError(
            f"the class folders of {str(base)!r} are empty; put the pictures of each class there"
        )
    return Listing(folder, classes, files)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _split_folders(folder: Path) -> dict[str, Path]:
    own = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    found: dict[str, Path] = {}
    for name, spellings in NAMES.items():
        paths = [own[spelling] for spelling in spellings if spelling in own]
        if len(paths) > 1:
            raise ValueError(
                f"{str(folder)!r} holds {paths[0].name!r} and {paths[1].name!r}, which are one split; remove one"
            )
        if paths:
            found[name] = paths[0]
    if found.keys() >= {"val", "test"} and "train" not in found:
        raise ValueError(
            f"{str(folder)!r} holds {found['val'].name!r} and {found['test'].name!r} but no 'train'; add it"
        )
    return found if "train" in found else {}


def _files(folder: Path, classes: Sequence[str]) -> tuple[File, ...]:
    strange = sorted(
        p.name for p in folder.iterdir() if p.is_dir() and p.name not in classes and not _hidden(p.name)
    )
    if strange:
        raise ValueError(
            f"{str(folder)!r} has class {strange[0]!r}, which the training folder lacks; add or remove it"
        )
    return tuple(
        File(entry.path, label, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for entry in _walk(str(folder / name))
        for stat in [entry.stat()]
    )


def _walk(folder: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not _hidden(entry.name)), key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif entry.is_file():
            yield entry


def decode_into(target: Path, listing: Listing, side: int | None) -> None:
    """Decode the pictures of ``listing`` into the empty folder ``target``, for ``open_decoded``.

    All are brought to one square side: ``side``, or the median of the shorter sides, 64 at most. They are grey when
    every picture is. Raises ``ValueError`` when more than a tenth are unreadable.
    """
    Image.init()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # of odd files; once for all threads, which share the filters
        paths = [file.path for files in listing.files.values() for file in files]
        found = dict(zip(paths, _in_batches(pool, head, paths), strict=True))
        heads = {path: one for path, one in found.items() if isinstance(one, Head)}
        broken = {path: one for path, one in found.items() if isinstance(one, str) and is_named_picture(path)}
        ignored = [path for path in found if path not in heads and path not in broken]
        _refuse(listing, broken, len(found) - len(ignored))
        if not heads:
            raise ValueError(f"{str(listing.folder)!r} holds no pictures, only {_endings(ignored)}; add some")
        side = side or min(SIDE, int(np.median([min(one.size) for one in heads.values()])))
        grey = all(one.mode in GREY for one in heads.values())
        for name, files in listing.files.items():
            _decode_split(
                pool, target, name, [file for file in files if file.path in heads], side, grey, broken
            )
    _refuse(listing, broken, len(found) - len(ignored))
    report = _report([one for path, one in heads.items() if path not in broken])
    notes = _notes(listing, heads, broken, ignored, side)
    about = {"classes": listing.classes, "notes": notes, "report": asdict(report)}
    (target / "meta.json").write_text(json.dumps(about))


def _in_batches(pool: ThreadPoolExecutor, work: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    for begin in range(0, len(paths), BATCH):
        yield from pool.map(work, paths[begin : begin + BATCH])


def _decode_split(
    pool: ThreadPoolExecutor,
    target: Path,
    name: str,
    files: Sequence[File],
    side: int,
    grey: bool,
    broken: dict[str, str],
) -> None:
    labels = []
    with Writer(target / f"{name}_x.npy", (1 if grey else 3, side, side)) as out:
        arrays = _in_batches(pool, lambda path: decode(path, side, grey), [file.path for file in files])
        for file, array in zip(files, arrays, strict=True):
            if isinstance(array, str):
                broken[file.path] = array
            else:
                out.append(array[None])
                labels.append(file.label)
    np.save(target / f"{name}_y.npy", np.array(labels, np.int64))


def open_decoded(folder: Path) -> tuple[dict[str, Split | tuple[str, ...]], list[str], Report]:
    """Return the splits (memory maps) and classes, the notes, and the report that ``decode_into`` wrote."""
    about = json.loads((folder / "meta.json").read_text())
    parts: dict[str, Split | tuple[str, ...]] = {"classes": tuple(about["classes"])}
    for name in SPLITS:
        if (folder / f"{name}_x.npy").exists() and len(split := open_split(folder, name)):
            parts[name] = split
    return parts, about["notes"], as_report(about["report"])


def _refuse(listing: Listing, broken: Mapping[str, str], total: int) -> None:
    if len(broken) > MOST_BROKEN * total:
        raise ValueError(
            f"{len(broken)} of {total} files in {str(listing.folder)!r} are no readable pictures "
            f"({_some(listing, broken)}); at most {MOST_BROKEN:.0%} may be: remove or repair them"
        )


def _some(listing: Listing, broken: Mapping[str, str]) -> str:
    rest = len(broken) - LISTED
    named = [f"{listing.relative(path)}: {why}" for path, why in sorted(broken.items())[:LISTED]]
    return "; ".join(named) + (f"; and {rest} more" if rest > 0 else "")


def _endings(paths: Sequence[str]) -> str:
    counts = Counter(os.path.splitext(path)[1].lower() or "no ending" for path in paths)  # noqa: PTH122
    return ", ".join(f"{count} {ending}" for ending, count in counts.most_common(LISTED))


def _report(heads: Sequence[Head]) -> Report:
    by_size = sorted((one.size for one in heads), key=lambda size: size[0] * size[1])
    sizes = tuple(by_size[i] for i in (0, len(by_size) // 2, -1))
    return Report("decoded", modes=dict(Counter(one.mode for one in heads).most_common()), sizes=sizes)


def _notes(
    listing: Listing, heads: Mapping[str, Head], broken: Mapping[str, str], ignored: Sequence[str], side: int
) -> list[str]:
    notes = []
    if broken:
        total = len(heads) + sum(path not in heads for path in broken)
        what = f"{len(broken):,} of {total:,} files are no readable pictures and left out"
        notes.append(f"unreadable: {what}: {_some(listing, broken)}")
    if ignored:
        notes.append(f"ignored: {len(ignored):,} files that are no pictures ({_endings(ignored)})")
    kept = [one for path, one in heads.items() if path not in broken]
    sizes = {one.size for one in kept}
    if sizes != {(side, side)}:
        oblong = sum(width != height for width, height in (one.size for one in kept))
        squeezed = f"; {oblong:,} are not square and lose their proportions: crop them before to keep these"
        notes.append(
            f"resized: pictures of {len(sizes)} size(s) resized to {side}x{side}{squeezed * (oblong > 0)}"
        )
    if clear := sum(one.transparent for one in kept):
        notes.append(f"alpha: {clear:,} pictures with transparency are laid on white")
    return notes
