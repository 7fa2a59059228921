"""Batches cut, moved and mirrored as whole tensors on the device, out of images that stay uint8 until then.

Notation
    n   images of a batch      p   pixels of padding, an eighth of the shorter side (at least 1)
    x   (n, C, H, W) uint8     z   (n, C, H, W) float32, channels last, standardised

The draws of an epoch are made on the CPU and copied once, so that every device sees the same augmentation.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from estimators.device import MEMORY_FORMAT
from search_spaces.recipe import AUGMENT


@dataclass(frozen=True)
class Moves:
    """Where ``n`` images go: ``top`` and ``left`` (n,) in [0, 2p], ``mirrored`` (n,) bool; None: unmoved."""

    padding: int
    top: Tensor | None
    left: Tensor | None
    mirrored: Tensor | None

    @classmethod
    def draw(
        cls, policy: str, n: int, size: tuple[int, int], *, generator: torch.Generator, device: torch.device
    ) -> "Moves":
        """Draw for ``n`` images of ``size`` (H, W): crops after zero padding, half of them mirrored."""
        assert policy in AUGMENT, policy
        padding = max(1, min(size) // 8) if "crop" in policy else 0
        place = (
            torch.randint(2 * padding + 1, (2, n), generator=generator).to(device)
            if padding
            else (None, None)
        )
        mirrored = torch.rand(n, generator=generator).lt(0.5).to(device) if "flip" in policy else None
        return cls(padding, place[0], place[1], mirrored)

    def apply(self, x: Tensor, part: slice) -> Tensor:
        """Move ``x`` (n, C, H, W), the images that stand at ``part`` of the draw; one gather for all."""
        n, c, h, w = x.shape
        if self.mirrored is None and self.top is None:
            return x
        rows = torch.arange(h, device=x.device).expand(n, h)
        columns = torch.arange(w, device=x.device).expand(n, w)
        if self.mirrored is not None:
            columns = torch.where(self.mirrored[part, None], w - 1 - columns, columns)
        if self.top is not None and self.left is not None:
            rows, columns = rows + self.top[part, None], columns + self.left[part, None]
        places = rows[:, :, None] * (w + 2 * self.padding) + columns[:, None, :]
        padded = pad(x, (self.padding,) * 4) if self.padding else x
        return padded.flatten(2).gather(2, places.view(n, 1, h * w).expand(n, c, h * w)).view(n, c, h, w)


@dataclass(frozen=True)
class Standardise:
    """``z = (x / 255 - mean) / std`` per channel; ``mean`` and ``std`` hold C numbers in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, x: Tensor) -> "Standardise":
        """Measure ``x`` (n, C, H, W) uint8 in exact integer sums; a constant channel is divided by 1."""
        first = torch.zeros(x.shape[1], dtype=torch.int64, device=x.device)
        second = first.clone()
        for chunk in torch.split(x, 4096):
            wide = chunk.to(torch.int32)
            first += wide.sum((0, 2, 3))
            second += wide.square_().sum((0, 2, 3))
        count = x.numel() / x.shape[1]
        mean = first.double() / (255 * count)
        std = (second.double() / (255**2 * count) - mean**2).clamp(min=0).sqrt()
        return cls(tuple(mean.tolist()), tuple(torch.where(std > 1e-6, std, 1.0).tolist()))

    @classmethod
    def identity(cls, channels: int) -> "Standardise":
        """Images in [0, 1], nothing more."""
        return cls((0.0,) * channels, (1.0,) * channels)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x`` as standardised float32, channels last."""
        scale, shift = _affine(self, x.device)
        return torch.addcmul(shift, x.float(), scale).contiguous(memory_format=MEMORY_FORMAT)


@lru_cache(maxsize=16)
def _affine(standardise: Standardise, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (1, C, 1, 1) float32 each, on ``device``."""
    mean = torch.tensor(standardise.mean, dtype=torch.float64)
    std = torch.tensor(standardise.std, dtype=torch.float64)
    scale, shift = torch.stack([1 / (255 * std), -mean / std]).float().to(device)[:, None, :, None, None]
    return scale, shift
