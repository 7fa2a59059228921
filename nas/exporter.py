"""What an exporter is: it writes a trained design into a folder that needs nothing of this project."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.architecture import Design
from search_spaces.registry import Registry

exporters: "Registry[type[Exporter]]" = Registry("exporter", "nas.exporters")


@dataclass(frozen=True)
class Trained:
    """A design with its trained weights and what it needs to be used.

    ``weights`` maps the names of the network's ``state_dict`` to arrays. ``normalize`` holds per-channel (mean, std)
    of pixels scaled to [0, 1]; with ``per_image`` each image's own are taken instead. ``images`` (n, C, H, W) uint8, as
    the data set holds them, and ``labels`` (n,) are kept for the verification.
    """

    design: Design
    weights: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    normalize: tuple[tuple[float, ...], tuple[float, ...]]
    images: np.ndarray
    labels: np.ndarray
    per_image: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


class Exporter(ABC):
    """Writes a ``Trained`` into a new folder and can check it from a clean process."""

    @abstractmethod
    def export(self, trained: Trained, folder: Path) -> Path:
        """Write everything into ``folder`` (made by this call, atomically: whole or absent) and return it."""

    @abstractmethod
    def verify(self, folder: Path) -> Mapping[str, float]:
        """Load ``folder`` in a process without this package and evaluate it again.

        Returns ``images``, ``top1_equal`` (share), ``worst`` (largest logit difference over 1e-4 + 1e-4 relative; at
        most 1 passes). A mismatch is a ``ValueError`` that says how large it is.
        """
