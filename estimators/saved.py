"""A data set as plain arrays in a folder, which all processes map: a run's ``data``, or an entry of the cache."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from estimators.split import SPLITS, Dataset, Report, Split

CHUNK = 1024  # images that are in memory at a time while a data set is copied or hashed

Rows = tuple[Split, np.ndarray]  # some images of a split, not yet copied out of it


class Writer:
    """Append arrays (k, *shape) to an ``.npy`` file whose length is known only at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._file, self._shape, self._rows = path.open("wb"), shape, 0
        self._begin = self._header()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.seek(0)
        begin = self._header()
        self._file.close()
        assert begin == self._begin  # numpy pads the header so that its first axis can grow

    def _header(self) -> int:
        about = {"descr": "|u1", "fortran_order": False, "shape": (self._rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, about)
        return self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Append ``rows`` (k, *shape) of bytes."""
        assert rows.shape[1:] == self._shape and rows.dtype == np.uint8
        self._file.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    return (np.ascontiguousarray(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK))


def fingerprint(dataset: Dataset) -> str:
    """Hash of all images and labels: equal for equal data on every machine."""
    digest = hashlib.sha256()
    for name in SPLITS:
        part: Split = getattr(dataset, name)
        digest.update(repr(part.x.shape).encode())
        for chunk in _chunks(part.x):
            digest.update(chunk.data)
        digest.update(part.y.tobytes())
    return digest.hexdigest()[:16]


def content_hash(folder: Path | str) -> str:
    """Return the ``fingerprint`` that was noted when the data set in ``folder`` was written."""
    return str(json.loads((Path(folder) / "meta.json").read_text())["hash"])


def write(folder: Path, parts: Mapping[str, Rows], about: Mapping[str, Any]) -> None:
    """Write ``parts``, a chunk at a time, and ``about`` (name, classes, notes, report) into the empty ``folder``."""
    for name, (source, rows) in parts.items():
        with Writer(folder / f"{name}_x.npy", source.x.shape[1:]) as out:
            for begin in range(0, len(rows), CHUNK):
                out.append(source.x[rows[begin : begin + CHUNK]])
        np.save(folder / f"{name}_y.npy", source.y[rows])
    (folder / "meta.json").write_text(json.dumps(about))
    about = {**about, "hash": fingerprint(open_saved(folder))}
    (folder / "meta.json").write_text(json.dumps(about, indent=1))


def save(dataset: Dataset, folder: Path) -> Path:
    """Write ``dataset`` into the new ``folder``, whole or not at all, for ``open_saved``."""
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if not _linked(dataset.saved_in, partial):
        parts = {name: getattr(dataset, name) for name in SPLITS}
        about = {
            "name": dataset.name,
            "classes": dataset.classes,
            "notes": dataset.notes,
            "report": asdict(dataset.report),
        }
        write(partial, {name: (part, np.arange(len(part))) for name, part in parts.items()}, about)
    partial.rename(folder)
    return folder


def _linked(source: Path | None, target: Path) -> bool:
    """Give ``target`` the files of ``source``; return whether that went well (the cache may have dropped it).

    Hard links: they take no room, they outlive the cache's own names, and to whoever copies or zips the folder they
    are ordinary files. Symbolic links would leave a run folder that means nothing elsewhere. Where a link is
    impossible (another disk), the files are copied.
    """
    if source is None:
        return False
    names = [f"{name}_{axis}.npy" for name in SPLITS for axis in "xy"]
    try:
        for name in [*names, "meta.json"]:
            try:
                os.link(source / name, target / name)
            except OSError:
                shutil.copyfile(source / name, target / name)
    except FileNotFoundError:
        for path in target.iterdir():
            path.unlink()
        return False
    return True


def open_saved(folder: Path | str) -> Dataset:
    """Open what ``save`` wrote: arrays are read-only memory maps that all processes share."""
    folder = Path(folder)
    try:
        about = json.loads((folder / "meta.json").read_text())
        train, val, test = (open_split(folder, name) for name in SPLITS)
    except (OSError, ValueError) as error:
        raise ValueError(f"no saved data set in {str(folder)!r} ({error}); start the search again") from None
    classes, notes = tuple(about["classes"]), tuple(about["notes"])
    return Dataset(about["name"], train, val, test, classes, notes, as_report(about.get("report", {})))


def open_split(folder: Path, name: str) -> Split:
    """Map the split ``name`` of a folder."""
    x, y = folder / f"{name}_x.npy", folder / f"{name}_y.npy"
    return Split(np.load(x, mmap_mode="r"), np.load(y))


def as_report(plain: Mapping[str, Any]) -> Report:
    """Return the report that ``plain``, read from JSON, describes."""
    return Report(**{**plain, "sizes": tuple((int(w), int(h)) for w, h in plain.get("sizes", ()))})
