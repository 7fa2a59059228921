"""CMA-ES on numbers and ordered choices, a distribution over the options on each of the others.

After CatCMA with margin (Hamano et al. 2024, 2025): numbers vary together, integers keep a margin, and choices are
drawn apart from them. Generations are counted in results: each ``lam`` told move the distribution, whichever one they
came from, so no worker waits. Trials compare at their first fidelity, which all have.

Notation
    n   ordered parameters, the coordinates of ``nas.hpo.cmaes`` in their unit intervals     lam  results per generation
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri

from nas.hpo.cmaes import Categorical, Gaussian, Rates
from nas.operators import best_first, ordered, settled
from nas.operators.generations import Generation, Generations
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Choice, Configuration, Float, Int, Parameter, Value

LATENT: Final = 4  # PURPOSE of the generator of the places within bins
RESTART: Final = 5  # PURPOSE of the generator of the mean after a restart
RESAMPLES: Final = 32  # draws in search of one inside the bounds
TAIL: Final = 1e-12  # a bin farther out than this stands for its near end
CONVERGED: Final = 1e-9  # largest deviation of a continuous coordinate, in units of its range
CONDITION: Final = 1e7  # of the axes' lengths, 1e14 for the covariance (Hansen 2016, appendix B)


@dataclass(frozen=True)
class Distribution:
    """What designs are drawn from; ``gaussian`` is None without numbers, ``lam`` doubles at each restart."""

    gaussian: Gaussian | None
    choices: tuple[Categorical, ...]
    lam: int
    restarts: int = 0


@strategies.register("cmaes")
class CMAES(Strategy):
    """Starts at the default design with deviation ``sigma`` of each range, ``population`` results per generation.

    The population is 4 + 3 ln(degrees of freedom) by default (Hansen 2016, eq. 48). It doubles whenever the
    distribution has converged, which then starts anew elsewhere (Auger and Hansen 2005).
    """

    def __init__(
        self, problem: Problem, *, seed: int = 0, sigma: float = 0.3, population: int | None = None
    ) -> None:
        if not 0 < sigma <= 1 or (population is not None and population < 4):
            raise ValueError(
                f"cmaes: sigma={sigma}, population={population}; needs 0 < sigma <= 1, population >= 4"
            )
        super().__init__(problem, seed=seed)
        self.sigma = sigma
        free = [slot for slot in problem.space.slots if slot.parameter.size > 1]
        self._numbers = [slot for slot in free if ordered(slot.parameter)]
        self._choices = [slot for slot in free if not ordered(slot.parameter)]
        self._continuous = np.array([isinstance(slot.parameter, Float) for slot in self._numbers])
        self._freedom = len(self._numbers) + sum(int(slot.parameter.size) - 1 for slot in self._choices)
        self._lam = population or 4 + int(3 * math.log(max(self._freedom, 1)))
        self._now = self._start(0)
        self._log = Generations(problem, self._lam)
        self._waiting: list[Trial] = []

    def generations(self) -> Sequence[Generation]:
        return self._log.rows

    def tell(self, trial: Trial) -> None:
        first = trial.number not in self.trials
        super().tell(trial)
        if not first:
            return
        self._log.add(trial)
        self._waiting.append(trial)
        if len(self._waiting) == self._now.lam:
            ranked = [self._waiting[place] for place in best_first(self.problem, self._waiting)]
            self._waiting = []
            self._now = self._moved(self._now, ranked)
            if self._converged():
                self._now = self._start(self._now.restarts + 1)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        return settled(self.problem.space, lambda: self._drawn(rng), rng)

    def _drawn(self, rng: np.random.Generator) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for slot, chances in zip(self._choices, self._now.choices, strict=True):
            place = int(np.searchsorted(chances.q.cumsum(), rng.random()))
            assert isinstance(slot.parameter, Choice)
            values[slot.path] = slot.parameter.options[min(place, len(chances.q) - 1)]
        if self._now.gaussian is not None:
            points = self._now.gaussian.sample(rng, RESAMPLES)
            inside = ((points >= 0) & (points <= 1) | ~self._continuous).all(axis=1)
            point = np.clip(points[inside.argmax()], 0, 1)  # the first one, if none is inside
            for slot, unit in zip(self._numbers, point, strict=True):
                values[slot.path] = slot.parameter.value(float(unit))
        return values

    # the distribution

    def _start(self, restarts: int) -> Distribution:
        mean = np.array([slot.parameter.unit(slot.parameter.default) for slot in self._numbers])
        if restarts:
            key = np.random.SeedSequence(self.seed, spawn_key=(restarts, 0, 0, RESTART))
            mean = np.random.default_rng(key).random(len(mean))
        gaussian = Gaussian.start(mean, self.sigma) if len(mean) else None
        choices = tuple(self._even(slot.parameter) for slot in self._choices)
        return Distribution(gaussian, choices, self._lam * 2**restarts, restarts)

    def _even(self, parameter: Parameter) -> Categorical:
        assert isinstance(parameter, Choice)
        count = len(parameter.options)
        weights = np.array(parameter.weights or [1.0] * count)
        floor = (1 - 0.73 ** (1 / len(self._choices))) / (count - 1)  # as CatCMA's
        return Categorical(weights / weights.sum(), floor)

    def _moved(self, now: Distribution, ranked: Sequence[Trial]) -> Distribution:
        gaussian = now.gaussian
        if gaussian is not None:
            rates = Rates(len(self._numbers), now.lam)
            x = np.array([self._point(gaussian, trial) for trial in ranked])
            gaussian = gaussian.update(rates, _shortened(gaussian, x))
            gaussian = gaussian.margined(*self._bins(gaussian.mean), 1 / (self._freedom * now.lam))
        rates = Rates(max(self._freedom, 1), now.lam)
        choices = tuple(
            self._learnt(slot.path, chances, ranked, rates)
            for slot, chances in zip(self._choices, now.choices, strict=True)
        )
        return replace(now, gaussian=gaussian, choices=choices)

    def _learnt(self, path: str, chances: Categorical, ranked: Sequence[Trial], rates: Rates) -> Categorical:
        """Learn from the better half, where the choice was active."""
        parameter = self.problem.space.parameter(path)
        assert isinstance(parameter, Choice)
        better = zip(ranked[: rates.mu], rates.weights, strict=False)
        taken = [
            (parameter.index(trial.config[path]), weight) for trial, weight in better if path in trial.config
        ]
        if not taken:
            return chances
        places, weights = zip(*taken, strict=True)
        return chances.update(np.array(places), np.array(weights), rates.c_s)

    def _point(self, gaussian: Gaussian, trial: Trial) -> np.ndarray:
        """Return (n,) a point that the trial's design is made from.

        What rounding or inactivity hides is drawn from its own deviation, within the bin of the value that is known.
        """
        key = np.random.SeedSequence(self.seed, spawn_key=(trial.number, 0, 0, LATENT))
        chances = np.random.default_rng(key).random(len(self._numbers))
        point = np.empty(len(self._numbers))
        for place, slot in enumerate(self._numbers):
            value = trial.config.get(slot.path)
            if slot.path in trial.config and isinstance(slot.parameter, Float):
                point[place] = slot.parameter.unit(value)
                continue
            low, high = _bin(slot.parameter, value) if slot.path in trial.config else (-np.inf, np.inf)
            mean, spread = gaussian.mean[place], gaussian.deviations[place]
            below, above = ndtr((low - mean) / spread), ndtr((high - mean) / spread)
            chance = np.clip(below + chances[place] * (above - below), TAIL, 1 - TAIL)
            point[place] = np.clip(mean + spread * ndtri(chance), low, high)
        return point

    def _bins(self, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends (n,) of the bins that ``mean`` lies in, as ``Gaussian.margined`` wants them."""
        bins = [
            (-np.inf, np.inf)
            if isinstance(slot.parameter, Float)
            else _bin(slot.parameter, slot.parameter.value(float(min(max(unit, 0.0), 1.0))))
            for slot, unit in zip(self._numbers, mean, strict=True)
        ]
        low, high = np.array(bins).T
        return low, high

    def _converged(self) -> bool:
        gaussian = self._now.gaussian
        if gaussian is None or not self._continuous.any():
            return False
        _, lengths = gaussian.axes
        return bool(
            gaussian.deviations[self._continuous].max() < CONVERGED
            or lengths.max() > CONDITION * lengths.min()
        )


def _shortened(gaussian: Gaussian, x: np.ndarray) -> np.ndarray:
    """Return the points (lam, n), those moved nearer that lie farther off than their own distribution would draw.

    They come from an older distribution, or from none; as what is injected in Hansen 2011 (arXiv 1110.4181), but
    with a bound of sqrt(n) + 3, which the distribution's own points keep.
    """
    length = np.linalg.norm(gaussian.whitened(x), axis=1)
    most = math.sqrt(x.shape[1]) + 3
    return gaussian.mean + (x - gaussian.mean) * np.minimum(1, most / np.maximum(length, 1e-12))[:, None]


def _bin(parameter: Parameter, value: Value) -> tuple[float, float]:
    """Return the ends of the bin of a discrete ``value`` in the unit interval; the outermost are infinite."""
    if isinstance(parameter, Int):
        assert isinstance(value, int)
        low, high = (parameter.unit(value + side * parameter.step / 2) for side in (-1, 1))
        first, last = value == parameter.low, value == parameter.high
    else:
        assert isinstance(parameter, Choice)
        at, weights = parameter.index(value), np.array(parameter.weights or [1.0] * len(parameter.options))
        low, high = float(weights[:at].sum() / weights.sum()), float(weights[: at + 1].sum() / weights.sum())
        first, last = at == 0, at == len(weights) - 1
    return (-math.inf if first else low), (math.inf if last else high)
