"""What a search space holds, found by drawing from it before anything is trained; the numbers, not their print.

Notation
    network     what a draw describes without its recipe: two designs may train one network
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from estimators.dataset import Dataset
from estimators.metric import METRICS
from nas.calibration import epoch_cost
from nas.draws import Draw, draw, measured
from nas.rates import Found
from nas.sensitivity import Change, changes
from nas.trial import Constraint
from search_spaces.architecture import SearchSpace
from search_spaces.space import Choice, Float, Parameter, Space, Value

MOST = 5_000  # draws before a constraint is said to be out of reach
FREE = (*(name for name, metric in METRICS.items() if metric.free), "memory")  # the last is predicted


@dataclass(frozen=True)
class Size:
    """``combinations`` counts the discrete values, conditions obeyed; ``dimensions`` is D of ``Space.encode``."""

    parameters: int
    continuous: int
    combinations: int
    dimensions: int


@dataclass(frozen=True)
class Spread:
    """A metric over the draws. ``where`` are the numbers of the draws that are ``minimum``, ``median``, ``maximum``."""

    minimum: float
    default: float
    median: float
    maximum: float
    where: tuple[int, int, int]


@dataclass(frozen=True)
class Reach:
    """How many of ``draws`` meet a constraint: 95 % ``interval`` of the share (Wilson 1927), ``nearest`` value seen."""

    constraint: str
    met: int
    draws: int
    interval: tuple[float, float]
    nearest: float | None


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch on all ``images``: the default design's measured, two quantiles of the draws by MACs."""

    images: int
    default: float
    median: float
    ninetieth: float


@dataclass(frozen=True)
class Inspection:
    """All that is known of a space before training.

    ``reason`` is the first error in decoding, ``configs`` are those of the draws that ``spreads`` name, ``shown`` are
    two draws to look at.
    """

    sizes: Mapping[str, Size]
    samples: int
    seed: int
    invalid: int
    reason: str
    same_network: int
    same_design: int
    spreads: Mapping[str, Spread]
    configs: Mapping[int, Mapping[str, Value]]
    changes: tuple[Change, ...]
    reaches: tuple[Reach, ...]
    ninetieth_macs: float
    shown: tuple[Draw, ...]
    pace: Pace | None = None
    rates: Mapping[str, Found] | None = None

    @property
    def impossible(self) -> str | None:
        """The message on the first constraint that no draw meets, or None."""
        for reach in self.reaches:
            if reach.met == 0:
                seen = "" if reach.nearest is None else f"; the nearest value seen is {reach.nearest:,.0f}"
                return f"none of {reach.draws:,} draws meets {reach.constraint}{seen}; loosen it or change the space"
        return None


def inspect(
    search_space: SearchSpace, *, samples: int = 500, seed: int = 0, constraints: Sequence[Constraint] = ()
) -> Inspection:
    """Draw ``samples`` designs and say what they are like; nothing is trained.

    A constraint that none of them meets is looked for in ``MOST`` draws. Raises ``ValueError`` when the default
    design or every draw is invalid, or when a constraint names what only training tells.
    """
    check(samples, seed, constraints)
    tried = [draw(search_space, number, seed) for number in range(samples)]
    draws = [one for one in tried if isinstance(one, Draw)]
    reason = next((one for one in tried if isinstance(one, str)), "")
    if not draws:
        raise ValueError(f"none of {samples} samples decodes; the first says: {reason}")
    default = measured(search_space, search_space.space.default())
    macs = sorted(one.metrics["macs"] for one in draws)
    spreads = {name: spread(draws, name, value) for name, value in default.items()}
    named = {number for one in spreads.values() for number in one.where}
    return Inspection(
        sizes={
            name: size_of(part) for name, part in search_space.space.parts.items() if isinstance(part, Space)
        },
        samples=samples,
        seed=seed,
        invalid=samples - len(draws),
        reason=reason,
        same_network=len(draws) - len({one.network for one in draws}),
        same_design=len(draws) - len({(one.network, one.design.recipe) for one in draws}),
        spreads=spreads,
        configs={one.number: dict(one.design.config) for one in draws if one.number in named},
        changes=changes(search_space, draws, seed),
        reaches=reaches(search_space, constraints, draws, samples, seed),
        ninetieth_macs=macs[math.ceil(0.9 * len(macs)) - 1],
        shown=tuple(draws[:2]),
    )


def check(samples: int, seed: int, constraints: Sequence[Constraint]) -> None:
    """Raise a ``ValueError`` on what ``inspect`` cannot take."""
    if samples < 1:
        raise ValueError(f"samples={samples}: give at least 1")
    if seed < 0:
        raise ValueError(f"seed={seed}: give a whole number from 0 up")
    for constraint in constraints:
        if constraint.name not in FREE:
            raise ValueError(
                f"constraint {str(constraint)!r}: {constraint.name} is known only after training; before it there "
                f"are {', '.join(FREE)}"
            )


def size_of(space: Space) -> Size:
    """Count what is searched; a parameter with one value is not."""
    searched = [slot.parameter for slot in space.slots if slot.parameter.size > 1]
    continuous = sum(isinstance(parameter, Float) for parameter in searched)
    return Size(len(searched), continuous, _combinations(space), space.dimensions)


def _combinations(part: Parameter | Space) -> int:
    """Count the discrete values of what is active together, exactly."""
    if isinstance(part, Space):
        return math.prod(map(_combinations, part.parts.values()))
    if isinstance(part, Choice):
        return sum(_combinations(part.spaces[o]) if o in part.spaces else 1 for o in part.options)
    return 1 if isinstance(part, Float) else int(part.size)


def spread(draws: Sequence[Draw], name: str, default: float) -> Spread:
    """Return where the metric ``name`` lies; of draws that tie, the first is named."""
    order = sorted(draws, key=lambda one: one.metrics[name])
    values = [one.metrics[name] for one in order]
    found = values[0], statistics.median_low(values), values[-1]
    low, middle, high = (order[values.index(value)].number for value in found)
    return Spread(found[0], default, found[1], found[2], (low, middle, high))


def reaches(
    search_space: SearchSpace,
    constraints: Sequence[Constraint],
    draws: Sequence[Draw],
    samples: int,
    seed: int,
) -> tuple[Reach, ...]:
    """Return how often each constraint holds among all ``samples``, and last, of several, how often all do.

    If one of these never holds, ``MOST`` draws are looked at instead.
    """
    groups = [(one,) for one in constraints] + ([tuple(constraints)] if len(constraints) > 1 else [])
    metrics = [one.metrics for one in draws]
    if samples < MOST and any(not _met(group, metrics) for group in groups):
        more = (draw(search_space, number, seed) for number in range(samples, MOST))
        metrics, samples = metrics + [one.metrics for one in more if isinstance(one, Draw)], MOST
    return tuple(_reach(group, metrics, samples) for group in groups)


def _met(group: Sequence[Constraint], metrics: Sequence[Mapping[str, float]]) -> int:
    return sum(all(constraint.violation(one) == 0 for constraint in group) for one in metrics)


def _reach(group: Sequence[Constraint], metrics: Sequence[Mapping[str, float]], samples: int) -> Reach:
    met = _met(group, metrics)
    interval = binomtest(met, samples).proportion_ci(0.95, method="wilson")
    first = group[0]
    nearest = (min if first.upper else max)(one[first.name] for one in metrics)
    text = " and ".join(map(str, group))
    return Reach(text, met, samples, (interval.low, interval.high), nearest if len(group) == 1 else None)


def pace(search_space: SearchSpace, dataset: Dataset, found: Inspection, device: str) -> Pace:
    """Time the default design for a moment on ``dataset``; ``Failed`` if it cannot be trained.

    The share of an epoch's time that grows with the images is taken to grow with the MACs as well.
    """
    cost, count, macs = epoch_cost(search_space, dataset, device), len(dataset.train), found.spreads["macs"]
    default, median, ninetieth = (
        cost.seconds(count * each / macs.default)
        for each in (macs.default, macs.median, found.ninetieth_macs)
    )
    return Pace(count, default, median, ninetieth)
