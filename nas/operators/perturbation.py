"""Explore: every hyperparameter of a configuration is shaken a little (Jaderberg et al. 2017, section 4.1.1).

Numbers are multiplied by 0.8 or 1.2 and stay in their range; what that does not move (a zero, a small integer) takes a
step of its own. Of choices a quarter change: an ordered one to a neighbour, another to any of its options.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from nas.operators.mutation import ordered, place_of, value_at
from search_spaces.space import Configuration, Float, Int, Parameter, Space, Value

FACTORS: Final = (0.8, 1.2)  # Jaderberg et al. 2017, section 4.1.1, "perturb"
CHANGED: Final = 0.25  # probability that a choice changes


def perturbed(
    space: Space, config: Configuration, rng: np.random.Generator, *, fixed: Sequence[str] = ()
) -> Configuration:
    """Return ``config`` with every parameter shaken but those under the path prefixes ``fixed``.

    What a changed choice opens is drawn. A ``ValueError`` says that nothing holds the linear constraints.
    """
    kept = {path: value for path, value in config.items() if under(path, fixed)}
    values: dict[str, Value] = dict(config)
    for slot in space.slots:
        if slot.path in config and slot.path not in kept and slot.parameter.size > 1:
            values[slot.path] = _shaken(slot.parameter, config[slot.path], rng)
    return space.complete(values, rng, fixed=kept)


def under(path: str, prefixes: Sequence[str]) -> bool:
    """Return whether ``path`` is one of ``prefixes`` or lies under one."""
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)


def _shaken(parameter: Parameter, value: Value, rng: np.random.Generator) -> Value:
    if isinstance(parameter, Float | Int):
        return _scaled(parameter, value, FACTORS[rng.integers(2)])
    if rng.random() >= CHANGED:
        return value
    if not ordered(parameter):
        return value_at(parameter, int(rng.integers(int(parameter.size))))
    place = place_of(parameter, value) + (1 if rng.integers(2) else -1)
    return value_at(parameter, min(max(place, 0), int(parameter.size) - 1))


def _scaled(parameter: Float | Int, value: Value, factor: float) -> Value:
    assert isinstance(value, int | float)
    if isinstance(parameter, Float):
        moved = value * factor if value else (factor - 1) * (parameter.high - parameter.low)
        return min(max(moved, parameter.low), parameter.high)
    steps = round(value * (factor - 1) / parameter.step) or (1 if factor > 1 else -1)
    return min(max(value + steps * parameter.step, parameter.low), parameter.high)
