"""Images and their labels, as they pass between readers, data sets and estimators."""

from dataclasses import dataclass

import numpy as np


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
