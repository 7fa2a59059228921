"""Every configuration of a space in order; where a constraint can no longer hold, no branch is entered."""

import math
from collections.abc import Iterator, Mapping, Sequence

from search_spaces.configuration import Configuration, Value
from search_spaces.linear import Limit
from search_spaces.parameter import Parameter
from search_spaces.slot import Slot


def grid(slots: Sequence[Slot], limits: Sequence[Limit], levels: int) -> Iterator[Configuration]:
    """Yield every configuration of ``slots`` that holds ``limits``; continuous ranges take ``levels`` even values."""
    known = {slot.path: _values(slot.parameter, levels) for slot in slots}
    order = {slot.path: at for at, slot in enumerate(slots)}
    least = {
        (path, weight): _least(slots[order[path]], known[path], weight)
        for limit in limits
        for path, weight in limit.linear.weights.items()
    }

    def may_hold(limit: Limit, values: Mapping[str, Value], at: int) -> bool:
        """Return whether ``limit`` can hold once the slots from ``at`` on have values."""
        if not limit.active(values):
            return True
        ahead = {p: least[p, w] for p, w in limit.linear.weights.items() if order[p] >= at}
        return limit.linear.holds({**values, **ahead})

    def branch(values: dict[str, Value], at: int) -> Iterator[Configuration]:
        while at < len(slots) and not slots[at].active(values):
            at += 1
        if not all(may_hold(limit, values, at) for limit in limits):
            return
        if at == len(slots):
            yield Configuration(values)
            return
        for value in known[slots[at].path]:
            yield from branch({**values, slots[at].path: value}, at + 1)

    yield from branch({}, 0)


def _least(slot: Slot, values: Sequence[Value], weight: float) -> float:
    """Return the value that adds the least to a constraint; an inactive parameter counts as zero."""
    numbers = [float(value or 0) for value in values]
    ends = [*numbers, 0.0] if slot.conditions else numbers
    return min(ends) if weight > 0 else max(ends)


def _values(parameter: Parameter, levels: int) -> Sequence[Value]:
    if parameter.size < math.inf:
        return parameter.values
    return [parameter.value(place / (levels - 1)) for place in range(levels)]
