"""Evolution: regularised, where the oldest member dies (Real et al. 2019, algorithm 1), or (mu + lambda).

With crossover beside mutation, and with designs that are never started twice. The population is a function of what was
told and is kept up in ``tell``, so that an ask costs the same at any number of trials.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from nas.operators import CROSSOVERS, MUTATIONS, Crossover, Mutation, tournament
from nas.operators.generations import Generation, Population
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.registry import nearest
from search_spaces.space import Configuration

SURVIVALS: Final = ("age", "best")


@strategies.register("evolution")
class Evolution(Strategy):
    """``population`` members, parents by tournaments of ``sample``, mutation in 1 + Poisson(``extra``) parameters.

    ``operators`` are names of mutations and crossovers; a child's are drawn among them with equal chance. A share
    ``crossover`` of the children has two parents. ``survival`` is "age": the last ``population`` told live; or "best":
    whenever ``offspring`` more were told, the best ``population`` of them and the living live, (mu + lambda).
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
        operators: Sequence[str] = ("step", "two-point", "uniform"),
        survival: str = "age",
        offspring: int = 1,
    ) -> None:
        if population < 2 or not 1 <= sample <= population or not 0 <= crossover <= 1 or extra < 0:
            raise ValueError(
                f"evolution: population={population}, sample={sample}, crossover={crossover}, extra={extra}; "
                "needs population >= 2, 1 <= sample <= population, crossover in [0, 1], extra >= 0"
            )
        if survival not in SURVIVALS:
            raise ValueError(f"evolution: no survival {survival!r}; {nearest(survival, list(SURVIVALS))}")
        if offspring < 1:
            raise ValueError(f"evolution: offspring={offspring}; needs offspring >= 1")
        self._mutations, self._crossovers = _named(operators)
        super().__init__(problem, seed=seed)
        self.population, self.sample, self.crossover, self.extra = population, sample, crossover, extra
        self.survival, self.offspring = survival, offspring
        self.living = Population(problem, population)  # in the order of their first telling
        self._ranked: tuple[list[Trial], list[float]] | None = None

    def generations(self) -> Sequence[Generation]:
        return self.living.log.rows

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        first = self.living.tell(trial)
        due = 1 if self.survival == "age" else self.offspring
        if first and (len(self.living.children) >= due or len(self.living.members) < self.population):
            self._select()
        self._ranked = None

    def _select(self) -> None:
        members = self.living.all()
        self.living.children = {}
        if self.survival == "age":
            kept = set(list(members)[-self.population :])
        else:
            ranks = self._ranks(list(members.values()))
            order = sorted(zip(ranks, members, strict=True))
            kept = {number for _, number in order[: self.population]}
        self.living.members = {number: trial for number, trial in members.items() if number in kept}

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        space = self.problem.space
        if index < self.population // 2 or len(self.living.members) < 2:
            return space.sample(rng)
        if self._ranked is None:
            told = list(self.living.members.values())
            self._ranked = told, self._ranks(told)
        members, ranks = self._ranked
        parent = members[tournament(ranks, self.sample, rng)].config
        if self._crossovers and rng.random() < self.crossover:
            other = members[tournament(ranks, self.sample, rng)].config
            child = self._crossovers[rng.integers(len(self._crossovers))](space, parent, other, rng)
            if child not in (parent, other):
                return child
        mutation = self._mutations[rng.integers(len(self._mutations))]
        return mutation(space, parent, rng, count=1 + int(rng.poisson(self.extra)))

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


def _named(operators: Sequence[str]) -> tuple[list[Mutation], list[Crossover]]:
    """Sort the names of operators into mutations and crossovers."""
    known = [*MUTATIONS, *CROSSOVERS]
    names = [operators] if isinstance(operators, str) else list(operators)
    for name in names:
        if name not in known:
            raise ValueError(f"evolution: no operator {name!r}; {nearest(name, known)}")
    mutations = [MUTATIONS[name] for name in names if name in MUTATIONS]
    if not mutations:
        raise ValueError(
            f"evolution: operators={operators!r}; give a list with a mutation at least, one of {list(MUTATIONS)}"
        )
    return mutations, [CROSSOVERS[name] for name in names if name in CROSSOVERS]
