"""What turns a data set's images into a network's input: grey, side, and pixels brought to a scale.

Notation
    x   (n, C, H, W) uint8      z   (n, C, H, W) float32, channels last, standardised

An export prints the same arithmetic (``nas.exporters.templates``): a change here is a change there.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from estimators.device import MEMORY_FORMAT
from search_spaces.recipe import NORMALIZE

GREY = (19595, 38470, 7471)  # shares of red, green, blue in 1/65536 (ITU-R BT.601), as Pillow's convert("L")
CHUNK = 1024  # images resized at once
FITTED = 256  # images summed at once: what stays in a processor's own memory is summed four times as fast


def to_shape(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return ``x`` as images of ``shape`` (C, H, W): made grey, then resized, where it differs."""
    if tuple(x.shape[1:]) == tuple(shape):
        return x
    return torch.cat([_to_shape(chunk, shape) for chunk in torch.split(x, CHUNK)])


def _to_shape(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    if shape[0] == 1 and x.shape[1] == 3:
        red, green, blue = torch.split(x.to(torch.int32), 1, 1)
        x = ((GREY[0] * red + GREY[1] * green + GREY[2] * blue + 32768) >> 16).to(torch.uint8)
    assert x.shape[1] == shape[0], (x.shape, shape)
    if tuple(x.shape[2:]) == tuple(shape[1:]):
        return x
    x = interpolate(x.float(), tuple(shape[1:]), mode="bilinear", antialias=True)
    return x.round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Standardise:
    """``z = (x / 255 - mean) / std`` per channel; ``mean`` and ``std`` hold C numbers in [0, 1].

    ``per_image``: the mean and the deviation of all values of an image are used instead; the deviation is at least
    that of one level in one value, ``1 / sqrt(C H W)`` levels (as TensorFlow's ``per_image_standardization``).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    per_image: bool = False

    @classmethod
    def fit(cls, x: Tensor) -> "Standardise":
        """Measure ``x`` (n, C, H, W) uint8 in exact integer sums; a constant channel is divided by 1."""
        first = torch.zeros(x.shape[1], dtype=torch.int64, device=x.device)
        second = first.clone()
        for chunk in torch.split(x, FITTED):
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

    def of_kind(self, kind: str) -> "Standardise":
        """Return what a recipe's ``normalize`` asks for; ``self`` is fitted to the data."""
        assert kind in NORMALIZE, kind
        channels = len(self.mean)
        if kind == "data":
            return self
        if kind == "half":
            return Standardise((0.5,) * channels, (0.5,) * channels)
        return replace(Standardise.identity(channels), per_image=kind == "image")

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x`` as standardised float32, channels last."""
        z = x.float()
        if self.per_image:
            std, mean = torch.std_mean(z, (1, 2, 3), correction=0, keepdim=True)
            z = (z - mean) / std.clamp_(min=z[0].numel() ** -0.5)
        else:
            scale, shift = _affine(self, x.device)
            z = torch.addcmul(shift, z, scale)
        return z.contiguous(memory_format=MEMORY_FORMAT)


@lru_cache(maxsize=16)
def _affine(standardise: Standardise, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (1, C, 1, 1) float32 each, on ``device``."""
    mean = torch.tensor(standardise.mean, dtype=torch.float64)
    std = torch.tensor(standardise.std, dtype=torch.float64)
    scale, shift = torch.stack([1 / (255 * std), -mean / std]).float().to(device)[:, None, :, None, None]
    return scale, shift
