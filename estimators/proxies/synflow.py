"""SynFlow: how much flows through a network of the weights' sizes, without data (Tanaka et al. 2020, algorithm 1: one
round of it).

    R     = sum of the outputs for one image of ones, every weight replaced by its absolute value
    score = sum over weights of theta * dR/dtheta

A chain of linear maps scores its depth times 1^T |W_D| ... |W_1| 1. Normalisations are left out, as in Abdelfattah et
al. 2021: they would undo what is measured. Products of many layers leave float32's range, hence float64.

Notation
    theta   weights of convolutions and linear maps        W_l   those of layer l of D
"""

import torch
from torch import Tensor, nn

from estimators.proxy import proxies
from estimators.untrained import gradients, summed, weights, without_norms


@proxies.register("synflow")
def synflow(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum; 0 or more for rectifiers. Of ``images`` only the shape counts, of ``labels`` nothing."""
    network = without_norms(network).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    values = weights(network)
    flow = network(torch.ones_like(images[:1], dtype=torch.float64)).sum()
    slopes = gradients(flow, values)
    return summed("synflow", [value * slope for value, slope in zip(values, slopes, strict=True)])
