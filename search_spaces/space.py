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
from search_spaces.grid import grid
from search_spaces.inside import inside, nearest_inside
from search_spaces.linear import Limit, Linear, listed
from search_spaces.parameter import Float, Int, Parameter
from search_spaces.registry import nearest
from search_spaces.slot import Conditions, Slot

__all__ = ["Choice", "Configuration", "Float", "Int", "Linear", "Parameter", "Slot", "Space", "Value"]


def _plain(option: Any) -> Any:
    """Return an option of numpy, of an enumeration or of another subclass as the plain value that it is."""
    if isinstance(option, np.generic):
        option = option.item()
    kinds = (bool, int, float, str)
    return next((kind(option) for kind in kinds if isinstance(option, kind)), option)


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
        if isinstance(options, str):
            raise ValueError(
                f"Choice: options={options!r} is one word; give a list, for example [{options!r}]"
            )
        names = tuple(map(_plain, options))
        default = _plain(default)
        if not names:
            raise ValueError("Choice: no options; give at least one")
        if len({(type(name), name) for name in names}) < len(names):
            raise ValueError(f"Choice: an option stands twice in {list(names)!r}")
        for name in names:
            if not (name is None or isinstance(name, bool | int | float | str)):
                raise ValueError(f"Choice: option {name!r} is neither a number, a string, a bool nor None")
            if isinstance(name, float) and not math.isfinite(name):
                raise ValueError(f"Choice: option {name!r} is not finite; give a number, or a word for it")
        if default is not None and (type(default), default) not in {(type(name), name) for name in names}:
            raise ValueError(f"Choice: default={default!r} is not one of {list(names)!r}")
        if weights and (len(weights) != len(names) or not all(0 < w < math.inf for w in weights)):
            raise ValueError(
                f"Choice: weights={list(weights)!r}; give one positive number for each of {list(names)!r}"
            )
        opened = options.items() if isinstance(options, Mapping) else ()
        spaces = {_plain(name): space for name, space in opened if space is not None}
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
    def values(self) -> Sequence[Value]:
        return self.options

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


class Space:
    """A product of named parts: parameters, or spaces of their own.

    ``constraints`` are linear inequalities over numeric paths. Those of a nested space count too, where it is open.
    What is drawn, completed, enumerated and the default hold them; a space in which nothing does is a ``ValueError``
    at the first draw.
    """

    def __init__(self, *, constraints: Sequence[Linear] = (), **parts: Union[Parameter, "Space"]) -> None:
        for name, part in parts.items():
            if not isinstance(part, Parameter | Space):
                raise ValueError(f"Space: part {name!r} is {part!r}; give a Float, Int, Choice or Space")
            if "." in name:
                raise ValueError(f"Space: part name {name!r} holds a dot; dots separate the parts of a path")
        self.parts = dict(parts)
        self.constraints = tuple(constraints)
        if len(self._slot) < len(self.slots):
            paths = [slot.path for slot in self.slots]
            twice = next(path for path in paths if paths.count(path) > 1)
            raise ValueError(f"Space: two parameters stand at {twice!r}; rename an option or a part")
        for constraint in self.constraints:
            if not isinstance(constraint, Linear):
                raise ValueError(
                    f"Space: constraint {constraint!r} is no Linear; write Linear({{'a': 1, 'b': 2}}, 8) for "
                    "a + 2 b <= 8"
                )
            for path in constraint.weights:
                self._constrained(path)

    def _constrained(self, path: str) -> None:
        """Raise a ``ValueError`` if no constraint may name ``path``."""
        if path not in self._slot:
            raise ValueError(
                f"Space: a constraint names {path!r}, which is not a parameter of this space; "
                + nearest(path, list(self._slot))
            )
        parameter = self._slot[path].parameter
        if isinstance(parameter, Choice) and not all(
            isinstance(o, bool | int | float) for o in parameter.options
        ):
            raise ValueError(
                f"Space: a constraint names {path!r}, whose options are not numbers; leave it out"
            )

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={part!r}' for name, part in self.parts.items())})"

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Every parameter with its path and conditions, parents before what they open."""
        return tuple(self._walk("", ()))

    def _walk(self, prefix: str, conditions: Conditions) -> Iterator[Slot]:
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
    def limits(self) -> tuple[Limit, ...]:
        """All constraints with full paths, those of nested spaces among them."""
        return tuple(self._limits("", ()))

    def _limits(self, prefix: str, conditions: Conditions) -> Iterator[Limit]:
        for one in self.constraints:
            yield Limit(Linear({prefix + path: w for path, w in one.weights.items()}, one.bound), conditions)
        for name, part in self.parts.items():
            path = prefix + name
            if isinstance(part, Space):
                yield from part._limits(path + ".", conditions)
            elif isinstance(part, Choice):
                for option, space in part.spaces.items():
                    inner = f"{path}." if part.shared else f"{path}.{option}."
                    yield from space._limits(inner, (*conditions, (path, (option,))))

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
            raise ValueError(f"no parameter {path!r} in this space; {nearest(path, list(self._slot))}")
        return self._slot[path].parameter

    @cached_property
    def size(self) -> float:
        """Number of distinct configurations (constraints not counted); ``inf`` with a continuous parameter."""
        return math.prod(_count(part) for part in self.parts.values())

    @cached_property
    def discrete(self) -> bool:
        """Whether no parameter is continuous."""
        return all(slot.parameter.size < math.inf for slot in self.slots)

    @cached_property
    def dimensions(self) -> int:
        """D, the length of ``encode``."""
        return sum(_width(slot.parameter) for slot in self.slots)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the description of the space: equal for equal spaces on every machine."""
        text = json.dumps([[s.path, repr(s.parameter), s.conditions] for s in self.slots], default=str)
        return hashlib.sha256((text + repr(self.limits)).encode()).hexdigest()[:16]

    def sample(self, rng: np.random.Generator) -> Configuration:
        """Draw a configuration uniformly in the unit cube of its active parameters."""
        return self.complete({}, rng)

    def default(self, preferred: Mapping[str, Value] | None = None) -> Configuration:
        """Return what of ``preferred`` is active, and every other active parameter's default; trial 0 of a search.

        Where that breaks constraints, numbers whose default nobody gave move as little as they can, then those
        preferred. A ``ValueError`` says that the defaults given cannot hold.
        """
        preferred = preferred or {}
        values = self.filled(preferred)
        if all(limit.holds(values) for limit in self.limits):
            return Configuration(values)
        given = {slot.path for slot in self.slots if slot.path not in preferred and _given(slot.parameter)}
        for kept in (given | preferred.keys(), given):
            if (found := nearest_inside(self._slot, self.limits, values, kept)) is not None:
                return Configuration(found)
        if not given and not preferred:
            return self.complete(values, np.random.default_rng(0))
        raise ValueError(
            f"the defaults {listed({path: values[path] for path in values if path in given})} break the constraints "
            f"{', '.join(str(limit.linear) for limit in self.limits)}; change a default=, or loosen a bound"
        )

    def filled(self, partial: Mapping[str, Value]) -> dict[str, Value]:
        """Return what of ``partial`` is active and every other active parameter's default, constraints not asked."""
        values: dict[str, Value] = {}
        for slot in self.slots:
            if slot.active(values):
                path = slot.path
                values[path] = partial.get(path, slot.parameter.default)
        return values

    def complete(
        self,
        partial: Mapping[str, Value],
        rng: np.random.Generator,
        *,
        fixed: Mapping[str, Value] | None = None,
    ) -> Configuration:
        """Keep what of ``partial`` is active and in range, draw the rest. The way every operator ends.

        Where constraints do not hold then, what was drawn moves, then what was kept; ``fixed`` values, which count
        before those of ``partial``, never do. A ``ValueError`` says that nothing holds the constraints.
        """
        wanted = {**partial, **fixed} if fixed else partial
        if not self.limits:
            return Configuration(self._fill(wanted, rng)[0])
        values = inside(lambda kept: self._fill(kept, rng), self._slot, self.limits, wanted, fixed or {}, rng)
        return Configuration(values)

    def _fill(
        self, partial: Mapping[str, Value], rng: np.random.Generator
    ) -> tuple[dict[str, Value], list[str]]:
        """Return values of all active parameters, and the paths of those that were drawn."""
        slots, skips = self.slots, self._skips
        values: dict[str, Value] = {}
        drawn = []
        at = 0
        while at < len(slots):
            slot = slots[at]
            if not slot.active(values):
                at = skips[at]
                continue
            at += 1
            path = slot.path
            if path in partial and slot.parameter.problem(partial[path]) is None:
                values[path] = partial[path]
            else:
                values[path] = slot.parameter.value(float(rng.random()))
                drawn.append(path)
        return values, drawn

    def partial(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return ``values`` with the options they imply, or raise a ``ValueError`` that names the first wrong path.

        Wrong is a path that the space does not have, a value out of range, and one that another value rules out.
        """
        given: dict[str, Any] = {p: v.item() if isinstance(v, np.generic) else v for p, v in values.items()}
        implied: dict[str, list[Value]] = {}
        for path, value in tuple(given.items()):
            if problem := self.parameter(path).problem(value):
                raise ValueError(f"parameter {path!r}: {problem}")
            if isinstance(self.parameter(path), Float):
                given[path] = float(value)
            for choice, options in self._slot[path].conditions:
                left = [o for o in implied.get(choice, options) if o in options]
                if choice not in values and left:
                    implied[choice] = left
                    given[choice] = left[0]
                elif given.get(choice) not in options:
                    raise ValueError(
                        f"parameter {path!r} is inactive with {choice!r} at {given[choice]!r}; leave it out, or "
                        f"choose {' or '.join(map(repr, options))}"
                    )
        return given

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
        for limit in self.limits:
            if not limit.holds(values):
                named = {path: values[path] for path in limit.linear.weights if path in values}
                raise ValueError(f"{listed(named)} breaks the constraint {limit.linear}; change one of them")
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

    def grid(self, levels: int | None = None) -> Iterator[Configuration]:
        """Yield every configuration of an all-discrete space that holds the constraints, in order.

        A continuous range takes ``levels`` evenly spaced values, both bounds among them; without it, or with fewer
        than two, it is a ``ValueError``.
        """
        if levels is not None and levels < 2:
            raise ValueError(f"levels={levels!r}; a grid needs 2 or more on a continuous parameter")
        for slot in self.slots:
            if slot.parameter.size == math.inf and levels is None:
                raise ValueError(
                    f"parameter {slot.path!r} is continuous; a grid needs Int or Choice instead of Float, or levels="
                )
        return grid(self.slots, self.limits, levels or 0)


def _given(parameter: Parameter) -> bool:
    """Return whether somebody gave the default of a number."""
    return isinstance(parameter, Float | Int) and parameter.preset is not None


def _width(parameter: Parameter) -> int:
    wide = isinstance(parameter, Choice) and not parameter.ordered and len(parameter.options) > 1
    return len(parameter.options) if wide and isinstance(parameter, Choice) else 1


def _count(part: Parameter | Space) -> float:
    if isinstance(part, Space):
        return part.size
    if isinstance(part, Choice):
        return sum(part.spaces[o].size if o in part.spaces else 1 for o in part.options)
    return part.size
