"""NASWOT: into how many linear regions a network puts the images of a batch (Mellor et al. 2021, section 3).

    K     = sum over rectifiers of  C C^T + (1 - C)(1 - C)^T        number of units on which two images agree
    score = log |det K|

A smooth activation is read as the rectifier that it rounds off: a unit is on where its input is above zero.

Notation
    C   (n, units) 0 or 1, whether a unit is on        K   (n, n)
"""

import torch
from torch import Tensor, nn

from estimators.proxy import Unscored, proxies
from estimators.untrained import finite, prepared, watched

RECTIFIERS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.Mish,
    nn.Softplus,
    nn.Tanh,
)
LEAST = 1e-5  # of an eigenvalue: images that no unit tells apart make K singular


@proxies.register("naswot")
@torch.no_grad()
def naswot(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return log |det K|, eigenvalues below 1e-5 taken for that; ``labels`` do not count."""
    network = prepared(network)
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def agree(x: Tensor, out: Tensor) -> None:
        on = (x > 0).flatten(1).float()
        off = 1 - on
        kernel.add_((on @ on.T + off @ off.T).cpu())

    rectifiers = [module for module in network.modules() if isinstance(module, RECTIFIERS)]
    if not rectifiers:
        raise Unscored("naswot finds no rectifier among the modules; write nn.ReLU() in place of torch.relu")
    with watched(rectifiers, agree):
        network(images)
    return finite("naswot", torch.linalg.eigvalsh(kernel).clamp(min=LEAST).log().sum())
