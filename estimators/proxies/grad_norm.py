"""Gradient norm: how large the loss's gradient is at the start (Abdelfattah et al. 2021, section 3.2).

    score = sum over layers l of || dL/dW_l ||_2

Notation
    W_l   weight of a convolution or linear map        L   mean cross-entropy of the batch
"""

import torch
from torch import Tensor, nn

from estimators.proxy import proxies
from estimators.untrained import batch_loss, gradients, prepared, summed, weights


@proxies.register("grad-norm")
def grad_norm(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum of the norms; 0 or more."""
    network = prepared(network)
    slopes = gradients(batch_loss(network, images, labels), weights(network))
    return summed("grad-norm", [slope.norm() for slope in slopes])
