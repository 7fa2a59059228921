"""Bayesian optimisation: Gaussian processes of designs, fidelities and graphs, and the acquisition they maximise.

Observations are all successful steps, so cheap rungs teach about dear ones (see ``nas.observations``). To the logarithm
of the improvement are added those of the probability of success, of the probability that each constraint holds, and,
under a budget of time, minus that of the seconds: it is then the improvement of a second (Snoek et al. 2012, section
3.2). Where a problem has features of graphs, processes with them have the last word on what those without propose.

Notation
    rows   (n, S) designs, see ``nas.rows``
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from threadpoolctl import threadpool_limits

from nas.encoder import View
from nas.hpo import acquisition as improvement
from nas.hpo.gp import GaussianProcess
from nas.hpo.kernel import Inputs
from nas.hpo.pareto import nondominated
from nas.maximise import STEPS, Score, candidates, climbed
from nas.models import Models, Weight
from nas.observations import losses
from nas.rows import Rows
from nas.source import Source
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.registry import nearest
from search_spaces.space import Configuration

ACQUISITIONS = ("log-ei", "log-pi", "ucb", "thompson", "parego")
DESIGNS = 2  # PURPOSE of the generator of the first designs
PENDING = 64  # trials in flight that are believed, the latest
ELITES = 6  # best observations whose children are candidates
FINE = 1 / 12  # share of the candidates, the best without graphs, whose graphs are looked at
FEWEST = 16  # of them at least
UNSEEN = -1e6  # added to the score of the others
LEADING = 100  # observations, the best ones, among which the incumbent is
ACCEPTED = 200  # candidates, the best ones, of which the first new and feasible one is taken


@strategies.register("gp")
class GP(Strategy):
    """``acquisition`` is log-ei, log-pi (both with ``xi``), ucb (with ``kappa``), thompson or parego.

    The first ``initial`` designs are a Latin hypercube. Two objectives are judged by the expected hypervolume
    improvement; more, and with ``parego`` two, by the expected improvement of a norm with weights drawn in each ask.
    ``warp`` learns a monotone map of every number (see ``nas.hpo.warp``).
    """

    weighs_priors = True

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        acquisition: str = "log-ei",
        initial: int = 8,
        xi: float = 0.0,
        kappa: float = 2.0,
        warp: bool = False,
    ) -> None:
        if acquisition not in ACQUISITIONS:
            raise ValueError(f"no acquisition {acquisition!r}; {nearest(acquisition, list(ACQUISITIONS))}")
        if initial < 1 or xi < 0 or kappa < 0:
            raise ValueError(
                f"gp: initial={initial}, xi={xi}, kappa={kappa}; needs initial >= 1, the others >= 0"
            )
        super().__init__(problem, seed=seed)
        if len(problem.objectives) > 1 and acquisition not in ("log-ei", "parego"):
            raise ValueError(
                f"gp: acquisition={acquisition!r} is of one objective, not of {len(problem.objectives)}; "
                "give log-ei or parego"
            )
        self.acquisition, self.initial, self.xi, self.kappa = acquisition, initial, xi, kappa
        self.warp = warp
        self._rejected = -1  # the last ask in which nothing that the acquisition found was accepted

    @cached_property
    def rows(self) -> Rows:
        """The space as columns."""
        return Rows(self.problem.space)

    @cached_property
    def models(self) -> Models:
        """The processes, told of all trials."""
        return Models(self.problem, self.rows, warp=self.warp)

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self.models.append(trial)

    def hear(self, source: Source | None) -> None:
        super().hear(source)
        self.models.hear(source)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        if index < self.initial:
            return self.problem.space.complete(self._first_designs[index], rng)
        if len(self.models.seen) < 2 or index == self._rejected:
            return self.problem.space.sample(rng)
        waiting = np.array([self.models.design(trial) for trial in pending[-PENDING:]]).reshape(
            -1, len(self.rows.columns)
        )
        with threadpool_limits(
            1
        ):  # of small matrices more threads only wait for each other, and round otherwise
            return self._best(rng, index, waiting)

    @cached_property
    def _first_designs(self) -> list[Configuration]:
        """By index; where the first is the space's default, it stands in no row of the hypercube."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0, 0, 0, DESIGNS)))
        drawn = self.rows.latin(max(self.initial - self.baseline, 1), rng)
        return [self.rows.config(row) for row in (drawn[[0, *range(len(drawn))]] if self.baseline else drawn)]

    def _best(self, rng: np.random.Generator, index: int, waiting: np.ndarray) -> Configuration:
        draws = int(rng.integers(2**32))  # for the acquisition: the same with graphs and without
        score, elites = self._score(draws, index, waiting, graphs=False)
        if self.problem.features is not None:
            score = _refined(score, self._score(draws, index, waiting, graphs=True)[0])
        pool = candidates(self.rows, elites, rng)
        started = [*(self.models.design(trial) for trial in self.trials.values()), *waiting]
        known = frozenset(row.tobytes() for row in started)
        steps = () if self.acquisition == "thompson" else STEPS  # a draw of the function is one of the pool
        for row in climbed(self.rows, pool, score, rng, known=known, steps=steps)[:ACCEPTED]:
            if self.accepts(config := self.rows.config(row)):
                return config
        self._rejected = index
        return self.problem.space.sample(rng)

    def _score(self, seed: int, index: int, waiting: np.ndarray, *, graphs: bool) -> tuple[Score, np.ndarray]:
        """Return the acquisition as a function of rows, and the best designs (k, S) that were told."""
        models = self.models
        view = models.view(graphs)
        good = models.leading(LEADING)
        told = models.designs(good)
        weights = [*models.success(graphs), *models.margins(graphs), *models.seconds(graphs)]
        if models.feasible < 2:  # nothing to improve on: go where steps succeed and constraints hold
            return _summed(view, weights), told[:ELITES]
        processes = models.objectives(graphs)
        at_top = view.inputs(told)
        predicted = np.column_stack([process.predict(at_top)[0] for process in processes])
        gain = self._gain(
            [p.believing(view.inputs(waiting)) for p in processes], predicted, np.random.default_rng(seed)
        )
        trust = self.trust(index) if self.problem.priors else 0.0

        def score(rows: np.ndarray) -> np.ndarray:
            inputs = view.inputs(rows)
            value = gain(inputs)
            for weight in weights:
                value = value + weight(inputs)
            if trust:
                value = value + trust * np.array(
                    [self.problem.log_prior(self.rows.config(row)) for row in rows]
                )
            return value

        return score, told[_leading(predicted, losses(good))]

    def _gain(
        self, processes: Sequence[GaussianProcess], predicted: np.ndarray, rng: np.random.Generator
    ) -> Weight:
        """Return the logarithm of what is gained, or a draw, as a function of inputs.

        ``predicted`` (k, objectives) are the predictions at what was told: improvement is measured on them.
        """
        if len(processes) > 1:
            if len(processes) == 2 and self.acquisition == "log-ei":
                return lambda inputs: improvement.log_expected_hypervolume_improvement(
                    *_predictions(processes, inputs), predicted
                )
            weights, normals = (
                rng.dirichlet(np.ones(len(processes))),
                rng.standard_normal((64, len(processes))),
            )
            return lambda inputs: improvement.log_expected_norm_improvement(
                *_predictions(processes, inputs), predicted, weights, normals
            )
        process, best = processes[0], float(predicted.min())
        if self.acquisition == "thompson":
            seed = int(rng.integers(2**32))
            return lambda inputs: -process.sample(inputs, np.random.default_rng(seed))
        return lambda inputs: self._acquire(*process.predict(inputs), best)

    def _acquire(self, mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
        if self.acquisition == "ucb":
            bound = improvement.lower_confidence_bound(mean, deviation, kappa=self.kappa)
            return np.log(np.logaddexp(0.0, bound))  # the softplus is positive: probabilities can multiply it
        if self.acquisition == "log-pi":
            return improvement.log_probability_of_improvement(mean, deviation, best, xi=self.xi)
        return improvement.log_expected_improvement(mean, deviation, best, xi=self.xi)


def _summed(view: View, weights: Sequence[Weight]) -> Score:
    def score(rows: np.ndarray) -> np.ndarray:
        inputs = view.inputs(rows)
        return np.zeros(len(rows)) + sum(weight(inputs) for weight in weights)

    return score


def _refined(coarse: Score, fine: Score) -> Score:
    """Return ``fine`` of the share ``FINE`` of rows that is best by ``coarse``, all others below."""

    def score(rows: np.ndarray) -> np.ndarray:
        value = coarse(rows) + UNSEEN
        best = np.argsort(-value, kind="stable")[: max(FEWEST, int(FINE * len(rows)))]
        value[best] = fine(rows[best])
        return value

    return score


def _predictions(processes: Sequence[GaussianProcess], inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations (n, objectives)."""
    both = [process.predict(inputs) for process in processes]
    return np.column_stack([mean for mean, _ in both]), np.column_stack([deviation for _, deviation in both])


def _leading(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return the places of the best by prediction and by observation, (k, objectives) both; no place twice."""
    order = list(np.argsort(predicted.sum(1), kind="stable")[:ELITES])
    if observed.shape[1] == 1:
        order += list(np.argsort(observed[:, 0], kind="stable")[: ELITES // 2])
    else:
        order += list(np.flatnonzero(nondominated(observed))[-2 * ELITES :])
    return np.array(list(dict.fromkeys(order)), int)
