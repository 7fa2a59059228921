"""What a surrogate learns from: every finished step as a design at a fidelity, with its losses, or as a failure.

Notation
    m   steps told        D   length of an encoded design        y   (m,) one loss per step, less is better
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nas.trial import Problem, Trial

RHO = 0.05  # weight of the sum in ParEGO's augmented Tchebycheff norm (Knowles 2006, eq. 2)


@dataclass(frozen=True)
class Observation:
    """A finished step: the trial's encoded design (D,), log cost, losses (None: failed), feasibility, and speed."""

    trial: int
    x: np.ndarray
    cost: float
    losses: tuple[float, ...] | None
    feasible: bool
    rate: float  # log of the seconds that the trial's first step took for one unit of cost


def observe(problem: Problem, trial: Trial) -> Observation:
    """Return the newest finished step of ``trial``, which has one."""
    step, first = trial.last, trial.steps[0]
    assert step is not None
    metrics = {**trial.free, **step.metrics}
    losses = None if step.error is not None else problem.losses(metrics)
    feasible = losses is not None and not problem.violation(metrics)
    rate = math.log(max(first.seconds, 1e-9) / first.fidelity.cost)
    x = problem.space.encode(trial.config)
    return Observation(trial.number, x, math.log(step.fidelity.cost), losses, feasible, rate)


def scalar(seen: Sequence[Observation], weights: np.ndarray) -> np.ndarray:
    """Return y: the objective, or the augmented Tchebycheff norm of all by ``weights``; failures have the worst."""
    table = np.array([one.losses if one.feasible else [np.nan] * len(weights) for one in seen], float)
    if np.isnan(table).all():
        return np.zeros(len(seen))
    if len(weights) > 1:
        low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
        scaled = weights * (table - low) / np.where(high > low, high - low, 1.0)
        table = (scaled.max(axis=1) + RHO * scaled.sum(axis=1))[:, None]
    values: np.ndarray = table[:, 0]
    return np.where(np.isnan(values), np.nanmax(values), values)


def levelled(seen: Sequence[Observation], y: np.ndarray) -> np.ndarray:
    """Return ``y`` with the rungs above the first shifted by what their trials gained since the rung below.

    A rung's own median would punish the trials that were promoted to it, which are the better ones.
    """
    rungs = sorted({one.cost for one in seen})
    at = {(one.trial, one.cost): float(v) for one, v in zip(seen, y, strict=True) if one.feasible}
    shift, shifts = 0.0, {rungs[0]: 0.0}
    for below, above in pairwise(rungs):
        gains = [
            value - at[trial, below]
            for (trial, cost), value in at.items()
            if cost == above and (trial, below) in at
        ]
        shift += float(np.median(gains)) if gains else 0.0
        shifts[above] = shift
    return y - np.array([shifts[one.cost] if one.feasible else 0.0 for one in seen])
