"""SNIP: how much the loss would change with each weight gone (Lee et al. 2019, section 4, without its scale; summed
over the network by Abdelfattah et al. 2021, section 3.2).

    score = sum over weights of | theta * dL/dtheta |

Notation
    theta   a weight of a convolution or linear map        L   mean cross-entropy of the batch
"""

import torch
from torch import Tensor, nn

from estimators.proxy import proxies
from estimators.untrained import batch_loss, gradients, prepared, summed, weights


@proxies.register("snip")
def snip(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum of the sensitivities; 0 or more."""
    network = prepared(network)
    values = weights(network)
    slopes = gradients(batch_loss(network, images, labels), values)
    return summed("snip", [(value * slope).abs() for value, slope in zip(values, slopes, strict=True)])
