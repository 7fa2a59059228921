"""Zen-score: how far a network of Gaussian weights takes images that were close (Lin et al. 2021, algorithm 1).

    score = log E || f(x) - f(x + alpha e) ||  +  sum over batch norms of  log sqrt(mean of their variances)

The second part gives back what batch norm divides by. The authors take residual links out of f before; here they stay,
since a graph need not say which of its paths is the link.

Notation
    f       the network up to its global pooling, or to its last linear map where it has none
    x, e    standard normal, of the images' shape        alpha   0.01        weights   standard normal
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from estimators.proxy import Unscored, proxies
from estimators.untrained import WEIGHTED, finite, layers, prepared, watched

ALPHA = 0.01


@proxies.register("zen-score")
@torch.no_grad()
def zen_score(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the score. Of ``images`` only shape and device count, of ``labels`` nothing."""
    network = prepared(network)
    for layer in layers(network):
        weight = layer.get_parameter("weight")
        weight.copy_(torch.randn(weight.shape, generator=generator))
    x = torch.randn(images.shape, generator=generator)
    nearby = x + ALPHA * torch.randn(images.shape, generator=generator)
    scales: list[Tensor] = []
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    with watched(norms, lambda before, _: scales.append(_log_scale(before))):
        first = _features(network, x.to(images))
    distance = (first - _features(network, nearby.to(images))).flatten(1).abs().sum(1).mean()
    if not distance > 0:
        raise Unscored(
            "zen-score of this network is minus infinity: what it puts out does not depend on the images"
        )
    return finite("zen-score", distance.double().log() + sum(scales))


def _features(network: nn.Module, x: Tensor) -> Tensor:
    kept: list[Tensor] = []
    modules = [
        module for module in network.modules() if isinstance(module, (nn.AdaptiveAvgPool2d, *WEIGHTED))
    ]
    convolutions = [place for place, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    last = max(convolutions, default=-1)  # a pool before it belongs to a gate
    pools = [module for module in modules[last + 1 :] if isinstance(module, nn.AdaptiveAvgPool2d)]
    with watched(pools[:1] or layers(network)[-1:], lambda before, _: kept.append(before)):
        network(x)
    return kept[-1]


def _log_scale(x: Tensor) -> Tensor:
    """Return the logarithm of the root of the variance that a batch norm divides ``x`` by, averaged over channels."""
    variance = x.transpose(0, 1).flatten(1).double().var(1, correction=0)
    return variance.mean().clamp(min=torch.finfo(torch.float64).tiny).log() / 2
