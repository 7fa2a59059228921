"""Mutations: some active parameters of a configuration get another value.

Notation
    unit     a number's place in [0, 1], see ``search_spaces.parameter``; an ordered choice has one too
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import numpy as np

from search_spaces.space import Choice, Configuration, Float, Int, Parameter, Space, Value

NEAR: Final = 0.15  # deviation of a step, in units of the range
FAR: Final = 0.2  # share of the steps that draw a value anew instead
ETA: Final = 20.0  # distribution index of polynomial mutation (Deb et al. 2002, section IV)
TRIES: Final = 16  # draws of an operator in search of one that holds the linear constraints

Other = Callable[[Parameter, Value, np.random.Generator], Value]


class Mutation(Protocol):
    """Returns a configuration with ``count`` active parameters changed (all of them, if there are fewer)."""

    def __call__(
        self, space: Space, config: Configuration, rng: np.random.Generator, *, count: int = 1
    ) -> Configuration: ...


def mutate(space: Space, config: Configuration, rng: np.random.Generator, *, count: int = 1) -> Configuration:
    """Return ``config`` with ``count`` active parameters changed (all of them, if there are fewer).

    A changed parameter never keeps its value. Numbers and ordered choices mostly step to a neighbour.
    """
    return _changed(space, config, rng, count, _step)


def gaussian_mutation(
    space: Space, config: Configuration, rng: np.random.Generator, *, count: int = 1
) -> Configuration:
    """Add normal noise of deviation ``NEAR`` to ``count`` parameters, cut off at the bounds (Bäck and Schwefel 1993).

    Unordered choices, which know no distance, are reset.
    """
    return _changed(space, config, rng, count, _gaussian)


def polynomial_mutation(
    space: Space, config: Configuration, rng: np.random.Generator, *, count: int = 1
) -> Configuration:
    """Perturb ``count`` parameters by the bounded polynomial distribution of index ``ETA`` (Deb and Agrawal 1999).

    Unordered choices are reset.
    """
    return _changed(space, config, rng, count, _polynomial)


def reset_mutation(
    space: Space, config: Configuration, rng: np.random.Generator, *, count: int = 1
) -> Configuration:
    """Draw ``count`` parameters anew, uniformly among their other values."""
    return _changed(space, config, rng, count, _reset)


MUTATIONS: Final[Mapping[str, Mutation]] = {
    "step": mutate,
    "gaussian": gaussian_mutation,
    "polynomial": polynomial_mutation,
    "reset": reset_mutation,
}


def _changed(
    space: Space, config: Configuration, rng: np.random.Generator, count: int, other: Other
) -> Configuration:
    movable = [slot for slot in space.slots if slot.path in config and slot.parameter.size > 1]
    if not movable or not count:
        return config

    def draw() -> dict[str, Value]:
        values: dict[str, Value] = dict(config)
        for place in rng.choice(len(movable), size=min(count, len(movable)), replace=False):
            slot = movable[place]
            values[slot.path] = other(slot.parameter, config[slot.path], rng)
        return values

    return settled(space, draw, rng)


def settled(space: Space, draw: Callable[[], dict[str, Value]], rng: np.random.Generator) -> Configuration:
    """Complete the first of up to ``TRIES`` draws that holds the linear constraints of ``space``, else the last."""
    for _ in range(TRIES):
        values = draw()
        if all(limit.holds(values) for limit in space.limits):
            break
    return space.complete(values, rng)


def ordered(parameter: Parameter) -> bool:
    """Return whether the distance between two places of ``parameter`` in the unit interval means something."""
    return isinstance(parameter, Float | Int) or (isinstance(parameter, Choice) and parameter.ordered)


def _step(parameter: Parameter, value: Value, rng: np.random.Generator) -> Value:
    if isinstance(parameter, Float):
        unit = parameter.unit(value) + NEAR * rng.standard_normal()
        anew = rng.random() < FAR or not 0 <= unit <= 1
        return parameter.value(float(rng.random() if anew else unit))
    if ordered(parameter) and rng.random() >= FAR:
        count, at = int(parameter.size), place_of(parameter, value)
        reach = max(1, round(NEAR * count))
        low, high = max(at - reach, 0), min(at + reach, count - 1)
        place = low + int(rng.integers(high - low))
        return value_at(parameter, place + (place >= at))
    return _reset(parameter, value, rng)


def _reset(parameter: Parameter, value: Value, rng: np.random.Generator) -> Value:
    if isinstance(parameter, Float):
        return parameter.value(float(rng.random()))
    at, place = place_of(parameter, value), int(rng.integers(int(parameter.size) - 1))
    return value_at(parameter, place + (place >= at))


def _gaussian(parameter: Parameter, value: Value, rng: np.random.Generator) -> Value:
    if not ordered(parameter):
        return _reset(parameter, value, rng)
    return _moved(parameter, value, NEAR * float(rng.standard_normal()))


def _polynomial(parameter: Parameter, value: Value, rng: np.random.Generator) -> Value:
    if not ordered(parameter):
        return _reset(parameter, value, rng)
    unit, u, power = parameter.unit(value), float(rng.random()), 1 / (ETA + 1)
    if u < 0.5:
        shift = (2 * u + (1 - 2 * u) * (1 - unit) ** (ETA + 1)) ** power - 1
    else:
        shift = 1 - (2 * (1 - u) + (2 * u - 1) * unit ** (ETA + 1)) ** power
    return _moved(parameter, value, shift)


def _moved(parameter: Parameter, value: Value, shift: float) -> Value:
    """Return the value ``shift`` away in the unit interval, the other way at a bound; never ``value`` itself.

    In a discrete range it is at least one place away.
    """
    unit = parameter.unit(value)
    there = parameter.value(min(max(unit + shift, 0.0), 1.0))
    if there != value:
        return there
    if isinstance(parameter, Float):
        return parameter.value(min(max(unit - shift, 0.0), 1.0))
    at = place_of(parameter, value)
    inward = at + (1 if shift > 0 else -1)
    return value_at(parameter, inward if 0 <= inward < parameter.size else 2 * at - inward)


def place_of(parameter: Parameter, value: Value) -> int:
    """Return the place of ``value`` among the values of a discrete range, from 0."""
    if isinstance(parameter, Choice):
        return parameter.index(value)
    assert isinstance(parameter, Int) and isinstance(value, int)
    return (value - parameter.low) // parameter.step


def value_at(parameter: Parameter, place: int) -> Value:
    """Return the value at ``place`` of a discrete range."""
    if isinstance(parameter, Choice):
        return parameter.options[place]
    assert isinstance(parameter, Int)
    return parameter.low + place * parameter.step
