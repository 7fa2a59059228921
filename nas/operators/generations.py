"""The log of an evolution: how good and how unlike its members are, generation by generation.

Notation
    n   members of a generation, in the order of their first telling
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.trial import Problem, Trial
from search_spaces.space import Choice, Configuration, Slot, Space


@dataclass(frozen=True)
class Generation:
    """``min``, ``mean`` and ``max`` of the first objective over the members that did not fail (NaN if all did).

    ``diversity`` is as in ``diversity``, over all members. ``generation`` counts from 0.
    """

    generation: int
    min: float
    mean: float
    max: float
    diversity: float


class Generations:
    """Trials in the order of their first telling, cut into generations of ``size``; only whole ones have a row."""

    def __init__(self, problem: Problem, size: int) -> None:
        self.problem, self.size = problem, size
        self.rows: list[Generation] = []
        self._open: list[Trial] = []

    def add(self, trial: Trial) -> None:
        """Take note of a trial at its first telling."""
        self._open.append(trial)
        if len(self._open) == self.size:
            self.rows.append(self._row())
            self._open = []

    def _row(self) -> Generation:
        name = self.problem.objectives[0].name
        values = np.array([trial.metrics[name] for trial in self._open if not trial.failed])
        lowest, mean, highest = (
            (values.min(), values.mean(), values.max()) if len(values) else (np.nan, np.nan, np.nan)
        )
        spread = diversity(self.problem.space, [trial.config for trial in self._open])
        return Generation(len(self.rows), float(lowest), float(mean), float(highest), spread)


class Population:
    """The living and the children that were told since selection, by number, with the log of their generations.

    Who of them lives on is the algorithm's to say: it sets ``members`` and empties ``children``.
    """

    def __init__(self, problem: Problem, size: int) -> None:
        self.log = Generations(problem, size)
        self.members: dict[int, Trial] = {}
        self.children: dict[int, Trial] = {}  # in the order of their first telling
        self._told: set[int] = set()

    def tell(self, trial: Trial) -> bool:
        """Take note of the newest version of ``trial``; return whether it is the first one, which makes it a child."""
        first = trial.number not in self._told
        if first:
            self._told.add(trial.number)
            self.log.add(trial)
        if first or trial.number in self.children:
            self.children[trial.number] = trial
        elif trial.number in self.members:
            self.members[trial.number] = trial
        return first

    def all(self) -> dict[int, Trial]:
        """Return the living, then the children."""
        return {**self.members, **self.children}


def diversity(space: Space, configs: Sequence[Configuration]) -> float:
    """Return the mean distance of two of ``configs`` (n,), averaged over all parameters: 0 if all are equal.

    Distances are Gower's (1971): of numbers and ordered choices the gap in the unit interval, of other choices 0 or 1;
    a parameter that is active in one of the two only counts 1. Costs n log n per parameter.
    """
    pairs = len(configs) * (len(configs) - 1) / 2
    if not pairs:
        return 0.0
    return float(np.mean([_apart(slot, configs) / pairs for slot in space.slots]))


def _apart(slot: Slot, configs: Sequence[Configuration]) -> float:
    """Return the sum of the distances in one parameter over all pairs."""
    parameter = slot.parameter
    units = np.sort([parameter.unit(config[slot.path]) for config in configs if slot.path in config])
    active = len(units)
    mixed = active * (len(configs) - active)
    if isinstance(parameter, Choice) and not parameter.ordered:
        _, counts = np.unique(units, return_counts=True)
        return mixed + (active**2 - float((counts**2).sum())) / 2
    below = np.arange(1, active)
    pairs = below * below[::-1]  # that a gap between neighbours is part of
    return mixed + float((np.diff(units) * pairs).sum())
