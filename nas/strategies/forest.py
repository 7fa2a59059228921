"""Bayesian optimisation with a random forest (SMAC; Hutter et al. 2011), for many choices and many conditions.

Observations are all successful steps, the fidelity one more dimension. Failed and infeasible steps enter as the worst
value seen and through a second forest on success, which multiplies the expected improvement; under a budget of time a
third one predicts seconds, and the improvement is that of a second. The deviation beside a pending trial is lowered by
the share of trees that have both in one leaf.

Notation
    m   steps told        x   (m, D + 1) encoded designs and log costs        y   (m,) squashed losses
"""

from collections.abc import Callable, Sequence

import numpy as np

from nas.hpo.acquisition import log_expected_improvement
from nas.hpo.forest import Forest, fit
from nas.hpo.gp import squash
from nas.maximise import Score, maximise
from nas.observation import Observation, levelled, observe, scalar
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration

ELITES = 6  # of the best predictions, mutated for candidates
KEPT = 8  # forests cached
LEAST_SUCCESS = 0.01


@strategies.register("forest")
class RandomForest(Strategy):
    """The first ``initial`` trials are random; several objectives are joined anew in each ask (ParEGO)."""

    def __init__(self, problem: Problem, *, seed: int = 0, initial: int = 8) -> None:
        if initial < 1:
            raise ValueError(f"forest: initial={initial}; needs initial >= 1")
        super().__init__(problem, seed=seed)
        self.initial = initial
        self._seen: list[Observation] = []
        self._designs: dict[int, np.ndarray] = {}
        self._grown: dict[tuple[int, str], Forest] = {}

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        if trial.steps:
            self._seen.append(observe(self.problem, trial))
            self._designs[trial.number] = self._seen[-1].x

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        space = self.problem.space
        if index < self.initial or len({one.trial for one in self._seen if one.feasible}) < 2:
            return space.sample(rng)
        weights = rng.dirichlet(np.ones(len(self.problem.objectives)))
        model = self._forest(
            np.array2string(weights, precision=6),
            self._seen,
            lambda some: squash(levelled(some, scalar(some, weights))),
        )
        failed = {one.trial for one in self._seen if not one.feasible}
        told = [number for number in self._designs if number not in failed]
        mean, _ = model.predict(self._dearest([self._designs[number] for number in told]))
        best = np.argsort(mean, kind="stable")[:ELITES]
        elites = [self.trials[told[place]].config for place in best]
        score = self._score(model, float(mean.min()), pending)
        return maximise(space, score, elites, self.accepts, rng) or space.sample(rng)

    def _dearest(self, designs: Sequence[np.ndarray]) -> np.ndarray:
        """Return k encoded designs at the dearest fidelity told as rows (k, D + 1)."""
        top = max(one.cost for one in self._seen)
        return np.hstack([np.array(designs), np.full((len(designs), 1), top)])

    def _score(self, model: Forest, incumbent: float, pending: Sequence[Trial]) -> Score:
        """Return the logarithm of the acquisition as a function of configurations."""
        space = self.problem.space
        waiting = self._dearest([space.encode(trial.config) for trial in pending]) if pending else None
        success, seconds = self._success(), self._seconds()

        def score(configs: Sequence[Configuration]) -> np.ndarray:
            points = self._dearest([space.encode(config) for config in configs])
            mean, deviation = model.predict(points)
            if waiting is not None:
                alike = model.proximity(points, waiting).max(axis=1)
                deviation = np.maximum(deviation * np.sqrt(1 - alike), 1e-6)
            value = log_expected_improvement(mean, deviation, incumbent)
            if success is not None:
                value = value + np.log(np.clip(success(points), LEAST_SUCCESS, 1.0))
            return value if seconds is None else value - seconds(points)

        return score

    def _forest(
        self, name: str, seen: Sequence[Observation], target: Callable[[Sequence[Observation]], np.ndarray]
    ) -> Forest:
        """Return the forest on ``target`` of all of ``seen``.

        Its trees are grown on the last count of observations on the grid, and on those alone: whenever that is done,
        after a resume too, it has the same outcome.
        """
        count = grid_point(len(seen))
        if (count, name) not in self._grown:
            for old in list(self._grown)[: -KEPT + 1]:
                del self._grown[old]
            self._grown[count, name] = fit(_rows(seen[:count]), target(seen[:count]), seed=self.seed)
        return self._grown[count, name].given(_rows(seen), target(seen))

    def _success(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the probability of success at points; None when nothing has failed."""
        if all(one.feasible for one in self._seen):
            return None
        model = self._forest(
            "success", self._seen, lambda some: np.array([float(one.feasible) for one in some])
        )
        return lambda points: model.predict(points)[0]

    def _seconds(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the log of the seconds per unit of cost at points; None unless the budget is time."""
        if not self.problem.timed:
            return None
        firsts = list({one.trial: one for one in reversed(self._seen)}.values())[::-1]
        model = self._forest("seconds", firsts, lambda some: np.array([one.rate for one in some]))
        return lambda points: model.predict(points)[0]


def _rows(seen: Sequence[Observation]) -> np.ndarray:
    """Return x (m, D + 1)."""
    return np.hstack([np.array([one.x for one in seen]), np.array([[one.cost] for one in seen])])


def grid_point(m: int) -> int:
    """Return the count of told steps, at most ``m``, that trees are grown on: all, then every tenth part."""
    if m <= 40:
        return m
    step = 5 if m <= 150 else 20
    return m // step * step
