"""TrivialAugment Wide (Müller and Hutter 2021, table 1, right): one op of 14 per image, at one of 31 magnitudes.

Follows torchvision's ``TrivialAugmentWide`` on uint8 tensors: nearest pixel, black outside. The images of an op go
through it together.

Notation
    n   images of the draw     k   those of one op in a batch     m   (k,) magnitudes, with their sign
    x   (k, C, H, W) uint8, C is 1 or 3
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

from estimators.device import send

BINS = 31
GEOMETRY = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate")
LUMA = (0.2989, 0.587, 0.114)


def brightness(x: Tensor, m: Tensor) -> Tensor:
    """Multiply by 1 + m."""
    return _levels(x * _factor(1 + m))


def color(x: Tensor, m: Tensor) -> Tensor:
    """Move from the grey image by 1 + m; an image without colours stays."""
    return x if x.shape[1] == 1 else _blend(x, _grey(x), m)


def contrast(x: Tensor, m: Tensor) -> Tensor:
    """Move from the mean grey level by 1 + m."""
    return _blend(x, _grey(x).mean((1, 2, 3), keepdim=True), m)


def sharpness(x: Tensor, m: Tensor) -> Tensor:
    """Move from the image smoothed by 3 x 3 pixels by 1 + m; the border stays."""
    if min(x.shape[2:]) <= 2:
        return x
    kernel = torch.full((x.shape[1], 1, 3, 3), 1 / 13, device=x.device)
    kernel[:, :, 1, 1] = 5 / 13
    values = x.float()
    inside = values[:, :, 1:-1, 1:-1]
    smooth = conv2d(values, kernel, groups=x.shape[1]).round_()
    inside += (smooth - inside) * _factor(-m)
    return _levels(values)


def posterize(x: Tensor, m: Tensor) -> Tensor:
    """Keep the m highest bits."""
    return x & (256 - 2 ** (8 - m.long())).to(torch.uint8)[:, None, None, None]


def solarize(x: Tensor, m: Tensor) -> Tensor:
    """Invert from level 255 m on."""
    return torch.where(x >= _factor(255 * m), 255 - x, x)


def autocontrast(x: Tensor, m: Tensor) -> Tensor:
    """Stretch each channel to [0, 255]; a channel of one level stays."""
    low, high = x.float().amin((2, 3), keepdim=True), x.float().amax((2, 3), keepdim=True)
    flat = low == high
    scale = torch.where(flat, 1.0, (high - low) * (1 / 255))
    return _levels((x - torch.where(flat, 0.0, low)) / scale)


def equalize(x: Tensor, m: Tensor) -> Tensor:
    """Make the levels of each channel as frequent as one another, in integers as Pillow does."""
    flat = x.flatten(2).long()
    counts = torch.zeros(*x.shape[:2], 256, dtype=torch.int64, device=x.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    total = counts.cumsum(2)
    brightest = counts.gather(2, flat.amax(2, keepdim=True))
    step = (flat.shape[2] - brightest) // 255
    table = ((total - counts + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    return torch.where(step[..., None] > 0, table.gather(2, flat).view(x.shape), x).to(torch.uint8)


def _factor(values: Tensor) -> Tensor:
    return values.float()[:, None, None, None]


def _levels(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x.float()
    red, green, blue = torch.split(x.float(), 1, 1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).floor_()


def _blend(x: Tensor, other: Tensor, m: Tensor) -> Tensor:
    return _levels(torch.addcmul(x * _factor(1 + m), other, _factor(-m)))


Op = Callable[[Tensor, Tensor], Tensor]
PIXELS: dict[str, Op] = {
    op.__name__: op
    for op in (brightness, color, contrast, sharpness, posterize, solarize, autocontrast, equalize)
}
OPS = ("identity", *GEOMETRY, *PIXELS)
SIGNED = (*GEOMETRY, "brightness", "color", "contrast", "sharpness")


def magnitudes(op: str) -> Tensor:
    """Return the (31,) float64 magnitudes of ``op``, without sign; zeros where it has none."""
    match op:
        case "shear-x" | "shear-y" | "brightness" | "color" | "contrast" | "sharpness":
            values = torch.linspace(0.0, 0.99, BINS)
        case "translate-x" | "translate-y":
            values = torch.linspace(0.0, 32.0, BINS).trunc()
        case "rotate":
            values = torch.linspace(0.0, 135.0, BINS)
        case "posterize":
            values = (8 - torch.arange(BINS) / ((BINS - 1) / 6)).round()
        case "solarize":
            values = torch.linspace(1.0, 0.0, BINS)
        case _:
            values = torch.zeros(BINS)
    return values.double()


def inverse_maps(ops: Tensor, m: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (n, 2, 3) float32: where a pixel comes from, in pixels from the centre of an image of ``size`` (H, W).

    The identity where the op of ``ops`` (n,) does not move pixels.
    """
    where = {name: (ops == OPS.index(name)).double() * m for name in GEOMETRY}
    angle = -torch.deg2rad(where["rotate"])
    x = [angle.cos(), angle.sin() + where["shear-x"], where["shear-x"] * size[0] / 2 - where["translate-x"]]
    y = [where["shear-y"] - angle.sin(), angle.cos(), where["shear-y"] * size[1] / 2 - where["translate-y"]]
    return torch.stack([*x, *y], 1).view(-1, 2, 3).float()


def warp(x: Tensor, maps: Tensor) -> Tensor:
    """Return the pixels of ``x`` nearest to where ``maps`` (k, 2, 3) point; 0 outside."""
    k, _, h, w = x.shape
    rows, columns = (torch.arange(s, device=x.device) - (s - 1) / 2 for s in (h, w))
    base = torch.stack(
        [columns.expand(h, w), rows[:, None].expand(h, w), torch.ones_like(x[0, 0]).float()], 2
    )
    half = torch.empty(2, device=x.device)  # filled on the device: a copy from a list would wait for it
    half[0].fill_(0.5 * w)
    half[1].fill_(0.5 * h)
    grid = base.view(1, h * w, 3).expand(k, -1, -1).bmm(maps.transpose(1, 2) / half).view(k, h, w, 2)
    return grid_sample(x.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)


@dataclass(frozen=True)
class Trivial:
    """What is done to ``n`` images: ``ops`` (n,) on the CPU, ``m`` (n,) and ``maps`` (n, 2, 3) on the device."""

    ops: Tensor
    m: Tensor
    maps: Tensor

    @classmethod
    def draw(
        cls, n: int, size: tuple[int, int], *, generator: torch.Generator, device: torch.device
    ) -> "Trivial":
        """Draw op, magnitude and sign of ``n`` images of ``size`` (H, W), each uniformly."""
        ops = torch.randint(len(OPS), (n,), generator=generator)
        bins = torch.randint(BINS, (n,), generator=generator)
        negative = torch.rand(n, generator=generator) < 0.5
        signed = torch.tensor([op in SIGNED for op in OPS])[ops]
        m = torch.stack([magnitudes(op) for op in OPS])[ops, bins]
        m = torch.where(negative & signed, -m, m)
        return cls(ops, send(m, device), send(inverse_maps(ops, m, size), device))

    def apply(self, x: Tensor, part: slice) -> Tensor:
        """Return ``x`` (n, C, H, W) uint8, the images that stand at ``part`` of the draw, each after its op."""
        ops = self.ops[part]
        order = send(ops.argsort(stable=True), x.device)
        sizes = torch.bincount(ops, minlength=len(OPS)).tolist()
        sizes[1 : 1 + len(GEOMETRY)] = [sum(sizes[1 : 1 + len(GEOMETRY)])]
        groups = torch.split(x.index_select(0, order), sizes)
        m = torch.split(self.m[part].index_select(0, order), sizes)
        maps = torch.split(self.maps[part].index_select(0, order), sizes)
        done = [groups[0], warp(groups[1], maps[1]) if sizes[1] else groups[1]]
        done += [
            op(g, s) if len(g) else g for op, g, s in zip(PIXELS.values(), groups[2:], m[2:], strict=True)
        ]
        return torch.empty_like(x).index_copy_(0, order, torch.cat(done))
