"""Batches cut, moved, mirrored and erased as whole tensors on the device, out of images that stay uint8 until then.

Notation
    n   images of a batch      p   pixels of padding, an eighth of the shorter side (at least 1)
    x   (n, C, H, W) uint8     z   (n, C, H, W) float32, standardised

The draws of an epoch are made on the CPU and copied once, so that every device sees the same augmentation.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from estimators.device import send
from search_spaces.recipe import AUGMENT

ERASED, RATIO, TRIES = (0.02, 0.33), (0.3, 3.3), 10  # share of the area, height over width, draws of them


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
        """Draw for ``n`` images of ``size`` (H, W): crops after zero padding, half of them mirrored.

        ``policy`` says which; "trivial" has no moves of its own and is named by those that it follows.
        """
        assert policy in AUGMENT and policy != "trivial", policy
        padding = max(1, min(size) // 8) if "crop" in policy else 0
        place = (
            send(torch.randint(2 * padding + 1, (2, n), generator=generator), device)
            if padding
            else (None, None)
        )
        mirrored = send(torch.rand(n, generator=generator).lt(0.5), device) if "flip" in policy else None
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
class Erase:
    """The rows and columns ``top <= i < bottom``, ``left <= j < right``, (n,) each, that are erased; empty: nothing."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def draw(
        cls,
        probability: float,
        n: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        device: torch.device,
    ) -> "Erase":
        """Draw for ``n`` images of ``size`` (H, W) as in Zhong et al. (2020, algorithm 1), ``TRIES`` times at most."""
        height, width = size
        area = height * width * torch.empty(TRIES, n).uniform_(*ERASED, generator=generator)
        ratio = torch.empty(TRIES, n).uniform_(*map(math.log, RATIO), generator=generator).exp()
        heights, widths = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = (heights < height) & (widths < width)
        first = fits.long().argmax(0, keepdim=True)
        chosen = fits.any(0) & (torch.rand(n, generator=generator) < probability)
        h, w = (sizes.gather(0, first)[0] * chosen for sizes in (heights, widths))
        places = torch.rand(2, n, generator=generator, dtype=torch.float64)
        top, left = (places[0] * (height - h + 1)).long(), (places[1] * (width - w + 1)).long()
        return cls(*send(torch.stack([top, top + h, left, left + w]), device))

    def apply(self, z: Tensor, part: slice) -> Tensor:
        """Set the rectangles of ``z`` (n, C, H, W), which stands at ``part`` of the draw, to 0, in place."""
        rows, columns = (torch.arange(k, device=z.device) for k in z.shape[2:])
        down = (rows >= self.top[part, None]) & (rows < self.bottom[part, None])
        across = (columns >= self.left[part, None]) & (columns < self.right[part, None])
        return z.masked_fill_((down[:, :, None] & across[:, None, :])[:, None], 0.0)
