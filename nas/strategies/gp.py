"""Bayesian optimisation: a Gaussian process over designs and fidelities, and the acquisition it maximises.

Observations are all successful steps, so cheap rungs teach about dear ones: the fidelity is one more dimension, and
before the fit each rung is brought to the level of the first by the median difference of the trials that reached both
(promoted trials are the better ones: a rung's own median would punish them). Failed and infeasible steps enter as the
worst value seen and through a second process on success, which multiplies the acquisition.

Notation
    m   steps told        x   (m, D + 1) encoded designs and log cost        y   (m,) standardised losses
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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
    """A finished step: the trial's design in the unit cube, log cost, losses, and whether it may count as a success."""

    trial: int
    x: np.ndarray
    cost: float
    losses: tuple[float, ...] | None
    feasible: bool


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
        self._seen.append(Observation(trial.number, self._encoded[trial.number], cost, losses, feasible))

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        good = [one for one in self._seen if one.feasible]
        if index < self.initial or len({one.trial for one in good}) < 2:
            return self.problem.space.sample(rng)
        weights = rng.dirichlet(np.ones(len(self.problem.objectives)))
        score, best = self._score(weights, pending)
        return self._maximise(score, best, rng)

    # the model

    def _score(
        self, weights: np.ndarray, pending: Sequence[Trial]
    ) -> tuple[Callable[[Sequence[Configuration]], np.ndarray], list[int]]:
        """Return the acquisition as a function of configurations, and the trials with the best predictions."""
        seen = self._seen
        low, high = min(one.cost for one in seen), max(one.cost for one in seen)

        def rows(encoded: Sequence[np.ndarray], costs: Sequence[float]) -> np.ndarray:
            x = np.array(encoded)
            if high == low:
                return x
            return np.hstack([x, (np.array(costs)[:, None] - low) / (high - low)])

        x = rows([one.x for one in seen], [one.cost for one in seen])
        y = squash(self._levelled(self._scalar(weights)))
        name = "loss" if len(weights) == 1 else np.array2string(weights, precision=6)
        model = self._fitted(x, y, name)
        top = rows(list(self._encoded.values()), [high] * len(self._encoded))
        told = list(self._encoded)
        failed = {one.trial for one in seen if not one.feasible}
        mean, _ = model.predict(top)
        ranked = sorted((m, number) for m, number in zip(mean, told, strict=True) if number not in failed)
        incumbent = float(ranked[0][0])
        waiting = [self.problem.space.encode(trial.config) for trial in pending]
        model = model.believing(rows(waiting, [high] * len(waiting))) if waiting else model
        success = self._success(x)

        def score(configs: Sequence[Configuration]) -> np.ndarray:
            points = rows([self.problem.space.encode(c) for c in configs], [high] * len(configs))
            value = self._acquire(*model.predict(points), incumbent)
            return value if success is None else value + np.log(success(points))

        return score, [number for _, number in ranked[:ELITES]]

    def _acquire(self, mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
        if self.acquisition == "ucb":
            bound = lower_confidence_bound(mean, deviation, kappa=self.kappa)
            return np.log(
                np.logaddexp(0.0, bound)
            )  # softplus keeps it positive: it is multiplied by a probability
        function = (
            log_expected_improvement if self.acquisition == "log-ei" else log_probability_of_improvement
        )
        return function(mean, deviation, best, xi=self.xi)

    def _scalar(self, weights: np.ndarray) -> np.ndarray:
        """Return one loss per observation: the objective, or the augmented Tchebycheff norm; failures are the worst."""
        table = np.array(
            [one.losses if one.feasible else [np.nan] * len(weights) for one in self._seen], float
        )
        if len(weights) > 1:
            low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
            scaled = weights * (table - low) / np.where(high > low, high - low, 1.0)
            table = (scaled.max(axis=1) + RHO * scaled.sum(axis=1))[:, None]
        values = table[:, 0]
        return np.where(np.isnan(values), np.nanmax(values), values)

    def _levelled(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` with the rungs above the first shifted by what their trials gained since the rung below."""
        rungs = sorted({one.cost for one in self._seen})
        if len(rungs) == 1:
            return values
        at: dict[tuple[int, float], float] = {}
        for one, value in zip(self._seen, values, strict=True):
            if one.feasible:
                at[one.trial, one.cost] = float(value)
        shift, shifts = 0.0, {rungs[0]: 0.0}
        for below, above in itertools.pairwise(rungs):
            gains = [
                value - at[trial, below]
                for (trial, cost), value in at.items()
                if cost == above and (trial, below) in at
            ]
            shift += float(np.median(gains)) if gains else 0.0
            shifts[above] = shift
        return values - np.array([shifts[one.cost] if one.feasible else 0.0 for one in self._seen])

    def _fitted(self, x: np.ndarray, y: np.ndarray, name: str) -> GaussianProcess:
        """Return the process on all observations; its hyperparameters are those of the last count on the grid."""
        count = grid_point(len(y))
        key = (count, name)
        if key not in self._fits:
            self._fits = {k: v for k, v in self._fits.items() if k[0] == count}
            self._fits[key] = fit(x[:count], _standard(y[:count]), seed=self.seed)
        return self._fits[key].given(x, _standard(y))

    def _success(self, x: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the probability of success at points, by a process on 1 and 0; None when nothing has failed."""
        labels = np.array([float(one.feasible) for one in self._seen])
        if labels.all():
            return None
        model = self._fitted(x, labels, "success")
        shift, spread = labels.mean(), labels.std() or 1.0

        def probability(points: np.ndarray) -> np.ndarray:
            mean, _ = model.predict(points)
            return np.clip(mean * spread + shift, 0.01, 1.0)

        return probability

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


def _standard(y: np.ndarray) -> np.ndarray:
    spread = float(y.std())
    return (y - y.mean()) / spread if spread > 0 else y - y.mean()
