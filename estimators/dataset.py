"""Image data sets as uint8 arrays with three splits, decoded once into a folder that all processes map.

Notation
    x   (n, C, H, W) uint8 images        y   (n,) int64 labels in [0, classes)
"""

import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL
import psutil

from estimators import cache, folders, readers
from estimators.partition import partition
from estimators.saved import fingerprint, open_saved, save, write
from estimators.split import SPLITS, Dataset, Report, Split
from estimators.summary import summary
from search_spaces.registry import Registry, nearest

__all__ = [
    "SPLITS",
    "Dataset",
    "Source",
    "Split",
    "datasets",
    "fingerprint",
    "load",
    "open_saved",
    "save",
    "split",
    "summary",
]

datasets: "Registry[type[Source]]" = Registry("data set", "estimators.datasets")

FORMAT = 1  # of what is cached: a new number when the same files are decoded or split differently
MEMORY_SHARE = (
    0.25  # of the memory that is available: the most that is read into it where nothing can be cached
)


class Source(ABC):
    """Where images come from. ``load`` decodes everything; official splits are kept as they are.

    ``terms`` names the authors, the licence and the size of a download: it is said before anything is fetched.
    """

    terms: ClassVar[str] = ""

    @abstractmethod
    def load(self, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        """Return the splits that exist (``train``; ``val`` and ``test`` where official) and ``classes``."""


def load(data: Any, *, seed: int = 0, root: Path | None = None, side: int | None = None) -> Dataset:
    """Return the images of ``data`` in three splits, the same for the same ``seed``.

    ``data`` is a registered name, a folder of class folders (with or without train, val, test above them), an
    ``.npz`` file, a pair of arrays ``(x, y)``, a torch data set of ``(image, label)``, or a ``Dataset``. ``root`` is
    where torchvision's files lie; ``side`` the side in pixels that the pictures of a folder are brought to. A folder
    is decoded into the cache (see ``estimators.cache``) and mapped from there. Anything else, and data that cannot be
    learned from, is a ``ValueError``.
    """
    if isinstance(data, Dataset):
        return data
    began = time.monotonic()
    dataset = _load(data, seed, root, side)
    return replace(dataset, report=replace(dataset.report, seconds=time.monotonic() - began))


def _load(data: Any, seed: int, root: Path | None, side: int | None) -> Dataset:
    if not isinstance(data, str | os.PathLike):
        return split("data", readers.read_objects(data), seed)
    path = Path(data)
    if str(data) in datasets.names():
        source = datasets.get(str(data))()
        terms = [f"terms: {source.terms}"] if source.terms else []
        return split(str(data), source.load(root=root), seed, terms, Report("named set"))
    if path.is_dir():
        return _load_folder(path.resolve(), seed, side)
    if path.suffix == ".npz":
        return split(path.stem, readers.read_npz(path), seed, report=Report("file"))
    raise ValueError(
        f"no data set and no folder {str(data)!r}; {nearest(str(data), datasets.names())}, "
        "or give a folder of class folders or an .npz file"
    )


def _load_folder(folder: Path, seed: int, side: int | None) -> Dataset:
    """Map the data set from the cache; what it lacks is split, and before that decoded, into it."""
    listing = folders.list_files(folder)
    pictures = cache.key_of(FORMAT, PIL.__version__, side, listing.key())
    work = []

    def decode(partial: Path) -> None:
        work.append("decoded")
        folders.decode_into(partial, listing, side)

    def arrange(partial: Path) -> None:
        work.append("split anew, pictures from the cache")
        _write(partial, folder.name, *cache.fetch("pictures", pictures, decode, folders.open_decoded), seed)

    def read(entry: Path) -> Dataset:
        return replace(open_saved(entry), saved_in=entry)

    try:
        dataset = cache.fetch("splits", cache.key_of(folder.name, pictures, seed), arrange, read)
    except OSError as error:
        return _load_uncached(listing, seed, side, error)
    return replace(dataset, report=replace(dataset.report, source=(work or ["cache"])[-1]))


def _write(
    target: Path, name: str, parts: Mapping[str, Any], notes: Sequence[str], report: Report, seed: int
) -> None:
    rows, notes = partition(name, parts, seed, notes)
    write(target, rows, {"name": name, "classes": parts["classes"], "notes": notes, "report": asdict(report)})


def _load_uncached(listing: folders.Listing, seed: int, side: int | None, error: OSError) -> Dataset:
    """Decode a folder by way of a temporary one into memory, if it fits there."""
    remedy = (
        f"cannot write the cache {str(cache.place())!r} ({error.strerror}): set NAS_CACHE to another folder"
    )
    try:
        with tempfile.TemporaryDirectory() as scratch:
            decoded, arranged = Path(scratch) / "pictures", Path(scratch) / "splits"
            decoded.mkdir()
            arranged.mkdir()
            folders.decode_into(decoded, listing, side)
            _write(arranged, listing.folder.name, *folders.open_decoded(decoded), seed)
            mapped = open_saved(arranged)
            if sum(path.stat().st_size for path in arranged.iterdir()) > _room():
                raise ValueError(f"{listing.folder.name} is too large to be kept in memory, and {remedy}")
            train, val, test = (
                Split(np.array(part.x), part.y) for part in (mapped.train, mapped.val, mapped.test)
            )
    except OSError as again:
        raise ValueError(f"{remedy} ({again.strerror} in the temporary folder)") from None
    notes = (*mapped.notes, f"cache: {remedy}")
    return replace(mapped, train=train, val=val, test=test, notes=notes)


def _room() -> float:
    return MEMORY_SHARE * float(psutil.virtual_memory().available)


def split(
    name: str,
    parts: dict[str, Split | tuple[str, ...]],
    seed: int,
    notes: Sequence[str] = (),
    report: Report | None = None,
) -> Dataset:
    """Complete ``parts`` to three splits: what is official stays, what is missing is drawn, stratified, from train."""
    rows, notes = partition(name, parts, seed, notes)
    train, val, test = (rows[key][0].take(rows[key][1]) for key in SPLITS)
    assert isinstance(parts["classes"], tuple)
    return Dataset(
        name, train, val, test, tuple(map(str, parts["classes"])), tuple(notes), report or Report()
    )
