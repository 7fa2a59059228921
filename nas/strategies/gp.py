"""Bayesian optimisation: a Gaussian process over designs and fidelities, and the acquisition it maximises.

Observations are all successful steps, so cheap rungs teach about dear ones: the fidelity is one more dimension, and
before the fit each rung is brought to the level of the first by the median difference of the trials that reached both
(promoted trials are the better ones: a rung's own median would punish them). Failed and infeasible steps enter as the
worst value seen and through a second process on success, which multiplies the acquisition. Under a budget of time a
third one predicts the seconds of a design, and the acquisition is that of a second (Snoek et al. 2012, section 3.2).

Notation
    m   steps told        x   (m, D + 1) encoded designs and log cost        y   (m,) standardised losses
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from nas.hpo.acquisition import (
    log_expected_improvement,
    log_probability_of_improvement,
    lower_confidence_bound,
)
from nas.hpo.gp import GaussianProcess, fit, squash
from nas.operators import mutate, uniform_crossover
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.registry import nearest
from search_spaces.space import Configuration

RANDOM, ELITES, CHILDREN = 512, 6, 48  # candidates drawn, best observations mutated, mutations of each
CLIMBERS, ROUNDS, NEIGHBOURS = 4, 4, 24  # local search: from the best candidates, rounds of mutations
RHO = 0.05  # weight of the sum in ParEGO's augmented Tchebycheff norm (Knowles 2006, eq. 2)


@dataclass(frozen=True)
class Observation:
    """A finished step: the trial's design in the unit cube, log cost, losses, feasibility, and speed."""

    trial: int
    x: np.ndarray
    cost: float
    losses: tuple[float, ...] | None
    feasible: bool
    rate: float  # log of the seconds that the trial's first step took for one unit of cost


@strategies.register("gp")
class GP(Strategy):
    """``acquisition`` is log-ei, log-pi (both with ``xi``) or ucb (with ``kappa``); the first ``initial`` are random.

    Several objectives are joined anew in each ask by random weights (ParEGO).
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        acquisition: str = "log-ei",
        initial: int = 8,
        xi: float = 0.0,
        kappa: float = 2.0,
    ) -> None:
        if acquisition not in (known := ["log-ei", "log-pi", "ucb"]):
            raise ValueError(f"no acquisition {acquisition!r}; {nearest(acquisition, known)}")
        if initial < 1 or xi < 0 or kappa < 0:
            raise ValueError(
                f"gp: initial={initial}, xi={xi}, kappa={kappa}; needs initial >= 1, the others >= 0"
            )
        super().__init__(problem, seed=seed)
        self.acquisition, self.initial, self.xi, self.kappa = acquisition, initial, xi, kappa
        self._seen: list[Observation] = []
        self._encoded: dict[int, np.ndarray] = {}
        self._fits: dict[tuple[int, str], GaussianProcess] = {}

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        step = trial.last
        if step is None:
            return
        if trial.number not in self._encoded:
            self._encoded[trial.number] = self.problem.space.encode(trial.config)
        metrics = {**trial.free, **step.metrics}
        losses = None if step.error is not None else self.problem.losses(metrics)
        feasible = losses is not None and not self.problem.violation(metrics)
        cost = math.log(step.fidelity.cost)
        first = trial.steps[0]
        rate = math.log(max(first.seconds, 1e-9) / first.fidelity.cost)
        row = self._encoded[trial.number]
        self._seen.append(Observation(trial.number, row, cost, losses, feasible, rate))

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        good = [one for one in self._seen if one.feasible]
        if index < self.initial or len({one.trial for one in good}) < 2:
            return self.problem.space.sample(rng)
        weights = rng.dirichlet(np.ones(len(self.problem.objectives)))
        with threadpool_limits(
            1
        ):  # small matrices: more threads only wait for each other, and round otherwise
            score, best = self._score(weights, pending)
            return self._maximise(score, best, rng)

    # the model

    def _score(
        self, weights: np.ndarray, pending: Sequence[Trial]
    ) -> tuple[Callable[[Sequence[Configuration]], np.ndarray], list[int]]:
        """Return the acquisition as a function of configurations, and the trials with the best predictions."""
        seen, name = self._seen, np.array2string(weights, precision=6)
        model = self._fitted(name, seen, lambda some: squash(_levelled(some, _scalar(some, weights))))
        failed = {one.trial for one in seen if not one.feasible}
        told = [number for number in self._encoded if number not in failed]
        mean, _ = model.predict(_at_the_top([self._encoded[number] for number in told]))
        ranked = sorted(zip(mean, told, strict=True))
        incumbent = float(ranked[0][0])
        if pending:
            waiting = [self.problem.space.encode(trial.config) for trial in pending]
            model = model.believing(_at_the_top(waiting))
        success, seconds = self._success(), self._seconds()

        def score(configs: Sequence[Configuration]) -> np.ndarray:
            points = _at_the_top([self.problem.space.encode(config) for config in configs])
            value = self._acquire(*model.predict(points), incumbent)
            if success is not None:
                value = value + np.log(success(points))
            return value if seconds is None else value - seconds(points)

        return score, [number for _, number in ranked[:ELITES]]

    def _acquire(self, mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
        if self.acquisition == "ucb":
            bound = lower_confidence_bound(mean, deviation, kappa=self.kappa)
            return np.log(np.logaddexp(0.0, bound))  # the softplus is positive: probabilities can multiply it
        function = (
            log_expected_improvement if self.acquisition == "log-ei" else log_probability_of_improvement
        )
        return function(mean, deviation, best, xi=self.xi)

    def _fitted(
        self, name: str, seen: Sequence[Observation], target: Callable[[Sequence[Observation]], np.ndarray]
    ) -> GaussianProcess:
        """Return the process on ``target`` of all of ``seen``.

        Its hyperparameters are fitted on the last count of observations on the grid, and on those alone: whenever that
        is done, after a resume too, it has the same outcome.
        """
        count = grid_point(len(seen))
        if (count, name) not in self._fits:
            for old in [
                key for key in self._fits if (key[0] < count and key[1] == name) or len(self._fits) > 32
            ]:
                del self._fits[old]
            some = seen[:count]
            self._fits[count, name] = fit(_rows(some), _standard(target(some)), seed=self.seed)
        return self._fits[count, name].given(_rows(seen), _standard(target(seen)))

    def _success(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the probability of success at points, by a process on 1 and 0; None when nothing has failed."""
        labels = np.array([float(one.feasible) for one in self._seen])
        if labels.all():
            return None
        model = self._fitted(
            "success", self._seen, lambda some: np.array([float(one.feasible) for one in some])
        )
        shift, spread = labels.mean(), labels.std() or 1.0

        def probability(points: np.ndarray) -> np.ndarray:
            mean, _ = model.predict(points)
            return np.clip(mean * spread + shift, 0.01, 1.0)

        return probability

    def _seconds(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the log of the seconds per unit of cost at points; None unless the budget is time."""
        if not self.problem.timed:
            return None
        firsts = list({one.trial: one for one in reversed(self._seen)}.values())[::-1]
        rates = np.array([one.rate for one in firsts])
        model = self._fitted("seconds", firsts, lambda some: np.array([one.rate for one in some]))
        shift, spread = float(rates.mean()), float(rates.std()) or 1.0
        return lambda points: shift + spread * model.predict(points)[0]

    # the search for its maximum

    def _maximise(
        self,
        score: Callable[[Sequence[Configuration]], np.ndarray],
        best: Sequence[int],
        rng: np.random.Generator,
    ) -> Configuration:
        space = self.problem.space
        elites = [self.trials[number].config for number in best]
        pool = [space.sample(rng) for _ in range(RANDOM)]
        for elite in elites:
            pool += [mutate(space, elite, rng, count=1 + int(rng.poisson(1.0))) for _ in range(CHILDREN)]
            mate = elites[rng.integers(len(elites))]
            pool += [uniform_crossover(space, elite, mate, rng) for _ in range(CHILDREN // 4)]
        pool = list(dict.fromkeys(pool))
        values = score(pool)
        order = np.argsort(-values, kind="stable")
        tops = self._acceptable([pool[place] for place in order], CLIMBERS)
        if not tops:
            return pool[order[0]]
        climbed = [self._climb(top, score, rng) for top in tops]
        return max(climbed, key=lambda pair: pair[1])[0]

    def _acceptable(self, configs: Sequence[Configuration], count: int) -> list[Configuration]:
        found: list[Configuration] = []
        for config in configs:
            if self.accepts(config):
                found.append(config)
                if len(found) == count:
                    break
        return found

    def _climb(
        self,
        start: Configuration,
        score: Callable[[Sequence[Configuration]], np.ndarray],
        rng: np.random.Generator,
    ) -> tuple[Configuration, float]:
        """Step to the best acceptable neighbour while that is better."""
        config, value = start, float(score([start])[0])
        for _ in range(ROUNDS):
            near = [mutate(self.problem.space, config, rng) for _ in range(NEIGHBOURS)]
            values = score(near)
            order = [place for place in np.argsort(-values, kind="stable") if values[place] > value]
            better = self._acceptable([near[place] for place in order], 1)
            if not better:
                break
            config, value = better[0], float(score(better)[0])
        return config, value


def grid_point(m: int) -> int:
    """Return the count of told steps, at most ``m``, that hyperparameters are fitted on: all, then every tenth part."""
    if m <= 40:
        return m
    step = 5 if m <= 150 else 20
    return m // step * step


def _rows(seen: Sequence[Observation]) -> np.ndarray:
    """Return (m, D + 1): designs, and log costs scaled to [0, 1], the dearest 1."""
    costs = np.array([one.cost for one in seen])
    low, high = costs.min(), costs.max()
    scaled = (costs - low) / (high - low) if high > low else np.ones_like(costs)
    return np.hstack([np.array([one.x for one in seen]), scaled[:, None]])


def _at_the_top(encoded: Sequence[np.ndarray]) -> np.ndarray:
    """Return designs at the dearest fidelity as rows (k, D + 1)."""
    return np.hstack([np.array(encoded), np.ones((len(encoded), 1))])


def _scalar(seen: Sequence[Observation], weights: np.ndarray) -> np.ndarray:
    """Return one loss per observation: the objective, or the augmented Tchebycheff norm; failures are the worst."""
    table = np.array([one.losses if one.feasible else [np.nan] * len(weights) for one in seen], float)
    if np.isnan(table).all():
        return np.zeros(len(seen))
    if len(weights) > 1:
        low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
        scaled = weights * (table - low) / np.where(high > low, high - low, 1.0)
        table = (scaled.max(axis=1) + RHO * scaled.sum(axis=1))[:, None]
    values: np.ndarray = table[:, 0]
    return np.where(np.isnan(values), np.nanmax(values), values)


def _levelled(seen: Sequence[Observation], values: np.ndarray) -> np.ndarray:
    """Return ``values`` with the rungs above the first shifted by what their trials gained since the rung below."""
    rungs = sorted({one.cost for one in seen})
    at = {(one.trial, one.cost): float(v) for one, v in zip(seen, values, strict=True) if one.feasible}
    shift, shifts = 0.0, {rungs[0]: 0.0}
    for below, above in pairwise(rungs):
        gains = [
            value - at[trial, below]
            for (trial, cost), value in at.items()
            if cost == above and (trial, below) in at
        ]
        shift += float(np.median(gains)) if gains else 0.0
        shifts[above] = shift
    return values - np.array([shifts[one.cost] if one.feasible else 0.0 for one in seen])


def _standard(y: np.ndarray) -> np.ndarray:
    spread = float(y.std())
    return (y - y.mean()) / spread if spread > 0 else y - y.mean()
