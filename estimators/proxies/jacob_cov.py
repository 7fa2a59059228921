"""Jacobian covariance: how differently a network answers to different images (Mellor et al. 2020, first version of
"Neural Architecture Search without Training", section 3).

    score = - sum over i of  log(v_i + k) + 1 / (v_i + k)

Notation
    J   (n, C H W)   derivative of all summed outputs by each image
    v   (n,)         eigenvalues of the correlations (n, n) between the rows of J        k   1e-5
"""

import torch
from torch import Tensor, nn

from estimators.proxy import proxies
from estimators.untrained import finite, gradients, prepared

K = 1e-5


@proxies.register("jacob-cov")
def jacob_cov(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the score; at most -n. ``labels`` do not count; a network that ignores its images has the lowest."""
    network = prepared(network)
    images = images.detach().clone().requires_grad_(True)
    (jacobian,) = gradients(network(images).sum(), [images])
    rows = jacobian.flatten(1).double()
    rows = rows - rows.mean(1, keepdim=True)
    sizes = rows.norm(dim=1, keepdim=True)
    rows = rows / torch.where(sizes > 0, sizes, 1.0)
    v = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0.0) + K
    return finite("jacob-cov", -(v.log() + 1 / v).sum())
