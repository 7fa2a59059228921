"""Untrained networks made ready for a proxy: a copy in the right mode, its weighted layers, gradients.

Notation
    x   (n, C, H, W) float32 images        y   (n,) int64 labels        L   mean cross-entropy of the batch
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from estimators.proxy import Unscored

NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def prepared(network: nn.Module) -> nn.Module:
    """Return a copy to differentiate: batch norm by the batch's statistics, no dropout, nothing done in place."""
    network = copy.deepcopy(network).requires_grad_(True)
    for module in network.modules():
        module.training = isinstance(module, _BatchNorm)
        if getattr(module, "inplace", False):  # it would overwrite what a hook has kept
            module.inplace = False  # type: ignore[assignment]
    network.zero_grad(set_to_none=True)
    return network


def without_norms(network: nn.Module) -> nn.Module:
    """Return a prepared copy whose normalisations hand on what they are given."""
    network = prepared(network)
    for path, module in list(network.named_modules()):
        if isinstance(module, NORMS):
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, nn.Identity())
    return network


def layers(network: nn.Module) -> list[nn.Module]:
    """Return the convolutions and linear maps in order: what the proxies sum over (Abdelfattah et al. 2021)."""
    found: list[nn.Module] = [module for module in network.modules() if isinstance(module, WEIGHTED)]
    if not found:
        raise Unscored("the network has no convolution and no linear map; a proxy needs weights to look at")
    return found


def weights(network: nn.Module) -> list[Tensor]:
    """Return the weights of ``layers``, biases left out."""
    return [layer.get_parameter("weight") for layer in layers(network)]


def batch_loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return L."""
    return cross_entropy(network(images), labels)


def gradients(value: Tensor, tensors: Sequence[Tensor], *, differentiable: bool = False) -> list[Tensor]:
    """Return the derivatives of the scalar ``value``, zero where it does not depend on a tensor."""
    found = torch.autograd.grad(value, tensors, create_graph=differentiable, allow_unused=True)
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(tensors, found, strict=True)
    ]


@contextmanager
def watched(modules: Sequence[nn.Module], note: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Call ``note(input, output)`` at every forward pass of one of ``modules``."""
    hooks = [module.register_forward_hook(lambda _, x, out: note(x[0], out)) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def summed(name: str, parts: Iterable[Tensor]) -> float:
    """Return the sum of all values of ``parts``, in float64; ``Unscored`` as in ``finite``."""
    return finite(name, sum(float(part.detach().double().sum()) for part in parts))


def finite(name: str, value: float | Tensor) -> float:
    """Return ``value`` as a float, or raise ``Unscored`` by the ``name`` of the proxy."""
    number = float(value)
    if not math.isfinite(number):
        raise Unscored(
            f"{name} of this network is {number}; its activations or gradients leave the range of floats"
        )
    return number
