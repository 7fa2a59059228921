"""Image data sets as uint8 arrays with three splits, decoded once into a cache that all processes map.

Notation
    x   (n, C, H, W) uint8 images        y   (n,) int64 labels in [0, classes)
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.registry import Registry

datasets: "Registry[type[Source]]" = Registry("data set", "estimators.datasets")

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Images ``x`` (n, C, H, W) uint8 and labels ``y`` (n,) int64; arrays may be memory maps."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


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
