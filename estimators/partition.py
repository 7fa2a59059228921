"""Three disjoint splits from what there is: official ones stay, missing ones are drawn, and no image is in two."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from estimators.duplicates import copies_within, digests
from estimators.split import SPLITS, Split

TEST_SHARE, VAL_SHARE, SMALL_VAL_SHARE = 0.2, 0.1, 0.15
SMALL, MOST_VAL = (
    5_000,
    10_000,
)  # images: below SMALL the larger share is validated on, never more than MOST_VAL

Rows = tuple[Split, np.ndarray]  # some images of a split, not yet copied out of it


def partition(
    name: str, parts: Mapping[str, Any], seed: int, notes: Sequence[str] = ()
) -> tuple[dict[str, Rows], list[str]]:
    """Return train, val and test as rows of the splits in ``parts``, and the notes with what was done.

    A missing split is drawn from train, stratified. Whatever of train is pixel for pixel in val or test leaves it;
    an official split is never altered. Raises ``ValueError`` on classes without enough images.
    """
    found = {key: parts[key] for key in SPLITS if key in parts}
    classes = tuple(map(str, parts["classes"]))
    if "train" not in found:
        raise ValueError(
            f"{name}: no training images ({', '.join(found)} only); put some into the training folder"
        )
    _check_labels(name, found["train"].y, classes, 1 if len(found) == len(SPLITS) else 3)
    notes, train = list(notes), found["train"]
    marks = {key: digests(part) for key, part in found.items()}
    rows = {key: (part, np.arange(len(part))) for key, part in found.items()}
    left = np.arange(len(train))
    for key in found.keys() - {"train"}:
        left = left[~np.isin(marks["train"][left], marks[key])]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0, 0, 11)))
    for key in ("test", "val"):
        if key in found:
            continue
        left, held = stratified(train.y, left, _share(key, len(left)), rng)
        rows[key], marks[key] = (train, held), marks["train"][held]
        left = left[~np.isin(marks["train"][left], marks[key])]
        if key == "test":
            notes.append(f"held out: no official test split: {len(held)} images held out")
    _check_labels(name, train.y[left], classes, 1)
    rows["train"] = (train, left)
    lost = len(train) - sum(len(which) for source, which in rows.values() if source is train)
    return rows, [*notes, *_copies(lost, marks, marks["train"][left], train.y[left])]


def _share(key: str, images: int) -> float:
    if key == "test":
        return TEST_SHARE
    return SMALL_VAL_SHARE if images < SMALL else min(VAL_SHARE, MOST_VAL / images)


def _copies(lost: int, marks: Mapping[str, np.ndarray], kept: np.ndarray, labels: np.ndarray) -> list[str]:
    """Return the notes on copies: those ``lost`` to train, those within what was ``kept``, those in val and test."""
    notes = []
    if lost:
        notes.append(
            f"duplicates: {lost} training images are copies of validation or test images: left out of training"
        )
    again, contradicted = copies_within(kept, labels)
    if again:
        notes.append(f"duplicates: {again} training images repeat another one: kept")
    if contradicted:
        notes.append(
            f"duplicates: {contradicted} training images have copies of another class: correct the labels"
        )
    if shared := int(np.isin(marks["val"], marks["test"]).sum()):
        notes.append(
            f"duplicates: {shared} validation images are copies of test images: kept, both are official"
        )
    return notes or ["duplicates: none"]


def _check_labels(name: str, labels: np.ndarray, classes: Sequence[str], least: int) -> None:
    if len(classes) < 2:
        raise ValueError(f"{name}: one class only ({', '.join(classes)}); a classifier needs at least two")
    counts = np.bincount(labels, minlength=len(classes))
    scarce = int(np.argmin(counts))
    if counts[scarce] < least:
        raise ValueError(
            f"{name}: class {classes[scarce]!r} has {counts[scarce]} training image(s); "
            f"give at least {least} (some are held out), or remove the class"
        )


def stratified(
    labels: np.ndarray, rows: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return those of ``rows`` that stay and those held out: ``share`` of each class, at least one image of each."""
    held = np.zeros(len(rows), bool)
    for label in np.unique(labels[rows]):
        members = rng.permutation(np.flatnonzero(labels[rows] == label))
        held[members[: max(1, round(share * len(members)))]] = True
    return rows[~held], rows[held]
