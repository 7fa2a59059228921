"""Linear constraints on the numbers of a space: whether they hold, and how to get to where they do.

Drawing until the constraints hold is hopeless for tight ones (eight numbers in [0, 1] with a sum of at most 1 are one
draw in 40,000). So a draw that breaks them is moved to a point that holds them, by single coordinates, or where that
fails by the nearest point (a mixed-integer linear program), and is then stirred: each coordinate is drawn anew, given
the others, in the stretch that they leave it (Gibbs sampling, whose limit is the uniform draw).

Notation
    n   numbers that may move      m   constraints
    x   (n,) values                a x <= b   the constraints, (m, n) and (m,), with what does not move in ``b``
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.configuration import Value
from search_spaces.parameter import Float, Int
from search_spaces.slot import Conditions

SWEEPS = 5  # of stirring; each draws every coordinate once
PASSES = 3  # over the coordinates, before the nearest point is looked for
MARGIN = 1e-6  # how far inside the nearest point lies, since a solver's result is exact to 1e-7 only


@dataclass(frozen=True)
class Linear:
    """``sum(weight * value) <= bound`` over numeric paths; an inactive parameter counts as zero."""

    weights: Mapping[str, float]
    bound: float

    def __post_init__(self) -> None:
        for number in (*self.weights.values(), self.bound):
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"{self!r}: {number!r} is not a finite number; give one")

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether ``values`` satisfy the constraint, to within rounding."""
        terms = self.terms(values)
        return sum(terms) <= self.bound + self.rounding(terms)

    def terms(self, values: Mapping[str, Value]) -> list[float]:
        """Return the terms of the sum."""
        return [weight * _number(values, path) for path, weight in self.weights.items()]

    def rounding(self, terms: Sequence[float]) -> float:
        """Return by how much the sum of ``terms`` may lie above the bound."""
        return 1e-12 * (1 + abs(self.bound) + sum(map(abs, terms)))

    def __str__(self) -> str:
        return f"{' + '.join(f'{w:g} {path}' for path, w in self.weights.items())} <= {self.bound:g}"


@dataclass(frozen=True)
class Limit:
    """A constraint where it stands: with full paths, and the choices that must be made for it to count."""

    linear: Linear
    conditions: Conditions = ()

    def active(self, values: Mapping[str, Value]) -> bool:
        """Return whether the space that the constraint belongs to is open."""
        if not self.conditions:
            return True
        path, options = self.conditions[-1]
        return path in values and values[path] in options

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Return whether ``values`` satisfy the constraint, or its space is not open."""
        return not self.active(values) or self.linear.holds(values)


class Polytope:
    """What the active ``limits`` leave to the numbers at ``paths``, everything else of ``values`` as it is."""

    def __init__(
        self, limits: Sequence[Limit], values: Mapping[str, Value], numbers: Mapping[str, Float | Int]
    ) -> None:
        self.paths, self.parameters = list(numbers), list(numbers.values())
        linears = [limit.linear for limit in limits if limit.active(values)]
        self.columns = [  # of a, without its zeros
            [(row, one.weights[path]) for row, one in enumerate(linears) if one.weights.get(path)]
            for path in self.paths
        ]
        self.x = [_number(values, path) for path in self.paths]
        sums = [one.terms(values) for one in linears]
        self.room = [one.bound - sum(terms) for one, terms in zip(linears, sums, strict=True)]  # b - a x
        self.rounding = [one.rounding(terms) for one, terms in zip(linears, sums, strict=True)]

    @property
    def holds(self) -> bool:
        """Whether ``x`` satisfies the constraints, to within rounding."""
        return all(room >= -slack for room, slack in zip(self.room, self.rounding, strict=True))

    def values(self) -> dict[str, Value]:
        """Return ``x`` by path."""
        return {
            path: round(x) if isinstance(parameter, Int) else float(x)
            for path, parameter, x in zip(self.paths, self.parameters, self.x, strict=True)
        }

    def _set(self, at: int, value: float) -> None:
        for row, weight in self.columns[at]:
            self.room[row] -= weight * (value - self.x[at])
        self.x[at] = value

    def enter(self, order: Sequence[int]) -> bool:
        """Move coordinate after coordinate, no further than needed; return whether all constraints hold then."""
        for _ in range(PASSES):
            for at in order:
                if self.holds:
                    return True
                self._reduce(at)
        return self.holds

    def _reduce(self, at: int) -> None:
        """Bring coordinate ``at`` into the stretch that all constraints leave it.

        Where there is none, it goes as far as its range and the constraints that hold now allow.
        """
        broken = {row for row, room in enumerate(self.room) if room < -self.rounding[row]}
        low, high = self._stretch(at)
        if low <= high:
            self._set(at, min(max(self.x[at], low), high))
            return
        low, high = self._stretch(at, broken)
        push = -sum(weight for row, weight in self.columns[at] if row in broken)
        if push and low <= high:
            self._set(at, high if push > 0 else low)

    def _stretch(self, at: int, without: Collection[int] = ()) -> tuple[float, float]:
        """Return the least and the largest value that the range of ``at`` and the constraints leave it."""
        parameter, x = self.parameters[at], self.x[at]
        low, high = float(parameter.low), float(parameter.high)
        for row, weight in self.columns[at]:
            if row in without:
                continue
            end = x + self.room[row] / weight
            if weight > 0:
                high = min(high, end)
            else:
                low = max(low, end)
        if isinstance(parameter, Int):
            first, step = parameter.low, parameter.step
            low = first + math.ceil((low - first) / step - 1e-9) * step
            high = first + math.floor((high - first) / step + 1e-9) * step
        return low, high

    def stir(self, moving: Sequence[int], rng: np.random.Generator) -> None:
        """Draw the coordinates ``moving`` anew, one given the others, ``SWEEPS`` times; ``x`` must hold."""
        for units in rng.random((SWEEPS, len(moving))).tolist():
            for at, unit in zip(rng.permutation(moving).tolist(), units, strict=True):
                low, high = self._stretch(at)
                if low <= high:
                    self._set(at, min(max(_between(self.parameters[at], low, high, unit), low), high))

    def approach(self) -> bool:
        """Move ``x`` to the nearest point that holds, by the largest share of a range; False where there is none."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        n, m = len(self.paths), len(self.room)
        a, x = np.zeros((m, n)), np.array(self.x)
        for at, column in enumerate(self.columns):
            for row, weight in column:
                a[row, at] = weight
        b = np.array(self.room) + a @ x
        low = np.array([float(p.low) for p in self.parameters])
        span = np.array([float(p.high - p.low) for p in self.parameters])
        integer = np.array([isinstance(p, Int) for p in self.parameters])
        unit = np.where(integer, [getattr(p, "step", 1) for p in self.parameters], span)
        # x = low + unit * z; minimise d subject to |x - x0| <= d * span
        near = np.hstack([np.diag(unit), -span[:, None]])
        far = np.hstack([-np.diag(unit), -span[:, None]])
        inside = np.where((a[:, ~integer] != 0).any(1), MARGIN * (1 + np.abs(a) @ span), 0.0)
        rows = np.vstack([np.hstack([a * unit, np.zeros((m, 1))]), near, far])
        most = np.concatenate([b - inside - a @ low, x - low, low - x])
        last = np.where(integer, span / np.maximum(unit, 1), 1.0)
        found = milp(
            np.append(np.zeros(n), 1.0),
            integrality=np.append(integer, False),
            bounds=Bounds(0, np.append(last, np.inf)),
            constraints=LinearConstraint(rows, -np.inf, most),
        )
        if found.x is None:
            return False
        z = np.where(integer, np.round(found.x[:n]), np.clip(found.x[:n], 0.0, 1.0))
        for at, value in enumerate(np.minimum(low + unit * z, low + span).tolist()):
            self._set(at, value)
        return self.holds


def _between(parameter: Float | Int, low: float, high: float, unit: float) -> float:
    """Return the value at ``unit`` of the stretch of the unit interval that [low, high] takes up."""
    ends = parameter.bin(round(low)) + parameter.bin(round(high)) if isinstance(parameter, Int) else ()
    begin, end = (ends[0], ends[3]) if ends else (parameter.unit(low), parameter.unit(high))
    return parameter.value(begin + unit * (end - begin))


def _number(values: Mapping[str, Value], path: str) -> float:
    return float(values.get(path) or 0)


def listed(values: Mapping[str, Value]) -> str:
    """Return ``values`` as a message shows them."""
    return ", ".join(f"{path}={value!r}" for path, value in values.items())
