"""The images that are augmented, torchvision's ops on them, and ours."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from estimators.dataset import load
from estimators.trivial import BINS, OPS, Trivial, inverse_maps, magnitudes


def pictures(n: int) -> dict[str, Tensor]:
    """Return ``n`` images of Fashion-MNIST, grey and in colours: three of them stacked into one."""
    grey = torch.from_numpy(np.array(load("fashion-mnist").train.x[:n]))
    return {"grey": grey, "colour": torch.cat([grey, grey.roll(1, 0), grey.roll(2, 0)], 1)}


def reference_op(v2: Any, op: str, x: Tensor, k: int, sign: int) -> Tensor:
    """Return ``x`` (n, C, H, W) after torchvision's ``op`` at magnitude number ``k``."""
    transform = v2.TrivialAugmentWide()
    names = {name.lower(): name for name in transform._AUGMENTATION_SPACE}
    name = names[op.replace("-", "")]
    table = transform._AUGMENTATION_SPACE[name][0](BINS, *x.shape[2:])
    value = 0.0 if table is None else sign * float(table[k])
    result: Tensor = transform._apply_image_or_video_transform(
        x, name, value, transform.interpolation, transform._fill
    )
    return result


def our_op(op: str, x: Tensor, k: int, sign: int) -> Tensor:
    """Return ``x`` (n, C, H, W) after our ``op`` at magnitude number ``k``."""
    ops = torch.full((len(x),), OPS.index(op))
    m = (sign * magnitudes(op)[k]).expand(len(x))
    return Trivial(ops, m, inverse_maps(ops, m, (x.shape[2], x.shape[3]))).apply(x, slice(None))
