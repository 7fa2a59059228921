"""Local search: to the first better neighbour, from the best of some random designs; then from another one.

First improvement with random restarts (Hoos and Stützle 2004); with several objectives an incomparable
neighbour begins a climb of its own, which makes it Pareto local search (Paquete et al. 2004).

A climb is an incumbent and its neighbours in the order of a permutation. Which climbs a trial belongs to follows from
its configuration, so all of the state is a function of what was told. Of many climbs, as fronts begin them, those that
moved last are kept, so that memory does not grow with their neighbours. Trials compare at their first fidelity, which
all have.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from nas.operators import place_of, value_at
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Choice, Configuration, Float, Parameter, Value

STEPS: Final = (0.2, 0.05, 0.0125, 0.003)  # of numbers, either way, in units of the range
KEPT: Final = 256  # climbs, those that moved last
NEIGHBOURS: Final = 3  # PURPOSE of the generator of a neighbourhood


@dataclass(eq=False)
class Climb:
    """``left`` are the neighbours of ``incumbent`` not known to be started; the next one is last.

    ``near`` are the neighbours of all that were incumbents: what is told among them belongs to the climb.
    """

    incumbent: Trial
    left: list[Configuration] = field(default_factory=list)
    near: list[Configuration] = field(default_factory=list)


@strategies.register("local")
class Local(Strategy):
    """``initial`` random designs, then the neighbours of the best; all of them are visited before a random restart."""

    def __init__(self, problem: Problem, *, seed: int = 0, initial: int = 8) -> None:
        if initial < 1:
            raise ValueError(f"local: initial={initial}; needs initial >= 1")
        super().__init__(problem, seed=seed)
        self.initial = initial
        self._climbs: dict[Climb, None] = {}  # in the order of their last moves
        self._losses: list[list[float]] = [[] for _ in problem.objectives]  # all that were told, sorted
        self._near: dict[Configuration, dict[Climb, None]] = {}

    def tell(self, trial: Trial) -> None:
        first = trial.number not in self.trials
        super().tell(trial)
        if not first or trial.failed:
            return
        for column, loss in zip(self._losses, self.problem.losses(trial.metrics), strict=True):
            insort(column, loss)
        rivals = self._near.pop(trial.config, {})  # it is told first only once
        beaten = [climb for climb in rivals if self._better(trial, climb.incumbent)]
        if beaten:  # the climbs that meet in a point go on as one
            for climb in beaten[1:]:
                self._end(climb)
            self._move(beaten[0], trial)
        elif not any(self._better_or_equal(climb.incumbent, trial) for climb in rivals):
            self._move(Climb(trial), trial)

    def _move(self, climb: Climb, trial: Trial) -> None:
        """Make ``trial`` the incumbent of ``climb``."""
        climb.incumbent = trial
        key = np.random.SeedSequence(self.seed, spawn_key=(trial.number, 0, 0, NEIGHBOURS))
        rng = np.random.default_rng(key)
        near = list(dict.fromkeys(self._neighbours(trial.config, rng)))
        climb.left = [near[place] for place in rng.permutation(len(near))]
        climb.near += near
        for config in near:
            self._near.setdefault(config, {})[climb] = None
        self._climbs.pop(climb, None)
        self._climbs[climb] = None
        if len(self._climbs) > KEPT:
            self._end(next(iter(self._climbs)))

    def _end(self, climb: Climb) -> None:
        """Forget ``climb`` and whose neighbours belong to it alone."""
        del self._climbs[climb]
        for config in climb.near:
            rivals = self._near.get(config, {})
            rivals.pop(climb, None)
            if not rivals:
                self._near.pop(config, None)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        if index < self.initial:
            return self.problem.space.sample(rng)
        while open_climbs := [climb for climb in self._climbs if climb.left]:
            left = min(open_climbs, key=self._standing).left
            while left and not self.accepts(left[-1]):  # what is not accepted never will be
                left.pop()
            if left:
                return left[-1]
        return self.problem.space.sample(rng)

    def _standing(self, climb: Climb) -> tuple[float, int, int]:
        """Return the violation, then the sum of ranks among all told: among open climbs it would depend on asks."""
        metrics = climb.incumbent.metrics
        losses = zip(self._losses, self.problem.losses(metrics), strict=True)
        ranks = sum(bisect_left(column, loss) for column, loss in losses)
        return self.problem.violation(metrics), ranks, climb.incumbent.number

    def _better(self, one: Trial, other: Trial) -> bool:
        """Return whether ``one`` dominates ``other`` (constraints first)."""
        return self._better_or_equal(one, other) and not self._better_or_equal(other, one)

    def _better_or_equal(self, one: Trial, other: Trial) -> bool:
        violations = [self.problem.violation(trial.metrics) for trial in (one, other)]
        if violations[0] != violations[1]:
            return violations[0] < violations[1]
        losses = [self.problem.losses(trial.metrics) for trial in (one, other)]
        return all(a <= b for a, b in zip(*losses, strict=True))

    def _neighbours(self, config: Configuration, rng: np.random.Generator) -> Iterator[Configuration]:
        """Yield ``config`` with one parameter changed; what that opens is drawn."""
        space = self.problem.space
        for slot in space.slots:
            if slot.path in config:
                for value in _others(slot.parameter, config[slot.path]):
                    values = {**config, slot.path: value}
                    if all(limit.holds(values) for limit in space.limits):
                        yield space.complete(values, rng)


def _others(parameter: Parameter, value: Value) -> list[Value]:
    """Return the neighbours of ``value``: all other options, or what lies one place or one of ``STEPS`` away."""
    if isinstance(parameter, Choice) and not parameter.ordered:
        return [option for option in parameter.options if option != value or type(option) is not type(value)]
    unit = parameter.unit(value)
    units = [unit + sign * step for step in STEPS for sign in (-1, 1)]
    near = [parameter.value(min(max(there, 0.0), 1.0)) for there in units]
    if not isinstance(parameter, Float):
        at, count = place_of(parameter, value), int(parameter.size)
        near += [value_at(parameter, place) for place in (at - 1, at + 1) if 0 <= place < count]
    return [there for there in dict.fromkeys(near) if there != value]
