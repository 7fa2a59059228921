"""Mutation, crossover and selection on any space, conditional ones included.

Every operator makes a partial assignment and ends in ``Space.complete``: what still fits is kept, what a changed
choice has newly opened is drawn.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from search_spaces.space import Choice, Configuration, Float, Int, Parameter, Space, Value

NEAR = 0.15  # deviation of a Float's step, in units of its range
FAR = 0.2  # share of mutations that draw a value anew instead of stepping to a neighbour


def mutate(space: Space, config: Configuration, rng: np.random.Generator, *, count: int = 1) -> Configuration:
    """Return ``config`` with ``count`` active parameters changed (all of them, if there are fewer).

    A changed parameter never keeps its value. Numbers and ordered choices mostly step to a neighbour.
    """
    movable = [slot for slot in space.slots if slot.path in config and slot.parameter.size > 1]
    if not movable:
        return config
    chosen = rng.choice(len(movable), size=min(count, len(movable)), replace=False)
    values: dict[str, Value] = dict(config)
    for place in chosen:
        slot = movable[place]
        values[slot.path] = _other(slot.parameter, config[slot.path], rng)
    return space.complete(values, rng)


def _other(parameter: Parameter, value: Value, rng: np.random.Generator) -> Value:
    """Draw a value of ``parameter`` that is not ``value``."""
    if isinstance(parameter, Float):
        unit = parameter.unit(value) + NEAR * rng.standard_normal()
        anew = rng.random() < FAR or not 0 <= unit <= 1
        return parameter.value(float(rng.random() if anew else unit))
    count = int(parameter.size)
    at = _place(parameter, value)
    ordered = isinstance(parameter, Int) or (isinstance(parameter, Choice) and parameter.ordered)
    if ordered and rng.random() >= FAR:
        reach = max(1, round(NEAR * count))
        steps = [step for step in range(-reach, reach + 1) if step and 0 <= at + step < count]
        return _at(parameter, at + steps[rng.integers(len(steps))])
    other = int(rng.integers(count - 1))
    return _at(parameter, other + (other >= at))


def _place(parameter: Parameter, value: Value) -> int:
    if isinstance(parameter, Choice):
        return parameter.index(value)
    assert isinstance(parameter, Int) and isinstance(value, int)
    return (value - parameter.low) // parameter.step


def _at(parameter: Parameter, place: int) -> Value:
    if isinstance(parameter, Choice):
        return parameter.options[place]
    assert isinstance(parameter, Int)
    return parameter.low + place * parameter.step


def uniform_crossover(
    space: Space, mother: Mapping[str, Value], father: Mapping[str, Value], rng: np.random.Generator
) -> Configuration:
    """Return a child that takes each parameter from either parent with equal chance (Syswerda 1989)."""
    return _cross(space, mother, father, rng.random(len(space.slots)) < 0.5, rng)


def two_point_crossover(
    space: Space, mother: Mapping[str, Value], father: Mapping[str, Value], rng: np.random.Generator
) -> Configuration:
    """Return a child that takes one stretch of the parameters, in the order of the space, from ``father``."""
    begin, end = sorted(rng.integers(0, len(space.slots) + 1, size=2))
    places = np.arange(len(space.slots))
    return _cross(space, mother, father, (places >= begin) & (places < end), rng)


def _cross(
    space: Space,
    mother: Mapping[str, Value],
    father: Mapping[str, Value],
    swapped: np.ndarray,
    rng: np.random.Generator,
) -> Configuration:
    """Where the preferred parent has no such parameter active, the other one's value serves."""
    values: dict[str, Value] = {}
    for slot, swap in zip(space.slots, swapped, strict=True):
        first, second = (father, mother) if swap else (mother, father)
        if slot.path in first or slot.path in second:
            values[slot.path] = first[slot.path] if slot.path in first else second[slot.path]
    return space.complete(values, rng)


def tournament(ranks: Sequence[float], size: int, rng: np.random.Generator) -> int:
    """Return the place of the least of ``size`` members of ``ranks``, drawn without replacement."""
    drawn = rng.choice(len(ranks), size=min(size, len(ranks)), replace=False)
    return int(min(drawn, key=lambda place: (ranks[place], place)))
