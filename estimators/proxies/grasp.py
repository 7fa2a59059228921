"""GraSP: how much the flow of the gradient would suffer with each weight gone (Wang et al. 2020, section 4.1; summed
over the network by Abdelfattah et al. 2021, section 3.2).

    score = - sum over weights of (H g) theta

Notation
    theta   weights of convolutions and linear maps     g   dL/dtheta     H   Hessian of L     L   mean cross-entropy
"""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import relu6

from estimators.proxy import Unscored, proxies
from estimators.untrained import batch_loss, gradients, prepared, summed, weights


@proxies.register("grasp")
def grasp(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum; H g is the derivative of half of g's square, so that no Hessian is formed."""
    network = differentiable_twice(prepared(network))
    values = weights(network)
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have no second derivative
        slopes = gradients(batch_loss(network, images, labels), values, differentiable=True)
        square = sum((slope.square().sum() for slope in slopes), torch.zeros(()))
        try:
            products = gradients(square / 2, values)
        except RuntimeError as error:
            if "not implemented" not in str(error):
                raise
            raise Unscored(f"grasp needs second derivatives, and torch has none here ({error})") from None
    return summed("grasp", [-value * product for value, product in zip(values, products, strict=True)])


class Hardsigmoid(nn.Module):
    """The hard sigmoid in terms that torch differentiates twice."""

    def forward(self, x: Tensor) -> Tensor:
        return relu6(x + 3) / 6


def differentiable_twice(network: nn.Module) -> nn.Module:
    """Return ``network`` with its hard sigmoids, whose second derivative torch lacks, exchanged in place."""
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.Hardsigmoid):
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, Hardsigmoid())
    return network
