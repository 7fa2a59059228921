"""The learning rates that a design learns at: the range test of Smith (2017, section 3.3), with an exponential sweep.

The rate rises by a constant factor from each step to the next, over random batches, and the loss is watched: it begins
to fall at the lowest useful rate, falls fastest at some rate above, and bursts beyond the highest. A one-cycle schedule
may peak near the highest, a constant rate should stay near the steepest.

Notation
    t       steps taken            l_t     loss of step t, before that step            s_t    l smoothed
"""

import math
from dataclasses import dataclass, replace
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

import torch

from estimators.batches import epoch_batches
from estimators.device import kernels, own_stream
from estimators.loop import Training
from estimators.resident import Resident
from search_spaces.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.architecture import Design

FIRST, LAST, STEPS = 1e-6, 10.0, 100
DECAY = 0.9  # of the smoothed loss, without the bias of its start (Kingma and Ba 2015, section 3)
BURST = 2.0  # a smoothed loss of so many times the least one, and above the first, is divergence
LEARNS = 0.05  # share of the whole fall of the loss that the lowest rate has to reach, and of the first loss to fall
STILL = 20  # steps at rates too low to learn: the level that the loss begins at


@dataclass(frozen=True)
class Rates:
    """Rates by what they do: from ``lowest`` on the loss falls, at ``steepest`` fastest, beyond ``highest`` it rises.

    ``losses`` are those of the sweep, smoothed, by rate; it ends where the loss bursts.
    """

    lowest: float
    steepest: float
    highest: float
    losses: tuple[tuple[float, float], ...]


def lr_range(
    design: "Design",
    data: Resident,
    *,
    seed: int = 0,
    optimizer: str | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Rates:
    """Sweep the learning rate of ``design`` with its recipe on ``data``; the same rates for the same ``seed`` on a CPU.

    ``optimizer`` takes the place of the recipe's, with that one's neutral settings. A ``ValueError`` says that the loss
    fell at no rate.
    """
    device = device or torch.device("cpu")
    recipe = replace(Recipe.parse(design.recipe), lr=1.0, ema=None)
    if optimizer is not None and optimizer != recipe.optimizer:
        recipe = _neutral(recipe, optimizer)
    training = Training(
        design.network(seed), recipe, data.standardise.of_kind(recipe.normalize), device=device, dtype=dtype
    )
    return read_off(_sweep(training, data, seed))


def _neutral(recipe: Recipe, optimizer: str) -> Recipe:
    momentum = 0.9 if optimizer == "sgd" else 0.0
    return replace(recipe, optimizer=optimizer, momentum=momentum, nesterov=False, weight_decay=0.0)


def _sweep(training: Training, data: Resident, seed: int) -> list[tuple[float, float]]:
    """Return (rate, loss before the step at it) of the sweep, up to the first loss that has burst."""
    growth = (LAST / FIRST) ** (1 / (STEPS - 1))
    members, device = torch.arange(len(data.train)), training.device
    rows: list[tuple[float, float]] = []
    training.network.train()
    with torch.random.fork_rng(devices=[]), kernels(exact=False), own_stream(device):
        torch.manual_seed(seed)
        if training.recipe.balance:
            training.weigh(data.train, members)
        for epoch in count(seed):
            for z, labels in epoch_batches(
                data.train, members, training.recipe, training.standardise, epoch, device=device
            ):
                rate = FIRST * growth ** len(rows)
                rows.append((rate, training.step(z, labels, rate).item()))
                if len(rows) == STEPS or _burst([loss for _, loss in rows]):
                    return rows
    raise AssertionError("count does not end")


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponential mean of ``losses`` up to each of them, without the bias of its start."""
    means, mean = [], 0.0
    for t, loss in enumerate(losses, 1):
        mean = DECAY * mean + (1 - DECAY) * loss
        means.append(mean / (1 - DECAY**t))
    return means


def _burst(losses: list[float]) -> bool:
    means = smoothed(losses)
    return not math.isfinite(losses[-1]) or means[-1] > BURST * max(min(means), 0.5 * means[0])


def read_off(rows: list[tuple[float, float]]) -> Rates:
    """Return the rates that a sweep of (rate, loss) shows; a ``ValueError`` where the loss never fell.

    The slope is that of the smoothed loss over the logarithm of the rate, across two steps on each side.
    """
    finite = [(rate, loss) for rate, loss in rows if math.isfinite(loss)]
    rates, means = [rate for rate, _ in finite], smoothed([loss for _, loss in finite])
    first = median(means[:STILL])
    least = min(range(len(means)), key=means.__getitem__)
    fall = first - means[least]
    if fall <= LEARNS * first:
        raise ValueError(
            f"the loss fell from {first:.3g} to no less than {means[least]:.3g} at any rate from "
            f"{FIRST:g} to {LAST:g}; train on more images, or see whether the labels belong to them"
        )
    idle = [at for at in range(least) if first - means[at] < LEARNS * fall]
    lowest = max(idle, default=-1) + 1
    slopes = {
        at: means[at + 2] - means[at - 2] for at in range(max(lowest, 2), min(least, len(means) - 3) + 1)
    }
    steepest = min(slopes, key=slopes.__getitem__) if slopes else least
    curve = tuple(zip(rates, means, strict=True))
    return Rates(rates[lowest], rates[steepest], rates[least], curve)
