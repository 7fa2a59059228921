"""Regularised evolution: the oldest member dies, not the worst (Real et al. 2019, algorithm 1).

With crossover beside mutation, and with designs that are never started twice. The population is a function of what
was told: the last ``population`` trials in the order of their first telling.
"""

from collections.abc import Sequence

import numpy as np

from nas.operators import mutate, tournament, two_point_crossover, uniform_crossover
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration


@strategies.register("evolution")
class Evolution(Strategy):
    """``population`` members, parents by tournaments of ``sample``, mutation in 1 + Poisson(``extra``) parameters.

    A share ``crossover`` of the children has two parents, joined at two points or uniformly with equal chance.
    Members compare by ``Problem.ranks`` among those of their fidelity; failed ones come last.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        population: int = 40,
        sample: int = 8,
        crossover: float = 0.3,
        extra: float = 0.7,
    ) -> None:
        if population < 2 or not 1 <= sample <= population or not 0 <= crossover <= 1 or extra < 0:
            raise ValueError(
                f"evolution: population={population}, sample={sample}, crossover={crossover}, extra={extra}; "
                "needs population >= 2, 1 <= sample <= population, crossover in [0, 1], extra >= 0"
            )
        super().__init__(problem, seed=seed)
        self.population, self.sample, self.crossover, self.extra = population, sample, crossover, extra

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        space = self.problem.space
        if index < self.population // 2:
            return space.sample(rng)
        members = [trial for trial in self.trials.values() if trial.steps][-self.population :]
        if len(members) < 2:
            return space.sample(rng)
        ranks = self._ranks(members)
        parent = members[tournament(ranks, self.sample, rng)].config
        if rng.random() < self.crossover:
            other = members[tournament(ranks, self.sample, rng)].config
            cross = two_point_crossover if rng.random() < 0.5 else uniform_crossover
            child = cross(space, parent, other, rng)
            if child not in (parent, other):
                return child
        return mutate(space, parent, rng, count=1 + int(rng.poisson(self.extra)))

    def _ranks(self, members: Sequence[Trial]) -> list[float]:
        """Rank members in [0, 1) within the fidelity they reached, plus 1 for each dearer fidelity others reached."""
        ranks = [float("inf")] * len(members)
        rungs: dict[float, list[int]] = {}
        for place, trial in enumerate(members):
            if trial.last is not None and not trial.failed:
                rungs.setdefault(trial.last.fidelity.cost, []).append(place)
        for below, cost in enumerate(sorted(rungs, reverse=True)):
            order = self.problem.ranks([members[place].metrics for place in rungs[cost]])
            for place, rank in zip(rungs[cost], order, strict=True):
                ranks[place] = below + rank / len(order)
        return ranks
