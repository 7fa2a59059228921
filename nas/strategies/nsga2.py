"""NSGA-II: elitist non-dominated sorting with crowding (Deb et al. 2002).

Generations are counted in results: the best ``population`` of the parents and of the next ``population`` told become
parents. Until then children are made of the parents there are, so no worker waits for a generation to end.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nas.operators import best_first, polynomial_mutation, simulated_binary_crossover, tournament
from nas.operators.generations import Generation, Population
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration


@strategies.register("nsga2")
class NSGA2(Strategy):
    """Binary tournaments by front and crowding, simulated binary crossover, polynomial mutation of 1 in D parameters.

    What is no number crosses uniformly and is reset. ``crossover`` is the share of children with two parents. Less
    violation of the constraints dominates more; what failed comes last, and a cheaper fidelity after a dearer one. With
    one objective it is an elitist genetic algorithm.
    """

    def __init__(
        self, problem: Problem, *, seed: int = 0, population: int = 40, crossover: float = 0.9
    ) -> None:
        if population < 2 or not 0 <= crossover <= 1:
            raise ValueError(
                f"nsga2: population={population}, crossover={crossover}; "
                "needs population >= 2, crossover in [0, 1]"
            )
        super().__init__(problem, seed=seed)
        self.population, self.crossover = population, crossover
        self.living = Population(problem, population)  # the members best first

    @property
    def parents(self) -> list[Trial]:
        """The living, best first; before the first generation is whole, none."""
        return list(self.living.members.values())

    def generations(self) -> Sequence[Generation]:
        return self.living.log.rows

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self.living.tell(trial)
        if len(self.living.children) == self.population:
            chosen = self._ranked(self.living.all())[: self.population]
            self.living.members = {one.number: one for one in chosen}
            self.living.children = {}

    def _ranked(self, members: Mapping[int, Trial]) -> list[Trial]:
        told = list(members.values())
        return [told[place] for place in best_first(self.problem, told)]

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        space = self.problem.space
        if index < self.population or len(self.living.all()) < 2:
            return space.sample(rng)
        parents = self.parents or self._ranked(self.living.children)
        places = range(len(parents))
        child = parents[tournament(places, 2, rng)].config
        if rng.random() < self.crossover:
            father = parents[tournament(places, 2, rng)].config
            child = simulated_binary_crossover(space, child, father, rng)
        movable = sum(slot.parameter.size > 1 for slot in space.slots if slot.path in child)
        count = int(rng.binomial(movable, 1 / max(movable, 1)))
        return polynomial_mutation(space, child, rng, count=count)
