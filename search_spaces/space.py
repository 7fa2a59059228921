"""Search spaces: ranges, conditional choices, and the configurations drawn from them. Plain data, no torch.

Notation
    path     dotted name of a parameter. A parameter ``lr`` of a part ``recipe`` is ``recipe.lr``; a parameter
             ``momentum`` in the space that option ``sgd`` of choice ``optimizer`` opens is ``optimizer.sgd.momentum``.
    unit     a parameter's place in [0, 1]: linear or logarithmic for numbers, the middle of its bin for the rest.
    D        length of ``Space.encode``: 1 per number and per ordered choice, one per option of an unordered choice.
"""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, Union

import numpy as np

from search_spaces.configuration import Configuration, Value
from search_spaces.parameter import Float, Int, Parameter

__all__ = ["Choice", "Configuration", "Float", "Int", "Linear", "Parameter", "Slot", "Space", "Value"]


@dataclass(frozen=True)
class Choice(Parameter):
    """One of ``options``: a sequence of plain values, or a map from name to None or to a ``Space`` it opens.

    ``ordered=True`` says that neighbours in the sequence are alike: surrogates then see one dimension, not k.
    ``shared=True`` says that what stands under the same path in several of the spaces is one and the same parameter:
    it is then called ``choice.name``, not ``choice.option.name``, and keeps its value when the option changes. So
    the third block of a stage is the same parameter at depth 3 and at depth 4. ``weights``, one per option, say how
    often each is drawn against the others (by default all alike).
    """

    options: tuple[Value, ...]
    ordered: bool = False
    spaces: Mapping[Value, "Space"] = field(default_factory=dict)
    preset: Value = None
    shared: bool = False
    weights: tuple[float, ...] = ()

    def __init__(
        self,
        options: Sequence[Value] | Mapping[str, Union["Space", None]],
        *,
        ordered: bool = False,
        shared: bool = False,
        weights: Sequence[float] = (),
        default: Value = None,
    ) -> None:
        names = tuple(options)
        if not names:
            raise ValueError("Choice: no options; give at least one")
        if len({(type(name), name) for name in names}) < len(names):
            raise ValueError(f"Choice: an option stands twice in {list(names)!r}")
        for name in names:
            if not (name is None or isinstance(name, bool | int | float | str)):
                raise ValueError(f"Choice: option {name!r} is neither a number, a string, a bool nor None")
        if default is not None and default not in names:
            raise ValueError(f"Choice: default={default!r} is not one of {list(names)!r}")
        if weights and (len(weights) != len(names) or not all(0 < w < math.inf for w in weights)):
            raise ValueError(
                f"Choice: weights={list(weights)!r}; give one positive number for each of {list(names)!r}"
            )
        spaces = {n: s for n, s in options.items() if s is not None} if isinstance(options, Mapping) else {}
        for name, value in (
            ("options", names),
            ("ordered", ordered),
            ("spaces", spaces),
            ("preset", default),
            ("shared", shared),
            ("weights", tuple(weights)),
        ):
            object.__setattr__(self, name, value)
        if shared:
            list(self.opened(""))  # a name with two meanings is told of here

    def __hash__(self) -> int:
        return hash((self.options, self.ordered))

    def opened(self, path: str) -> Iterator["Slot"]:
        """Yield the slots of the spaces that options open, with their conditions; this choice stands at ``path``."""
        if not self.shared:
            for option, space in self.spaces.items():
                yield from space._walk(f"{path}.{option}.", ((path, (option,)),))
            return
        holders: dict[str, list[Value]] = {}
        found: dict[str, Slot] = {}
        for option, space in self.spaces.items():
            for slot in space._walk(f"{path}.", ()):
                if found.setdefault(slot.path, slot) != slot:
                    raise ValueError(
                        f"Choice(shared=True): {slot.path.removeprefix(path + '.')!r} is {slot.parameter!r} under "
                        f"{option!r} and {found[slot.path].parameter!r} before; make both equal, or rename one"
                    )
                holders.setdefault(slot.path, []).append(option)
        for slot in found.values():
            yield Slot(slot.path, slot.parameter, ((path, tuple(holders[slot.path])), *slot.conditions))

    def value(self, unit: float) -> Value:
        if not self.weights:
            return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]
        return self.options[min(bisect_right(self._ends, unit), len(self.options) - 1)]

    def unit(self, value: Value) -> float:
        place = self.index(value)
        if not self.weights:
            return (place + 0.5) / len(self.options)
        return self._ends[place] - 0.5 * self.weights[place] / sum(self.weights)

    def bin(self, value: Value) -> tuple[float, float]:
        place = self.index(value)
        if not self.weights:
            return place / len(self.options), (place + 1) / len(self.options)
        return self._ends[place - 1] if place else 0.0, self._ends[place]

    @cached_property
    def _ends(self) -> list[float]:
        """Where the bin of each option ends in [0, 1]."""
        return [end / sum(self.weights) for end in accumulate(self.weights)]

    def index(self, value: Value) -> int:
        """Return the place of ``value`` among the options; types count (True is not 1)."""
        return self._places[type(value), value]

    @cached_property
    def _places(self) -> dict[tuple[type, Value], int]:
        return {(type(option), option): place for place, option in enumerate(self.options)}

    def problem(self, value: Any) -> str | None:
        known = isinstance(value, Hashable) and (type(value), value) in self._places
        return None if known else f"{value!r} is not one of {list(self.options)!r}"

    @property
    def size(self) -> float:
        return len(self.options)

    @property
    def default(self) -> Value:
        return (
            self.options[(len(self.options) - 1) // 2 if self.ordered else 0]
            if self.preset is None
            else self.preset
        )


@dataclass(frozen=True)
class Linear:
    """``sum(weight * value) <= bound`` over numeric paths; an inactive parameter counts as zero."""

    weights: Mapping[str, float]
    bound: float

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether ``values`` satisfy the constraint."""
        return sum(w * float(values.get(path) or 0) for path, w in self.weights.items()) <= self.bound + 1e-12


@dataclass(frozen=True)
class Slot:
    """A parameter at its path, and what makes it active: of each (path, options), one option must be chosen."""

    path: str
    parameter: Parameter
    conditions: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def active(self, values: Mapping[str, Value]) -> bool:
        """Return whether the parameter exists, given the values of those that stand before it."""
        if not self.conditions:
            return True
        path, options = self.conditions[-1]  # what it opens is active only where it is active itself
        return path in values and values[path] in options


class Space:
    """A product of named parts: parameters, or spaces of their own.

    ``constraints`` are linear inequalities over numeric paths, kept by rejection: a space in which 10,000 draws
    satisfy none is a ``ValueError`` at the first ``sample``.
    """

    def __init__(self, *, constraints: Sequence[Linear] = (), **parts: Union[Parameter, "Space"]) -> None:
        for name, part in parts.items():
            if not isinstance(part, Parameter | Space):
                raise ValueError(f"Space: part {name!r} is {part!r}; give a Float, Int, Choice or Space")
            if "." in name:
                raise ValueError(f"Space: part name {name!r} holds a dot; dots separate the parts of a path")
        self.parts = dict(parts)
        self.constraints = tuple(constraints)
        known = {slot.path for slot in self.slots}
        for constraint in self.constraints:
            for path in constraint.weights:
                if path not in known:
                    raise ValueError(
                        f"Space: a constraint names {path!r}, which is not a parameter of this space"
                    )

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={part!r}' for name, part in self.parts.items())})"

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Every parameter with its path and conditions, parents before what they open."""
        return tuple(self._walk("", ()))

    def _walk(self, prefix: str, conditions: tuple[tuple[str, tuple[Value, ...]], ...]) -> Iterator[Slot]:
        for name, part in self.parts.items():
            path = prefix + name
            if isinstance(part, Space):
                yield from part._walk(path + ".", conditions)
                continue
            yield Slot(path, part, conditions)
            if isinstance(part, Choice):
                for slot in part.opened(path):
                    yield Slot(slot.path, slot.parameter, (*conditions, *slot.conditions))

    @cached_property
    def _slot(self) -> dict[str, Slot]:
        return {slot.path: slot for slot in self.slots}

    @cached_property
    def _skips(self) -> tuple[int, ...]:
        """For each slot the place of the next one that may be active when this one is not."""
        return tuple(
            next(
                (
                    later
                    for later in range(at + 1, len(self.slots))
                    if self.slots[later].conditions[: len(slot.conditions)] != slot.conditions
                ),
                len(self.slots),
            )
            for at, slot in enumerate(self.slots)
        )

    def parameter(self, path: str) -> Parameter:
        """Return the parameter at ``path``; an unknown path is a ``ValueError``."""
        if path not in self._slot:
            from search_spaces.registry import nearest

            raise ValueError(f"no parameter {path!r} in this space; {nearest(path, list(self._slot))}")
        return self._slot[path].parameter

    @cached_property
    def size(self) -> float:
        """Number of distinct configurations (constraints not counted); ``inf`` with a continuous parameter."""
        return math.prod(_count(part) for part in self.parts.values())

    @cached_property
    def dimensions(self) -> int:
        """D, the length of ``encode``."""
        return sum(_width(slot.parameter) for slot in self.slots)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the description of the space: equal for equal spaces on every machine."""
        text = json.dumps([[s.path, repr(s.parameter), s.conditions] for s in self.slots], default=str)
        return hashlib.sha256((text + repr(self.constraints)).encode()).hexdigest()[:16]

    def sample(self, rng: np.random.Generator) -> Configuration:
        """Draw a configuration uniformly in the unit cube of its active parameters."""
        return self.complete({}, rng)

    def default(self, preferred: Mapping[str, Value] | None = None) -> Configuration:
        """Return what of ``preferred`` is active, and every other active parameter's default; trial 0 of a search."""
        values: dict[str, Value] = {}
        for slot in self.slots:
            if slot.active(values):
                path = slot.path
                values[path] = preferred[path] if preferred and path in preferred else slot.parameter.default
        return Configuration(values)

    def complete(self, partial: Mapping[str, Value], rng: np.random.Generator) -> Configuration:
        """Keep what of ``partial`` is active and in range, draw the rest. The way every operator ends."""
        slots, skips = self.slots, self._skips
        for _ in range(10_000):
            values: dict[str, Value] = {}
            at = 0
            while at < len(slots):
                slot = slots[at]
                if not slot.active(values):
                    at = skips[at]
                    continue
                at += 1
                path = slot.path
                fits = path in partial and slot.parameter.problem(partial[path]) is None
                values[path] = partial[path] if fits else slot.parameter.value(float(rng.random()))
            if all(constraint.holds(values) for constraint in self.constraints):
                return Configuration(values)
        if partial:
            return self.complete({}, rng)
        raise ValueError(
            f"10,000 draws satisfy none of the constraints {list(self.constraints)!r}; loosen a bound"
        )

    def check(self, config: Mapping[str, Value]) -> Configuration:
        """Return ``config`` as a Configuration, or raise a ``ValueError`` that names the first wrong path."""
        values: dict[str, Value] = {}
        for slot in self.slots:
            if slot.active(values):
                if slot.path not in config:
                    raise ValueError(f"parameter {slot.path!r} is missing; give {slot.parameter!r}")
                if problem := slot.parameter.problem(config[slot.path]):
                    raise ValueError(f"parameter {slot.path!r}: {problem}")
                values[slot.path] = config[slot.path]
        for path in config:
            if path not in values:
                why = "is inactive under these choices" if path in self._slot else "is not in this space"
                raise ValueError(f"parameter {path!r} {why}; leave it out")
        for constraint in self.constraints:
            if not constraint.holds(values):
                raise ValueError(f"{values!r} breaks the constraint {constraint!r}")
        return Configuration(values)

    def encode(self, config: Mapping[str, Value]) -> np.ndarray:
        """Return ``(D,)`` float64 in [0, 1]: units, and one-hot options; inactive numbers 0.5, inactive choices 0."""
        row = np.empty(self.dimensions)
        at = 0
        for slot in self.slots:
            parameter, width = slot.parameter, _width(slot.parameter)
            row[at : at + width] = 0.5 if width == 1 else 0.0
            if slot.path in config:
                if width == 1:
                    row[at] = parameter.unit(config[slot.path])
                else:
                    assert isinstance(parameter, Choice)
                    row[at + parameter.index(config[slot.path])] = 1.0
            at += width
        return row

    def grid(self) -> Iterator[Configuration]:
        """Yield every configuration of an all-discrete space, in order; a continuous range is a ``ValueError``."""
        for slot in self.slots:
            if slot.parameter.size == math.inf:
                raise ValueError(
                    f"parameter {slot.path!r} is continuous; a grid needs Int or Choice instead of Float"
                )
        yield from self._grid({}, 0)

    def _grid(self, values: dict[str, Value], at: int) -> Iterator[Configuration]:
        while at < len(self.slots) and not self.slots[at].active(values):
            at += 1
        if at == len(self.slots):
            if all(constraint.holds(values) for constraint in self.constraints):
                yield Configuration(values)
            return
        slot = self.slots[at]
        count = int(slot.parameter.size)
        options = (slot.parameter.options if isinstance(slot.parameter, Choice) else None) or [
            slot.parameter.low + i * slot.parameter.step
            if isinstance(slot.parameter, Int)
            else slot.parameter.default
            for i in range(count)
        ]
        for option in options:
            yield from self._grid({**values, slot.path: option}, at + 1)


def _width(parameter: Parameter) -> int:
    wide = isinstance(parameter, Choice) and not parameter.ordered and len(parameter.options) > 1
    return len(parameter.options) if wide and isinstance(parameter, Choice) else 1


def _count(part: Parameter | Space) -> float:
    if isinstance(part, Space):
        return part.size
    if isinstance(part, Choice):
        return sum(part.spaces[o].size if o in part.spaces else 1 for o in part.options)
    return part.size
