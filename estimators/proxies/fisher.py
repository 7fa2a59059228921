"""Fisher: how much the loss would change with each channel gone (Turner et al. 2020, section 3; summed over the
network by Abdelfattah et al. 2021, section 3.2).

    score = sum over layers and their channels c of  1 / (2 n) sum over images i of (sum over pixels of a g)^2

Notation
    a   (n, channels, ...) output of a convolution or linear map        g   dL/da        L   mean cross-entropy
"""

import torch
from torch import Tensor, nn

from estimators.proxy import proxies
from estimators.untrained import batch_loss, finite, gradients, layers, prepared, watched


@proxies.register("fisher")
def fisher(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum over all channels; 0 or more. The features of tokens are channels, the tokens pixels."""
    network = prepared(network)
    outputs: list[Tensor] = []
    with watched(layers(network), lambda _, out: outputs.append(out)):
        loss = batch_loss(network, images, labels)
    total = torch.zeros((), dtype=torch.float64)
    for out, slope in zip(outputs, gradients(loss, outputs), strict=True):
        product = (out.detach() * slope).double()
        channels = (
            product.sum(1)
            if product.ndim == 3
            else product.flatten(2).sum(2)
            if product.ndim > 2
            else product
        )
        total += channels.square().mean(0).sum().cpu() / 2
    return finite("fisher", total)
