"""Bayesian optimisation with random forests (SMAC; Hutter et al. 2011): for many choices and many conditions.

Observations are all finished steps, the fidelity one more dimension (see ``nas.observations``). To the logarithm of the
expected improvement are added those of the probability of success, of the probability that each constraint holds, and,
under a budget of time, minus that of the seconds. The deviation beside a pending trial is lowered by the share of trees
that have both in one leaf.

Notation
    m      steps told          rows   (n, S) designs, see ``nas.rows``        x   (n, D) designs at a fidelity
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np

from nas.encoder import encoded
from nas.hpo.acquisition import log_expected_improvement, log_probability_below_zero, tchebycheff
from nas.hpo.forest import Forest, fit
from nas.hpo.gp import squash
from nas.maximise import Score, candidates, climbed
from nas.models import grid_point
from nas.observations import Observation, constrained, first_steps, losses, margins, observe, succeeded
from nas.rows import Rows
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration

ELITES = 6  # designs with the best predictions, whose children are candidates
ACCEPTED = 200  # candidates, the best ones, of which the first new and feasible one is taken
LEAST_SUCCESS, LEAST_DEVIATION = 0.01, 1e-6  # below which nothing is told apart

Target = Callable[[Sequence[Observation]], np.ndarray]
Weight = Callable[[np.ndarray], np.ndarray]  # x (n, D) to (n,), added to the logarithm of the improvement


@strategies.register("forest")
class RandomForest(Strategy):
    """The first ``initial`` designs are random; several objectives are joined anew in each ask (ParEGO)."""

    def __init__(self, problem: Problem, *, seed: int = 0, initial: int = 8) -> None:
        if initial < 1:
            raise ValueError(f"forest: initial={initial}; needs initial >= 1")
        super().__init__(problem, seed=seed)
        self.initial = initial
        self._seen: list[Observation] = []
        self._designs: dict[int, np.ndarray] = {}
        self._grown: dict[str, tuple[tuple[float, ...], Forest]] = {}

    @cached_property
    def rows(self) -> Rows:
        """The space as columns."""
        return Rows(self.problem.space)

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        if (seen := observe(self.problem, trial)) is not None:
            self._seen.append(seen)
            self._designs[trial.number] = self.rows.row(trial.config)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        if index < self.initial or len({one.trial for one in self._seen if one.feasible}) < 2:
            return self.problem.space.sample(rng)
        waiting = np.array([self.rows.row(trial.config) for trial in pending]).reshape(
            -1, len(self.rows.columns)
        )
        weights = rng.dirichlet(np.ones(len(self.problem.objectives)))
        score, elites = self._score(weights, waiting)
        known = frozenset(row.tobytes() for row in (*self._designs.values(), *waiting))
        pool = candidates(self.rows, elites, rng)
        for row in climbed(self.rows, pool, score, rng, known=known)[:ACCEPTED]:
            if self.accepts(config := self.rows.config(row)):
                return config
        return self.problem.space.sample(rng)

    def _score(self, weights: np.ndarray, waiting: np.ndarray) -> tuple[Score, np.ndarray]:
        """Return the logarithm of the acquisition as a function of rows, and the elites (k, S)."""
        model = self._forest("loss", self._seen, partial(_joined, weights=weights), weights.tolist())
        good = dict.fromkeys(one.trial for one in self._seen if one.feasible)
        told = np.array([self._designs[number] for number in good])
        mean, _ = model.predict(self._at_top(told))
        best, beside = float(mean.min()), self._at_top(waiting)
        extra = [*self._success(), *self._margins(), *self._seconds()]

        def score(rows: np.ndarray) -> np.ndarray:
            x = self._at_top(rows)
            mean, deviation = model.predict(x)
            if len(beside):
                deviation = deviation * np.sqrt(1 - model.proximity(x, beside).max(axis=1))
            value = log_expected_improvement(mean, np.maximum(deviation, LEAST_DEVIATION), best)
            return value + sum(weight(x) for weight in extra)

        return score, told[np.argsort(mean, kind="stable")[:ELITES]]

    def _success(self) -> list[Weight]:
        """Return the log probability that a step succeeds; nothing when none has failed."""
        if all(one.losses is not None for one in self._seen):
            return []
        model = self._forest("success", self._seen, succeeded)
        return [lambda x: np.log(np.clip(model.predict(x)[0], LEAST_SUCCESS, 1.0))]

    def _margins(self) -> list[Weight]:
        """Return the log probability that each constraint holds (Gardner et al. 2014, eq. 4)."""
        weights: list[Weight] = []
        for at, constraint in enumerate(self.problem.constraints):
            if len(some := constrained(self._seen, at)) > 1:
                model = self._forest(f"margin {constraint}", some, partial(margins, at=at))
                weights.append(partial(_log_inside, model))
        return weights

    def _seconds(self) -> list[Weight]:
        """Return minus the log of the seconds per unit of cost; nothing unless the budget is time."""
        if not self.problem.timed:
            return []
        model = self._forest("seconds", first_steps(self._seen), _rates)
        return [lambda x: -model.predict(x)[0]]

    def _forest(
        self, name: str, seen: Sequence[Observation], target: Target, settings: Sequence[float] = ()
    ) -> Forest:
        """Return the forest on ``target`` of all of ``seen``; the newest of a ``name`` is kept.

        Its trees are grown on the last count of observations on the grid, and on those alone: whenever that is done,
        after a resume too, it has the same outcome. ``settings`` are numbers that ``target`` depends on.
        """
        count = grid_point(len(seen))
        mark = (count, *settings)
        if self._grown.get(name, (None, None))[0] != mark:
            some = seen[:count]
            self._grown[name] = mark, fit(self._inputs(some), target(some), seed=self.seed)
        return self._grown[name][1].given(self._inputs(seen), target(seen))

    def _inputs(self, seen: Sequence[Observation]) -> np.ndarray:
        designs = np.array([self._designs[one.trial] for one in seen])
        return encoded(self.rows, designs, np.array([one.cost for one in seen])).x

    def _at_top(self, rows: np.ndarray) -> np.ndarray:
        """Return x of ``rows`` at the dearest fidelity told."""
        return encoded(self.rows, rows, np.full(len(rows), max(one.cost for one in self._seen))).x


def _joined(seen: Sequence[Observation], *, weights: np.ndarray) -> np.ndarray:
    """Return (m,) squashed losses, or augmented Tchebycheff norms of several; what failed has the worst."""
    table = losses(seen)
    if table.shape[1] > 1:
        return squash(tchebycheff(table, weights, table.min(axis=0), np.ptp(table, axis=0)))
    return squash(table[:, 0])


def _rates(seen: Sequence[Observation]) -> np.ndarray:
    return np.array([one.rate for one in seen])


def _log_inside(model: Forest, x: np.ndarray) -> np.ndarray:
    return log_probability_below_zero(*model.predict(x))
