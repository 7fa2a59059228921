"""ZiCo: how large and how steady the gradients are over batches (Li et al. 2023, section 3).

    score = sum over layers of  log  sum over weights of  mean |g| / std g

Mean and deviation are over batches; the authors take two, here the two halves of one batch. As in their code the
deviation is that of the signed gradient, and weights without any are left out, and so are layers without such weights.

Notation
    g   dL/dtheta of one batch        theta   weights of convolutions and linear maps
"""

import torch
from torch import Tensor, nn

from estimators.proxy import Unscored, proxies
from estimators.untrained import batch_loss, finite, gradients, prepared, weights


@proxies.register("zico")
def zico(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum of logarithms."""
    if len(images) < 4:
        raise Unscored(
            f"zico compares two halves of a batch, of two images at least; give 4, not {len(images)}"
        )
    network = prepared(network)
    values = weights(network)
    halves = zip(images.chunk(2), labels.chunk(2), strict=True)
    slopes = [gradients(batch_loss(network, x, y), values) for x, y in halves]
    total = 0.0
    for batches in zip(*slopes, strict=True):
        g = torch.stack(batches).double()
        deviation = g.std(0, correction=0)
        moved = deviation > 0
        ratio = (g.abs().mean(0)[moved] / deviation[moved]).sum()
        total += float(ratio.log()) if ratio > 0 else 0.0
    return finite("zico", total)
