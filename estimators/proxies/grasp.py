"""GraSP: how much the flow of the gradient would suffer with each weight gone (Wang et al. 2020, section 4.1; summed
over the network by Abdelfattah et al. 2021, section 3.2).

    score = - sum over weights of (H g) theta

Notation
    theta   weights of convolutions and linear maps     g   dL/dtheta     H   Hessian of L     L   mean cross-entropy
"""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from estimators.proxy import proxies
from estimators.untrained import batch_loss, gradients, prepared, summed, weights


@proxies.register("grasp")
def grasp(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum; H g is the derivative of half of g's square, so that no Hessian is formed."""
    network = prepared(network)
    values = weights(network)
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have no second derivative
        slopes = gradients(batch_loss(network, images, labels), values, differentiable=True)
        products = gradients(sum((slope.square().sum() for slope in slopes), torch.zeros(())) / 2, values)
    return summed("grasp", [-value * product for value, product in zip(values, products, strict=True)])
