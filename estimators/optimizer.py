"""The optimizer of a recipe, and its learning rate as a pure function of the step.

Notation
    t   steps behind us (0 at the first)      total   steps of the full training      w   warm-up steps
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from estimators.device import optimizer_kernel
from search_spaces.recipe import SCHEDULES, Recipe


def factor(schedule: str, t: int, total: int, warmup: float = 0.0) -> float:
    """Return the share of the learning rate to use at step ``t``; past ``total``, that of the last step.

    The rate rises linearly during ``warmup``, a share of ``total``, then:
    cosine      to 0 (Loshchilov and Hutter 2017, eq. 5, one period)
    one-cycle   linearly to 1/250,000, having risen from 1/25 (Smith and Topin 2018, section 2)
    step        a tenth after half, a hundredth after three quarters (He et al. 2016, section 4.2)
    wsd         1 until the last fifth, then 1 - sqrt(share of it passed) (Hägele et al. 2024, section 4)
    constant    1
    """
    assert schedule in SCHEDULES, schedule
    t = min(t, total - 1)
    if schedule == "one-cycle":
        return _one_cycle(t, total, warmup)
    w = round(warmup * total)
    if t < w:
        return (t + 1) / w
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (t - w) / (total - w)))
    if schedule == "step":
        return 0.1 ** ((t >= total / 2) + (t >= total * 3 / 4))
    if schedule == "wsd":
        return 1 - math.sqrt(max(0.0, (t - 0.8 * total) / (0.2 * total)))
    return 1.0


def _one_cycle(t: int, total: int, warmup: float) -> float:
    top, low, high, end = warmup * total - 1, 1 / 25, 1.0, 1 / 25 / 1e4
    if t <= top:
        return low + (high - low) * (t / top if top > 0 else 1.0)
    return high + (end - high) * min(1.0, (t - top) / max(total - 1 - top, 1e-12))


def build_optimizer(recipe: Recipe, network: nn.Module) -> Optimizer:
    """Return the optimizer of ``recipe``; biases and norm parameters (one axis or none) are not decayed.

    On CUDA its learning rate is a tensor there, which a recorded graph reads (``set_rate``).
    """
    return optimizer_of(recipe, [parameter for parameter in network.parameters() if parameter.requires_grad])


def optimizer_of(recipe: Recipe, trained: Sequence[Tensor], *, strided: bool = False) -> Optimizer:
    """Return the optimizer of ``recipe`` for the tensors ``trained``; ``strided`` ones may be views of larger tensors.

    torch's fused kernels take a tensor for dense: of a view they would write what lies beside it (torch 2.13, CPU).
    """
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    device = trained[0].device
    kernel: Any = {"foreach": True} if strided else optimizer_kernel(recipe.optimizer, device)
    rate: Any = torch.tensor(recipe.lr, device=device) if device.type == "cuda" and not strided else recipe.lr
    match recipe.optimizer:
        case "sgd":
            momentum = recipe.momentum
            sgd = torch.optim.SGD(
                groups, rate, momentum=momentum, nesterov=recipe.nesterov and momentum > 0, **kernel
            )
            if (
                momentum
            ):  # the fused kernel makes them unwritten, and a first step that overflows leaves them so
                sgd.state.update((p, {"momentum_buffer": torch.zeros_like(p)}) for p in trained)
            return sgd
        case "adam":
            return torch.optim.Adam(groups, rate, betas=recipe.betas, **kernel)
        case "adamw":
            return torch.optim.AdamW(groups, rate, betas=recipe.betas, **kernel)
        case "rmsprop":
            return torch.optim.RMSprop(groups, rate, alpha=recipe.alpha, momentum=recipe.momentum, **kernel)
    raise ValueError(f"recipe: optimizer {recipe.optimizer!r} is not one of sgd, adam, adamw, rmsprop")


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all groups; of a tensor the value, in its place."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimizer_state(optimizer: Optimizer, network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the optimizer's tensors, named ``PARAMETER.KEY``; references, not copies."""
    return {
        f"{name}.{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def restore_optimizer(optimizer: Optimizer, network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put back what ``optimizer_state`` returned, each tensor in the memory layout of its parameter."""
    parameters = dict(network.named_parameters())
    for path, value in state.items():
        name, key = path.rsplit(".", 1)
        like = parameters[name]
        if key == "step":  # a counter: beside the parameter for a fused kernel or a graph, else on the CPU
            beside = optimizer.defaults.get("fused") or optimizer.defaults.get("capturable")
            value = value.to(like.device if beside else "cpu", copy=True)
        else:
            value = torch.empty_like(like).copy_(value)
        optimizer.state[like][key] = value
