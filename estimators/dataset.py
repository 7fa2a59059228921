"""Image data sets as uint8 arrays with three splits, decoded once into a folder that all processes map.

Notation
    x   (n, C, H, W) uint8 images        y   (n,) int64 labels in [0, classes)
"""

import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from estimators import readers
from estimators.split import Split
from search_spaces.registry import Registry, nearest

datasets: "Registry[type[Source]]" = Registry("data set", "estimators.datasets")

SPLITS = ("train", "val", "test")
TEST_SHARE, VAL_SHARE, SMALL_VAL_SHARE = 0.2, 0.1, 0.15
SMALL, MOST_VAL = (
    5_000,
    10_000,
)  # images: below SMALL the larger share is validated on, never more than MOST_VAL


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits. Candidates are compared on ``val``; ``test`` is used once per reported model."""

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        c, h, w = self.train.x.shape[1:]
        return int(c), int(h), int(w)


class Source(ABC):
    """Where images come from. ``load`` decodes everything; official splits are kept as they are."""

    @abstractmethod
    def load(self, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        """Return the splits that exist (``train``; ``val`` and ``test`` where official) and ``classes``."""


def load(data: Any, *, seed: int = 0, root: Path | None = None, side: int | None = None) -> Dataset:
    """Return the images of ``data`` in three splits, the same for the same ``seed``.

    ``data`` is a registered name, a folder of class folders (with or without train, val, test above them), an
    ``.npz`` file, a pair of arrays ``(x, y)``, a torch data set of ``(image, label)``, or a ``Dataset``. ``root`` is
    where torchvision's files lie; ``side`` the side in pixels that the pictures of a folder are brought to.
    Anything else, and data that cannot be learned from, is a ``ValueError``.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        if str(data) in datasets.names():
            return split(str(data), datasets.get(str(data))().load(root=root), seed)
        if path.is_dir():
            parts, notes = readers.read_folder(path, side)
            return split(path.resolve().name, parts, seed, notes)
        if path.suffix == ".npz":
            return split(path.stem, readers.read_npz(path), seed)
        raise ValueError(
            f"no data set and no folder {str(data)!r}; {nearest(str(data), datasets.names())}, "
            "or give a folder of class folders or an .npz file"
        )
    return split("data", readers.read_objects(data), seed)


def split(
    name: str, parts: dict[str, Split | tuple[str, ...]], seed: int, notes: Sequence[str] = ()
) -> Dataset:
    """Complete ``parts`` to three splits: what is official stays, what is missing is drawn, stratified, from train."""
    found = {key: part for key, part in parts.items() if isinstance(part, Split)}
    assert isinstance(parts["classes"], tuple)
    classes = tuple(map(str, parts["classes"]))
    _check_labels(name, found, classes)
    notes = list(notes)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0, 0, 11)))
    train = found["train"]
    if "test" not in found:
        train, found["test"] = _stratified(train, TEST_SHARE, rng)
        notes.append(f"no official test split: {len(found['test'])} images held out")
    if "val" not in found:
        share = SMALL_VAL_SHARE if len(train) < SMALL else min(VAL_SHARE, MOST_VAL / len(train))
        train, found["val"] = _stratified(train, share, rng)
    train, copies = _without(train, found["val"], found["test"])
    if copies:
        notes.append(
            f"{copies} training images are copies of validation or test images: left out of training"
        )
    _check_labels(name, {**found, "train": train}, classes)
    return Dataset(name, train, found["val"], found["test"], classes, tuple(notes))


def _check_labels(name: str, found: dict[str, Split], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ValueError(f"{name}: one class only ({', '.join(classes)}); a classifier needs at least two")
    counts = np.bincount(found["train"].y, minlength=len(classes))
    scarce = int(np.argmin(counts))
    least = 1 if {"val", "test"} <= set(found) else 3
    if counts[scarce] < least:
        raise ValueError(
            f"{name}: class {classes[scarce]!r} has {counts[scarce]} training image(s); "
            f"give at least {least} (some are held out), or remove the class"
        )


def _stratified(whole: Split, share: float, rng: np.random.Generator) -> tuple[Split, Split]:
    """Return what stays and what is held out: ``share`` of each class, at least one image of each."""
    held = np.zeros(len(whole), bool)
    for label in np.unique(whole.y):
        members = rng.permutation(np.flatnonzero(whole.y == label))
        held[members[: max(1, round(share * len(members)))]] = True
    return whole.take(np.flatnonzero(~held)), whole.take(np.flatnonzero(held))


def _without(train: Split, *others: Split) -> tuple[Split, int]:
    """Leave out of ``train`` what stands byte for byte in ``others``; return how many that were."""
    known = {hash(image.tobytes()) for other in others for image in np.ascontiguousarray(other.x)}
    keep = np.array([hash(image.tobytes()) not in known for image in np.ascontiguousarray(train.x)])
    copies = int((~keep).sum())
    return (train.take(np.flatnonzero(keep)), copies) if copies else (train, 0)


def fingerprint(dataset: Dataset) -> str:
    """Hash of all images and labels: equal for equal data on every machine."""
    digest = hashlib.sha256()
    for name in SPLITS:
        part: Split = getattr(dataset, name)
        digest.update(repr(part.x.shape).encode() + np.ascontiguousarray(part.x).tobytes() + part.y.tobytes())
    return digest.hexdigest()[:16]


def save(dataset: Dataset, folder: Path) -> Path:
    """Write ``dataset`` as plain arrays into ``folder``, whole or not at all, for ``open_saved``."""
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in SPLITS:
        part: Split = getattr(dataset, name)
        np.save(partial / f"{name}_x.npy", np.ascontiguousarray(part.x))
        np.save(partial / f"{name}_y.npy", part.y)
    about = {
        "name": dataset.name,
        "classes": dataset.classes,
        "notes": dataset.notes,
        "hash": fingerprint(dataset),
    }
    (partial / "meta.json").write_text(json.dumps(about, indent=1))
    partial.rename(folder)
    return folder


def open_saved(folder: Path | str) -> Dataset:
    """Open what ``save`` wrote: arrays are read-only memory maps that all processes share."""
    folder = Path(folder)
    try:
        about = json.loads((folder / "meta.json").read_text())
        parts = {
            name: Split(np.load(folder / f"{name}_x.npy", mmap_mode="r"), np.load(folder / f"{name}_y.npy"))
            for name in SPLITS
        }
    except (OSError, ValueError) as error:
        raise ValueError(f"no saved data set in {str(folder)!r} ({error}); start the search again") from None
    return Dataset(about["name"], **parts, classes=tuple(about["classes"]), notes=tuple(about["notes"]))


def limited(dataset: Dataset, images: int, seed: int = 0) -> Dataset:
    """Return ``dataset`` with at most ``images`` training images, classes in proportion."""
    if images >= len(dataset.train):
        return dataset
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0, 0, 12)))
    return replace(dataset, train=_stratified(dataset.train, images / len(dataset.train), rng)[1])


def summary(dataset: Dataset) -> str:
    """Return a few lines on what there is: images, classes, shape, imbalance, notes."""
    counts = np.bincount(dataset.train.y, minlength=len(dataset.classes))
    c, h, w = dataset.shape
    lines = [
        f"{dataset.name}: {len(dataset.classes)} classes, {c}x{h}x{w} pixels",
        "  images: " + ", ".join(f"{len(getattr(dataset, name)):,} {name}" for name in SPLITS),
        f"  per class in train: {counts.min():,} to {counts.max():,}",
    ]
    return "\n".join(lines + [f"  {note}" for note in dataset.notes])
