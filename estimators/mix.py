"""Batches whose images are mixed in pairs, and the loss of what they then show.

mixup blends two images (Zhang et al. 2018), cutmix pastes a rectangle of one into the other (Yun et al. 2019). As in
torchvision's reference there is one draw per batch, and an image's partner is its neighbour in the shuffled batch.

Notation
    n       images of a batch           y, other   (n,) labels of the images and of their partners
    share   what an image keeps of itself, in [0, 1]
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from search_spaces.recipe import MIXES


@dataclass(frozen=True)
class Labels:
    """What a batch shows: ``y`` (n,) int64, and of mixed images to ``1 - share`` also ``other`` (n,).

    ``share`` is a number; in a recorded graph a tensor () that holds it.
    """

    y: Tensor
    other: Tensor | None = None
    share: float | Tensor = 1.0

    def chunk(self, pieces: int) -> list["Labels"]:
        """Return the labels of the pieces that ``Tensor.tensor_split`` makes of the batch."""
        own = self.y.tensor_split(pieces)
        others = [None] * len(own) if self.other is None else self.other.tensor_split(pieces)
        return [Labels(y, other, self.share) for y, other in zip(own, others, strict=True)]

    def loss(self, logits: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
        """Return the mean cross entropy; its terms are weighed by ``weights`` (classes,), its divisor is not."""
        own = _entropy(logits, self.y, smoothing, weights)
        if self.other is None:
            return own
        return self.share * own + (1 - self.share) * _entropy(logits, self.other, smoothing, weights)


def _entropy(logits: Tensor, y: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    if weights is None:
        return cross_entropy(logits, y, label_smoothing=smoothing)
    return cross_entropy(logits, y, weights, label_smoothing=smoothing, reduction="sum") / len(y)


def class_weights(y: Tensor, classes: int) -> Tensor:
    """Return (classes,) float32 weights inverse to the frequencies of classes in ``y``; their mean over ``y`` is 1."""
    counts = torch.bincount(y, minlength=classes)
    return len(y) / (counts.count_nonzero() * counts.clamp(min=1)).float()


@dataclass(frozen=True)
class Mixes:
    """How each batch of an epoch is mixed: its ``shares``, and of cutmix its ``boxes`` (top, bottom, left, right)."""

    shares: tuple[float, ...]
    boxes: tuple[tuple[int, int, int, int], ...] = ()

    @classmethod
    def draw(
        cls, kind: str, alpha: float, batches: int, size: tuple[int, int], *, generator: torch.Generator
    ) -> "Mixes":
        """Draw shares from Beta(``alpha``, ``alpha``) for ``batches`` of images of ``size`` (H, W).

        A box has the area that its share leaves, unless the border cuts it; then the share follows the box.
        """
        assert kind in MIXES and kind != "none", kind
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        shares = rng.beta(alpha, alpha, batches).tolist()
        if kind == "mixup":
            return cls(tuple(shares))
        height, width = size
        boxes = []
        for share in shares:
            half = 0.5 * math.sqrt(1 - share)
            rows, columns = int(half * height), int(half * width)
            i, j = int(rng.integers(height)), int(rng.integers(width))
            boxes.append(
                (max(0, i - rows), min(height, i + rows), max(0, j - columns), min(width, j + columns))
            )
        kept = [1 - (bottom - top) * (right - left) / (height * width) for top, bottom, left, right in boxes]
        return cls(tuple(kept), tuple(boxes))

    def apply(self, z: Tensor, y: Tensor, batch: int) -> tuple[Tensor, Labels]:
        """Return batch number ``batch``, ``z`` (n, C, H, W) with labels ``y`` (n,), mixed; ``z`` may be written to."""
        share, partners = self.shares[batch], z.roll(1, 0)
        labels = Labels(y, y.roll(1, 0), share)
        if not self.boxes:
            return z.mul_(share).add_(partners, alpha=1 - share), labels
        top, bottom, left, right = self.boxes[batch]
        z[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
        return z, labels
