"""Configurations moved to where the linear constraints of their space hold."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from search_spaces.configuration import Value
from search_spaces.linear import Limit, Polytope, listed
from search_spaces.parameter import Float, Int
from search_spaces.slot import Slot

TRIES = 12  # draws that may break the constraints before one is moved to where they hold
STRUCTURES = 50  # draws of choices for which that is tried

Values = dict[str, Value]
Fill = Callable[[Mapping[str, Value]], tuple[Values, list[str]]]


def inside(
    fill: Fill,
    slots: Mapping[str, Slot],
    limits: Sequence[Limit],
    wanted: Mapping[str, Value],
    fixed: Mapping[str, Value],
    rng: np.random.Generator,
) -> Values:
    """Return a completion of ``wanted``, or else of ``fixed`` alone, that holds all ``limits``.

    ``fill`` draws what is missing and names it. What was drawn moves first, then what was wanted; ``fixed`` does not.
    """
    for _ in range(TRIES):
        values, drawn = fill(wanted)
        if all(limit.holds(values) for limit in limits):
            return values
        if not drawn:
            break
    for kept in (wanted, fixed):
        for _ in range(STRUCTURES):
            values, drawn = fill(kept)
            for still in (values.keys() - set(drawn), fixed):
                if (found := _drawn_inside(slots, limits, values, still, drawn, rng)) is not None:
                    return found
            if not drawn:
                break
    given = f" with {listed(fixed)}" if fixed else ""
    named = ", ".join(str(limit.linear) for limit in limits)
    raise ValueError(f"no configuration{given} holds the constraints {named}; loosen a bound")


def _drawn_inside(
    slots: Mapping[str, Slot],
    limits: Sequence[Limit],
    values: Values,
    still: Collection[str],
    drawn: Collection[str],
    rng: np.random.Generator,
) -> Values | None:
    """Return ``values`` moved to where ``limits`` hold, all but ``still``; numbers among ``drawn`` are drawn there."""
    polytope = Polytope(limits, values, _moving(slots, values, still))
    order = rng.permutation(len(polytope.paths)).tolist()
    if not order or not (polytope.enter(order) or polytope.approach()):
        return None
    polytope.stir([at for at, path in enumerate(polytope.paths) if path in drawn], rng)
    return {**values, **polytope.values()}


def nearest_inside(
    slots: Mapping[str, Slot], limits: Sequence[Limit], values: Values, still: Collection[str]
) -> Values | None:
    """Return ``values`` moved as little as possible to where ``limits`` hold, all but ``still``; None if none do."""
    polytope = Polytope(limits, values, _moving(slots, values, still))
    return {**values, **polytope.values()} if polytope.paths and polytope.approach() else None


def _moving(
    slots: Mapping[str, Slot], values: Mapping[str, Value], still: Collection[str]
) -> dict[str, Float | Int]:
    return {
        path: slots[path].parameter  # type: ignore[misc]
        for path in values
        if path not in still and isinstance(slots[path].parameter, Float | Int)
    }
