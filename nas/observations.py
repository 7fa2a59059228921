"""What a model learns from: every finished step of every trial, in the order told.

Notation
    m      steps told
    rung   the steps of one fidelity
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nas.trial import Problem, Trial


@dataclass(frozen=True)
class Observation:
    """A finished step: its trial, log cost, losses (None: it failed), margins, and log seconds per unit of cost.

    ``margins`` say how far each constrained metric is beyond its bound, relative to it: negative inside, NaN unknown.
    """

    trial: int
    cost: float
    losses: tuple[float, ...] | None
    margins: tuple[float, ...]
    rate: float

    @property
    def feasible(self) -> bool:
        """Whether the step succeeded and holds all constraints."""
        return self.losses is not None and not any(margin > 0 for margin in self.margins)


def observe(problem: Problem, trial: Trial) -> Observation | None:
    """Return the newest step of ``trial`` as an observation; None while it has none."""
    step, first = trial.last, trial.steps[0] if trial.steps else None
    if step is None or first is None:
        return None
    metrics = {**trial.free, **step.metrics}
    found = None if step.error is not None else problem.losses(metrics)
    margins = () if found is None else tuple(bound.margin(metrics) for bound in problem.constraints)
    rate = math.log(max(first.seconds, 1e-9) / first.fidelity.cost)
    return Observation(trial.number, math.log(step.fidelity.cost), found, margins, rate)


def losses(seen: Sequence[Observation]) -> np.ndarray:
    """Return (m, objectives): losses, rungs brought to one level, and the worst value of a column where it failed."""
    width = max((len(one.losses) for one in seen if one.losses), default=1)
    table = np.array([one.losses or [np.nan] * width for one in seen], float).reshape(len(seen), width)
    columns = []
    for column in table.T:
        level = levelled(seen, column)
        columns.append(
            np.where(np.isnan(level), np.nanmax(level) if not np.isnan(level).all() else 0.0, level)
        )
    return np.column_stack(columns)


def levelled(seen: Sequence[Observation], values: np.ndarray) -> np.ndarray:
    """Return ``values`` (m,) with the rungs above the first shifted by what their trials gained since the rung below.

    A rung's own median would punish what was promoted. NaN marks failures, and stays.
    """
    rungs = sorted({one.cost for one in seen})
    if len(rungs) < 2:
        return values
    at = {(one.trial, one.cost): float(v) for one, v in zip(seen, values, strict=True) if v == v}
    shift, shifts = 0.0, {rungs[0]: 0.0}
    for below, above in pairwise(rungs):
        gains = [
            v - at[trial, below] for (trial, cost), v in at.items() if cost == above and (trial, below) in at
        ]
        shift += float(np.median(gains)) if gains else 0.0
        shifts[above] = shift
    return values - np.array([shifts[one.cost] for one in seen])


def succeeded(seen: Sequence[Observation]) -> np.ndarray:
    """Return (m,), 1 where a step succeeded and 0 where it failed."""
    return np.array([float(one.losses is not None) for one in seen])


def margins(seen: Sequence[Observation], at: int) -> np.ndarray:
    """Return the margins (m,) of constraint ``at``, both sides made logarithmic beyond their median size."""
    values = np.array([one.margins[at] for one in seen])
    unit = float(np.median(np.abs(values))) or 1.0
    signed: np.ndarray = np.sign(values) * np.log1p(np.abs(values) / unit)
    return signed


def constrained(seen: Sequence[Observation], at: int) -> list[Observation]:
    """Return the steps that succeeded and told the metric of constraint ``at``."""
    return [one for one in seen if one.losses is not None and one.margins[at] == one.margins[at]]


def first_steps(seen: Sequence[Observation]) -> list[Observation]:
    """Return the first step of each trial."""
    return list({one.trial: one for one in reversed(seen)}.values())[::-1]
