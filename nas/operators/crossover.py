"""Crossovers: a child takes what its parents have, or what lies between them.

Where the preferred parent has no such parameter active, the other one's value serves.

Notation
    unit     a number's place in [0, 1], see ``search_spaces.parameter``; an ordered choice has one too
"""

import math
from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np

from nas.operators.mutation import ordered, settled
from search_spaces.space import Configuration, Slot, Space, Value

ALPHA: Final = 0.5  # how far BLX-alpha reaches beyond both parents, in units of their distance
ETA: Final = 20.0  # distribution index of simulated binary crossover (Deb et al. 2002, section IV)

Values = Mapping[str, Value]


class Crossover(Protocol):
    """Returns a child of ``mother`` and ``father``."""

    def __call__(
        self, space: Space, mother: Values, father: Values, rng: np.random.Generator
    ) -> Configuration: ...


def uniform_crossover(
    space: Space, mother: Values, father: Values, rng: np.random.Generator
) -> Configuration:
    """Return a child that takes each parameter from either parent with equal chance (Syswerda 1989)."""
    return settled(space, lambda: _taken(space, mother, father, rng.random(len(space.slots)) < 0.5), rng)


def two_point_crossover(
    space: Space, mother: Values, father: Values, rng: np.random.Generator
) -> Configuration:
    """Return a child that takes one stretch of the parameters, in the order of the space, from ``father``."""
    places = np.arange(len(space.slots))

    def draw() -> dict[str, Value]:
        begin, end = sorted(rng.integers(0, len(space.slots) + 1, size=2))
        return _taken(space, mother, father, (places >= begin) & (places < end))

    return settled(space, draw, rng)


def blend_crossover(space: Space, mother: Values, father: Values, rng: np.random.Generator) -> Configuration:
    """Return a child whose numbers lie uniformly between its parents' and ``ALPHA`` beyond (BLX-alpha).

    Eshelman and Schaffer 1993, cut off at the bounds. What is no number crosses uniformly.
    """

    def draw() -> dict[str, Value]:
        values = _taken(space, mother, father, rng.random(len(space.slots)) < 0.5)
        for slot, gamma in zip(space.slots, rng.random(len(space.slots)), strict=True):
            if _joined(slot, mother, father):
                low, high = _units(slot, mother, father)
                unit = low + ((1 + 2 * ALPHA) * gamma - ALPHA) * (high - low)
                values[slot.path] = slot.parameter.value(float(min(max(unit, 0.0), 1.0)))
        return values

    return settled(space, draw, rng)


def simulated_binary_crossover(
    space: Space, mother: Values, father: Values, rng: np.random.Generator
) -> Configuration:
    """Return one of the two children of SBX within bounds, index ``ETA`` (Deb and Agrawal 1995; Deb et al. 2002).

    Each number crosses with chance 0.5, else it is the mother's. What is no number crosses uniformly.
    """

    def draw() -> dict[str, Value]:
        chances = rng.random((len(space.slots), 3))
        values = _taken(space, mother, father, chances[:, 0] < 0.5)
        for slot, (crosses, u, side) in zip(space.slots, chances, strict=True):
            if _joined(slot, mother, father):
                values[slot.path] = mother[slot.path]
                if crosses < 0.5:
                    low, high = _units(slot, mother, father)
                    values[slot.path] = slot.parameter.value(_spread(low, high, float(u), side < 0.5))
        return values

    return settled(space, draw, rng)


CROSSOVERS: Final[Mapping[str, Crossover]] = {
    "uniform": uniform_crossover,
    "two-point": two_point_crossover,
    "blend": blend_crossover,
    "simulated-binary": simulated_binary_crossover,
}


def _taken(space: Space, mother: Values, father: Values, swapped: np.ndarray) -> dict[str, Value]:
    """Take what is ``swapped`` (slots,) from ``father``, the rest from ``mother``."""
    values: dict[str, Value] = {}
    for slot, swap in zip(space.slots, swapped, strict=True):
        first, second = (father, mother) if swap else (mother, father)
        if slot.path in first or slot.path in second:
            values[slot.path] = first[slot.path] if slot.path in first else second[slot.path]
    return values


def _joined(slot: Slot, mother: Values, father: Values) -> bool:
    """Return whether both parents have a number there, and not the same one."""
    path = slot.path  # the order of the tests is that of their cost
    return path in mother and path in father and mother[path] != father[path] and ordered(slot.parameter)


def _units(slot: Slot, mother: Values, father: Values) -> tuple[float, float]:
    one, two = slot.parameter.unit(mother[slot.path]), slot.parameter.unit(father[slot.path])
    return min(one, two), max(one, two)


def _spread(low: float, high: float, u: float, lower: bool) -> float:
    """Return a child of ``low`` < ``high`` in [0, 1], on the lower or the upper side."""
    reach = low if lower else 1 - high
    beta = 1 + 2 * reach / (high - low) if high > low else 1.0
    share = u * (2 - math.pow(beta, -(ETA + 1)))
    spread = math.pow(share if share <= 1 else 1 / (2 - share), 1 / (ETA + 1))
    unit = 0.5 * (low + high + (-spread if lower else spread) * (high - low))
    return min(max(unit, 0.0), 1.0)
