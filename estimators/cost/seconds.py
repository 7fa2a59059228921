"""Seconds of a training, predicted from its counts, and how sure that is.

A training does a few kinds of work, each at a rate of the machine's: the seconds are a sum of amounts times unknown
rates. The rates are found by Bayesian linear regression in relative errors (Bishop 2006, section 3.3) with a prior
around ``USUAL``, brought to this machine by one factor, and are not negative (Lawson & Hanson 1974). Everything
is a function of the rows alone: whoever fits the same results again, after a resume too, has the same model.

Notation
    x   (k,) amounts of work, one for each of ``AMOUNTS``      w   (k,) seconds for each, in units of ``USUAL``
    y   seconds measured
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from search_spaces.architecture import Design
from search_spaces.block import expanded, walk
from search_spaces.graph import Graph
from search_spaces.op import Layer, Shape, layers_of
from search_spaces.recipe import Recipe

SCORED = (
    1 / 3
)  # work of a validation image beside a trained one: there is no way back, which is twice as dear
AMOUNTS = ("evaluations", "steps", "launches", "weights", "macs", "grouped", "values", "pixels")
# Seconds for one of each, the order of magnitude on a CPU: where a fit begins. Fitted to 14 trainings of `chain` and
# `residual` on one core of a busy AMD EPYC (AVX2, torch 2.13) each came to 1.5 to 3.5 times as much.
USUAL = np.array([0.05, 2e-4, 2e-5, 1e-9, 6e-11, 6e-10, 4e-9, 1e-8])
PRIOR = 0.7  # relative spread of each rate about USUAL once that is brought to the machine
NOISE, SURE = 0.2, 6.0  # relative spread of a measurement before any is known, and how many it counts for
COVERED = 0.9  # probability of the interval


@dataclass(frozen=True)
class Work:
    """What a training does. ``epochs`` passes over ``images``, each followed by a look at ``val`` images.

    ``layers`` counts torch modules and ops, ``grouped`` the multiply-accumulates of convolutions in groups, which run
    at another rate than the other ``macs``; these, ``values`` (all outputs of layers) and ``pixels`` are for one image.
    ``states`` are the values that a step reads or writes for each weight.
    """

    epochs: int
    images: float
    val: int
    batch_size: int
    parameters: int
    layers: int
    macs: int
    grouped: int
    values: int
    pixels: int
    states: int

    @classmethod
    def of(cls, design: Design, *, epochs: int, images: float, val: int) -> "Work":
        """Return the work of training ``design`` for ``epochs`` passes; of an opaque one the layers are not known."""
        recipe = Recipe.parse(design.recipe)
        layers, grouped = (0, 0) if design.graph is None else _layers(design.graph, design.shape)
        return cls(
            epochs=epochs,
            images=images,
            val=val,
            batch_size=recipe.batch_size,
            parameters=design.parameters,
            layers=layers,
            macs=design.macs - grouped,
            grouped=grouped,
            values=design.outputs,
            pixels=math.prod(design.shape),
            states=3 + recipe.moments + bool(recipe.ema),
        )

    def amounts(self) -> np.ndarray:
        """Return x (k,), in the order of ``AMOUNTS``."""
        steps = self.epochs * max(self.images / self.batch_size, 1.0)
        seen = self.epochs * (self.images + SCORED * self.val)
        return np.array(
            [
                1.0,
                steps,
                steps * self.layers,
                steps * self.parameters * self.states,
                seen * self.macs,
                seen * self.grouped,
                seen * self.values,
                seen * self.pixels,
            ]
        )


@dataclass(frozen=True)
class Interval:
    """Seconds: as likely more as less than ``median``; between ``low`` and ``high`` with probability ``COVERED``."""

    median: float
    low: float
    high: float

    def within(self, most: float) -> "Interval":
        """Return the interval of what is ended after ``most`` seconds, which count as 0 when they are negative."""
        return Interval(*(min(value, max(most, 0.0)) for value in (self.median, self.low, self.high)))

    def shared(self, workers: int) -> "Interval":
        """Return the interval of what so many workers do at once, none of them idle."""
        return Interval(self.median / workers, self.low / workers, self.high / workers)

    def after(self, seconds: float) -> "Interval":
        """Return what is left when ``seconds`` have gone by."""
        return Interval(*(max(value - seconds, 0.0) for value in (self.median, self.low, self.high)))


class Seconds:
    """The model of a machine, a device and a precision; ``fit`` makes it. ``rows`` is how many it has seen."""

    def __init__(self, rates: np.ndarray, covariance: np.ndarray, noise: float, rows: int) -> None:
        self._rates, self._covariance, self._noise, self.rows = rates, covariance, noise, rows

    def predict(self, work: Work) -> Interval:
        """Return the seconds that ``work`` takes.

        The interval is Student's in the logarithm: of the noise of a measurement and of what is not known of the rates.
        """
        from scipy.special import stdtrit

        x = work.amounts() * USUAL
        median = float(x @ self._rates)
        relative = x / median
        spread = math.sqrt(self._noise**2 + float(relative @ self._covariance @ relative))
        factor = math.exp(float(stdtrit(SURE + self.rows, (1 + COVERED) / 2)) * spread)
        return Interval(median, median / factor, median * factor)

    def rates(self) -> dict[str, float]:
        """Return the seconds for one of each amount, by name."""
        return dict(zip(AMOUNTS, (float(rate) for rate in self._rates * USUAL), strict=True))


def fit(rows: Sequence[tuple[Work, float]]) -> Seconds:
    """Return the model of ``rows``, work and the seconds it took; at least one, such as the default design's.

    A ``ValueError`` for none, and for seconds that are not positive.
    """
    if not rows:
        raise ValueError("no measurement to fit seconds on; time one design first")
    y = np.array([seconds for _, seconds in rows])
    if not (y > 0).all() or not np.isfinite(y).all():
        raise ValueError(f"seconds {float(y[~((y > 0) & np.isfinite(y))][0])}: give positive, finite ones")
    x = np.array([work.amounts() for work, _ in rows]) * USUAL / y[:, None]  # relative: its targets are ones
    machine = float(np.median(1 / x.sum(axis=1)))
    noise = NOISE
    for _ in range(3):  # the noise weighs the prior, and what is left over is the noise
        rates = _rates(x, machine, noise)
        left = np.log(x @ rates)
        noise = math.sqrt((SURE * NOISE**2 + float(left @ left)) / (SURE + len(y)))
    precision = x.T @ x / noise**2 + np.eye(len(USUAL)) / (machine * PRIOR) ** 2
    return Seconds(rates, np.linalg.inv(precision), noise, len(y))


def _rates(x: np.ndarray, machine: float, noise: float) -> np.ndarray:
    """Return w (k,), the most probable rates that are not negative, for ``x`` (n, k) relative to what was measured."""
    from scipy.optimize import nnls

    k = x.shape[1]
    prior = np.eye(k) / (machine * PRIOR)
    rows = np.vstack([x / noise, prior])
    found: np.ndarray = nnls(rows, np.concatenate([np.full(len(x), 1 / noise), np.full(k, 1 / PRIOR)]))[0]
    return found


@lru_cache(maxsize=1 << 12)
def _layers(graph: Graph, shape: Shape) -> tuple[int, int]:
    """Return how many layers and ops of its own kind a network has, and its multiply-accumulates in groups."""
    layers = grouped = 0
    for _, op, inputs, _ in walk(expanded(graph.simplified(), shape), shape):
        own, at = layers_of(op, inputs), inputs[0]
        layers += max(len(own), 1)
        for layer in own:
            grouped += layer.macs(at) if _in_groups(layer) else 0
            at = layer.shape(at)
    return layers, grouped


def _in_groups(layer: Layer) -> bool:
    return int(dict(layer.options).get("groups", 1)) > 1
