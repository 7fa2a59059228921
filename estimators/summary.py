"""What a person should know of a data set before anything is trained on it, as lines of text."""

import textwrap

import numpy as np

from estimators.split import SPLITS, Dataset

MOST_CLASSES = 12  # classes that are counted one by one; of more, the extremes are named
WARN_ABOVE = 1.5  # imbalance from which accuracy flatters a model that neglects small classes
GLUE = "\N{NO-BREAK SPACE}"  # between what belongs on one line
WIDTH, LABEL = 110, 14  # columns: of a line, and of its label


def summary(dataset: Dataset) -> str:
    """Return a table of the images, their classes, where they come from, and the notes."""
    c, h, w = dataset.shape
    head = f"{dataset.name}: {len(dataset.classes)} classes, {c}x{h}x{w} pixels"
    rows = [
        ("images", ", ".join(f"{len(getattr(dataset, name)):,} {name}" for name in SPLITS)),
        ("per class", _classes(dataset)),
        ("imbalance", _imbalance(dataset)),
        *_pictures(dataset),
        *(_topic(note) for note in dataset.notes),
        ("source", f"{dataset.report.source}, {dataset.report.seconds:.1f} s"),
    ]
    return "\n".join([head, *(line for label, text in rows for line in _lines(label, text))])


def _lines(label: str, text: str) -> list[str]:
    begin = f"  {label:<{LABEL - 2}}"
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=begin, subsequent_indent=" " * LABEL, break_long_words=False
    )
    return [line.replace(GLUE, " ") for line in lines]


def _topic(note: str) -> tuple[str, str]:
    topic, _, text = note.partition(": ")
    return topic, text


def _classes(dataset: Dataset) -> str:
    counts = np.bincount(dataset.train.y, minlength=len(dataset.classes))
    order = np.argsort(-counts, kind="stable")
    named = [f"{dataset.classes[i]}:{GLUE}{counts[i]:,}" for i in range(len(counts))]
    if len(counts) <= MOST_CLASSES:
        return ", ".join(named) + " (train)"
    ends = ", ".join([*(named[i] for i in order[:3]), "...", *(named[i] for i in order[-3:])])
    return f"{ends}, median {int(np.median(counts)):,} (train)"


def _imbalance(dataset: Dataset) -> str:
    ratio = f"{dataset.imbalance:.2f} (largest / smallest class)"
    if dataset.imbalance <= WARN_ABOVE:
        return ratio
    return f"{ratio}: consider the objective balanced_accuracy"


def _pictures(dataset: Dataset) -> list[tuple[str, str]]:
    report = dataset.report
    if not report.modes:
        return []
    smallest, middle, largest = (f"{w}x{h}" for w, h in report.sizes)
    return [
        ("modes", ", ".join(f"{count:,} {mode}" for mode, count in report.modes.items())),
        ("sizes", f"{smallest} smallest, {middle} median, {largest} largest, as stored"),
    ]
