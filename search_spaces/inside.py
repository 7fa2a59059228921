"""Configurations moved to where the linear constraints of their space hold."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from search_spaces.configuration import Value
from search_spaces.linear import PASSES, SWEEPS, Limit, Polytope, listed
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
    values = _chosen(slots, limits, values, still, drawn, rng)
    if all(limit.holds(values) for limit in limits):
        return values
    polytope = Polytope(limits, values, _moving(slots, values, still))
    order = rng.permutation(len(polytope.paths)).tolist()
    if not order or not (polytope.enter(order) or polytope.approach()):
        return None
    polytope.stir([at for at, path in enumerate(polytope.paths) if path in drawn], rng)
    return {**values, **polytope.values()}


def _chosen(
    slots: Mapping[str, Slot],
    limits: Sequence[Limit],
    values: Values,
    still: Collection[str],
    drawn: Collection[str],
    rng: np.random.Generator,
) -> Values:
    """Return ``values`` with choices among numbers, all but ``still``, nearer to where ``limits`` hold.

    Choice after choice takes an option with which all limits hold, or the one that breaks them least. Where all hold
    then, those ``drawn`` are drawn anew, one given the others (Gibbs sampling).
    """
    weighed = {path for limit in limits for path in limit.linear.weights}
    movable = [path for path in values if path in weighed and path not in still]
    paths = [path for path in movable if not isinstance(slots[path].parameter, Float | Int)]
    for _ in range(PASSES):
        for at in rng.permutation(len(paths)):
            if not _excess(limits, values):
                break
            values = _option(slots, limits, values, paths[at], rng)
    if paths and not _excess(limits, values):
        for _ in range(SWEEPS):
            for at in rng.permutation(len(paths)):
                if paths[at] in drawn:
                    values = _option(slots, limits, values, paths[at], rng)
    return values


def _option(
    slots: Mapping[str, Slot],
    limits: Sequence[Limit],
    values: Values,
    path: str,
    rng: np.random.Generator,
) -> Values:
    """Return ``values`` with one of the options of ``path`` that break ``limits`` least."""
    tried = [{**values, path: option} for option in slots[path].parameter.values]
    excess = [_excess(limits, one) for one in tried]
    least = [one for one, over in zip(tried, excess, strict=True) if over <= min(excess)]
    return least[rng.integers(len(least))]


def _excess(limits: Sequence[Limit], values: Mapping[str, Value]) -> float:
    """Return by how much ``values`` break ``limits``, all together; 0 where all hold."""
    broken = [limit.linear for limit in limits if not limit.holds(values)]
    return sum(sum(one.terms(values)) - one.bound for one in broken)


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
