"""Images and their labels, as they pass between readers, data sets and estimators."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Images ``x`` (n, C, H, W) uint8 and labels ``y`` (n,) int64; arrays may be memory maps."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> "Split":
        """Return the images at ``rows``."""
        return Split(self.x[rows], self.y[rows])


@dataclass(frozen=True)
class Report:
    """Where images came from: pictures by their modes, the smallest, middle and largest (W, H), seconds to load."""

    source: str = "memory"
    seconds: float = 0.0
    modes: Mapping[str, int] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits. Candidates are compared on ``val``; ``test`` is used once per reported model.

    A note is "topic: sentence". ``saved_in`` is the folder of the cache that the arrays are maps of, if they are.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    report: Report = Report()
    saved_in: Path | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        c, h, w = self.train.x.shape[1:]
        return int(c), int(h), int(w)

    @property
    def imbalance(self) -> float:
        """Training images of the largest class over those of the smallest: 1 where all are equal."""
        counts = np.bincount(self.train.y, minlength=len(self.classes))
        return float(counts.max() / counts.min())
