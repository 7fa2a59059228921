"""PriorBand (Mallik et al. 2023): Hyperband whose designs are random, the user's guess, or near the best so far.

How much of each depends on the rung at which a design starts, since a dear one is no place for a wild guess, and, once
there is something to judge by, on whether the best trials lie where the prior says or around the incumbent. Without
priors the guess is the space's default. The strategy underneath proposes the first design, and where draws find
nothing.

Notation
    incumbent   the best trial on the top rung
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from estimators.estimator import Fidelity
from nas import prior
from nas.brackets import Stages, checked_eta, cycle
from nas.ensemble import Draw, drawn, favour, mutant, priors_at, shares
from nas.rounds import Bracketed
from nas.scheduler import Done, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial
from nas.waiting import Waiting

ENSEMBLE: Final = 22  # PURPOSE of the generator of designs


@schedulers.register("priorband")
class PriorBand(Bracketed):
    """Brackets as in ``hyperband``, with designs of three sources.

    Rungs that are shown to rank nothing are left out (``nas.rounds``); with ``doubt=False`` never, as in the paper. The
    shares of the sources are those of the rung at which a design does start.
    """

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        eta: int = 3,
        sizes: str = "li",
        doubt: bool = True,
    ) -> None:
        self.eta, problem = checked_eta("priorband", eta), strategy.problem
        super().__init__(strategy, ladder, partial(cycle, eta=eta, sizes=sizes), doubt=doubt)
        self.standing = Waiting(problem, self.ladder)
        self.priors = problem.priors or priors_at(problem.space.default(), {})
        self._first_bracket = _cost(self.rounds.cycle[0], self.ladder)
        self._spent = 0.0  # in the units of ``Fidelity.cost``
        self._believed: dict[tuple[int, int], float] = {}  # log densities by centre (-1 the prior) and trial

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self.standing.tell(trial)
        before = max((step.fidelity.cost for step in trial.steps[:-1]), default=0.0)
        self._spent += trial.steps[-1].fidelity.cost - before

    def begin(self, trials: Mapping[int, Trial], pending: Sequence[int], rung: int) -> Start | Done:
        if not trials:
            return self.start(trials, pending, self.ladder[rung])
        key = np.random.SeedSequence(self.strategy.seed, spawn_key=(len(trials) + self.lost, 0, 0, ENSEMBLE))
        rng = np.random.default_rng(key)
        incumbent, trust = self._incumbent(trials)
        source = int(rng.choice(3, p=shares(rung, self.eta, trust)))
        name, draw = self._sources(incumbent)[source]
        start = drawn(self.strategy, draw, rng, self.ladder[rung], name)
        return self.start(trials, pending, self.ladder[rung]) if start is None else start

    def _sources(self, incumbent: Trial | None) -> list[tuple[str, Draw]]:
        space = self.strategy.problem.space
        sources: list[tuple[str, Draw]] = [
            ("random", space.sample),
            ("prior", lambda rng: prior.draw(space, self.priors, rng)),
        ]
        if incumbent is not None:
            sources.append(("incumbent", lambda rng: mutant(space, incumbent.config, rng)))
        return sources

    def _incumbent(self, trials: Mapping[int, Trial]) -> tuple[Trial | None, float | None]:
        """Return the incumbent and its part of trust, once the first bracket's cost is spent (section 4.3)."""
        rungs = self.standing.rungs
        best = rungs[-1].best(1)
        judged = next((rung for rung in reversed(rungs) if rung.size >= self.eta), None)
        if self._spent < self._first_bracket or not best or judged is None:
            return None, None
        top = judged.best(judged.size // self.eta)
        incumbent = trials[best[0]]
        centre = priors_at(incumbent.config, self.priors)
        by_prior = [self._density(-1, self.priors, trials[number]) for number in top]
        by_incumbent = [self._density(incumbent.number, centre, trials[number]) for number in top]
        return incumbent, favour(by_prior, by_incumbent)

    def _density(self, centre: int, priors: Mapping[str, prior.Prior], trial: Trial) -> float:
        key = centre, trial.number
        if key not in self._believed:
            space = self.strategy.problem.space
            self._believed[key] = prior.log_density(space, priors, trial.config)
        return self._believed[key]


def _cost(stages: Stages, ladder: Sequence[Fidelity]) -> float:
    """Return what a bracket costs where every training goes on from the round before."""
    costs = [0.0, *(ladder[one.rung].cost for one in stages)]
    return sum(
        one.designs * (cost - before) for one, cost, before in zip(stages, costs[1:], costs, strict=False)
    )
