"""Configurations as rows of an array, so that thousands are drawn, mutated and compared at once.

Notation
    S       slots of the space
    place   number of a value among the values of a finite parameter
    row     (S,) float64: the unit of a continuous parameter, the place of a finite one, NaN of an inactive one
"""

from functools import cached_property

import numpy as np

from nas.operators.mutation import FAR, NEAR
from search_spaces.space import Choice, Configuration, Float, Int, Slot, Space, Value

FINITE = 65_536  # values up to which an Int is finite; of more, the unit is kept, and rounded on the way back
ROUNDS = 8  # of rejection
ENOUGH = 32  # rows: where fewer are left after them, the space draws the missing ones one by one


class Rows:
    """The way from configurations of ``space`` to rows and back, and the operators on rows."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.columns = tuple(Column(slot, space) for slot in space.slots)
        self.categorical = np.array([column.categorical for column in self.columns], bool)
        self.counts = np.array([column.count for column in self.columns])

    def row(self, config: Configuration) -> np.ndarray:
        """Return the (S,) row of ``config``."""
        return np.array([c.read(config[c.path]) if c.path in config else np.nan for c in self.columns])

    def config(self, row: np.ndarray) -> Configuration:
        """Return the configuration of a row."""
        places: list[float] = row.tolist()
        return Configuration(
            {c.path: c.write(place) for c, place in zip(self.columns, places, strict=True) if place == place}
        )

    def units(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows`` (n, S) with numbers as units in [0, 1], categories as places, 0.5 and -1 where inactive."""
        out = np.empty_like(rows)
        for at, column in enumerate(self.columns):
            out[:, at] = column.units(rows[:, at])
        return out

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` rows (n, S), uniform in the unit cube; fewer where constraints reject nearly all."""
        kept = np.empty((0, len(self.columns)))
        for _ in range(ROUNDS):
            rows = self.completed(np.full((n, len(self.columns)), np.nan), rng)
            kept = np.vstack([kept, rows[self.hold(rows)]])
            if len(kept) >= n:
                return kept[:n]
        if len(kept) < (least := min(n, ENOUGH)):
            drawn = [self.row(self.space.sample(rng)) for _ in range(least - len(kept))]
            kept = np.vstack([kept, *drawn])
        return kept

    def latin(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` rows (n, S), a Latin hypercube (McKay et al. 1979): each n-th of every range, once.

        Constraints are not looked at; what conditions close is left out.
        """
        order = rng.permuted(np.tile(np.arange(n), (len(self.columns), 1)), axis=1).T
        units = (order + rng.random(order.shape)) / n
        drawn = [column.draw(units[:, at]) for at, column in enumerate(self.columns)]
        return self.completed(np.column_stack(drawn), rng)

    def completed(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return ``rows`` (n, S) with what is active and NaN drawn, and what is inactive NaN."""
        rows = rows.copy()
        for at, column in enumerate(self.columns):
            active = column.active(rows)
            drawn = column.draw(rng.random(len(rows)))
            rows[:, at] = np.where(active, np.where(np.isnan(rows[:, at]), drawn, rows[:, at]), np.nan)
        return rows

    def mutate(
        self, rows: np.ndarray, counts: np.ndarray, rng: np.random.Generator, *, near: float = NEAR
    ) -> np.ndarray:
        """Return ``rows`` (n, S) with ``counts`` (n,) active parameters of each changed.

        Numbers and ordered choices mostly step to a neighbour, a continuous one by a normal step of deviation ``near``.
        """
        movable = ~np.isnan(rows) & (self.counts != 1)
        order = np.where(movable, rng.random(rows.shape), 2.0)
        rank = order.argsort(axis=1).argsort(axis=1)
        chosen = movable & (rank < counts[:, None])
        rows = rows.copy()
        for at in np.flatnonzero(chosen.any(axis=0)):
            mask = chosen[:, at]
            rows[mask, at] = self.columns[at].other(rows[mask, at], rng, near)
        return self.completed(rows, rng)

    def crossed(self, mothers: np.ndarray, fathers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return children (n, S) that take each parameter from either parent with equal chance."""
        swapped = rng.random(mothers.shape) < 0.5
        first, second = np.where(swapped, fathers, mothers), np.where(swapped, mothers, fathers)
        return self.completed(np.where(np.isnan(first), second, first), rng)

    def hold(self, rows: np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether ``rows`` hold the linear constraints of the space."""
        held = np.ones(len(rows), bool)
        for limit in self.space.limits:
            total, counts = np.zeros(len(rows)), np.ones(len(rows), bool)
            for at, column in enumerate(self.columns):
                if weight := limit.linear.weights.get(column.path, 0.0):
                    total += weight * column.numbers(rows[:, at])
                for path, options in limit.conditions:
                    if path == column.path:
                        counts &= np.isin(rows[:, at], [column.read(option) for option in options])
            held &= ~counts | (total <= limit.linear.bound + 1e-12 * (1 + abs(limit.linear.bound)))
        return held


class Column:
    """One slot: its values by place, and what is done to a whole column of them."""

    def __init__(self, slot: Slot, space: Space) -> None:
        self.path, self.parameter = slot.path, slot.parameter
        self.categorical = isinstance(self.parameter, Choice) and not self.parameter.ordered
        finite = not isinstance(self.parameter, Float) and self.parameter.size <= FINITE
        self.count = int(self.parameter.size) if finite else (1 if self.parameter.size == 1 else 0)
        self._parent: tuple[int, np.ndarray] | None = None
        if slot.conditions:
            path, options = slot.conditions[-1]
            at = next(at for at, other in enumerate(space.slots) if other.path == path)
            choice = space.slots[at].parameter
            assert isinstance(choice, Choice)
            opens = np.zeros(len(choice.options) + 1, bool)  # the last one is for an inactive parent
            opens[[choice.index(option) for option in options]] = True
            self._parent = at, opens

    @cached_property
    def values(self) -> list[Value]:
        """The values of a finite parameter."""
        if isinstance(self.parameter, Choice):
            return list(self.parameter.options)
        if isinstance(self.parameter, Int):
            return list(range(self.parameter.low, self.parameter.high + 1, self.parameter.step))
        return [self.parameter.default]

    @cached_property
    def _units(self) -> np.ndarray:
        return np.array([self.parameter.unit(value) for value in self.values])

    @cached_property
    def _ends(self) -> np.ndarray:
        """Where the bin of each value ends in [0, 1]; the last is left out."""
        if isinstance(self.parameter, Choice):
            shares = np.array(self.parameter.weights or [1.0] * self.count)
            return np.cumsum(shares / shares.sum())[:-1]
        if isinstance(self.parameter, Int):
            half = 0.5 * self.parameter.step
            return np.array([self.parameter.unit(float(value) + half) for value in self.values[:-1]])  # type: ignore[arg-type]
        return np.empty(0)

    def read(self, value: Value) -> float:
        """Return the unit or place of a value."""
        if not self.count:
            return self.parameter.unit(value)
        if isinstance(self.parameter, Choice):
            return float(self.parameter.index(value))
        if isinstance(self.parameter, Int):
            assert isinstance(value, int)
            return float((value - self.parameter.low) // self.parameter.step)
        return 0.0

    def write(self, place: float) -> Value:
        """Return the value of a unit or place."""
        return self.values[int(place)] if self.count else self.parameter.value(place)

    def active(self, rows: np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether the parameter is active in ``rows``, whose earlier columns are complete."""
        if self._parent is None:
            return np.ones(len(rows), bool)
        at, opens = self._parent
        return opens[np.nan_to_num(rows[:, at], nan=len(opens) - 1.0).astype(int)]

    def draw(self, u: np.ndarray) -> np.ndarray:
        """Return the units or places at ``u`` (n,), uniform in [0, 1)."""
        return np.searchsorted(self._ends, u, side="right").astype(float) if self.count else u

    def units(self, column: np.ndarray) -> np.ndarray:
        """Return units of numbers and places of categories (n,)."""
        if self.categorical:
            return np.nan_to_num(column, nan=-1.0)
        if not self.count:
            return np.nan_to_num(column, nan=0.5)
        return np.append(self._units, 0.5)[np.nan_to_num(column, nan=self.count).astype(int)]

    def numbers(self, column: np.ndarray) -> np.ndarray:
        """Return the values (n,) as numbers, zero where inactive."""
        if self.count:
            return self._numbers[np.nan_to_num(column, nan=self.count).astype(int)]
        return np.array([0.0 if u != u else float(self.parameter.value(u) or 0) for u in column.tolist()])

    @cached_property
    def _numbers(self) -> np.ndarray:
        return np.array([0.0 if isinstance(value, str) else float(value or 0) for value in (*self.values, 0)])

    def other(self, column: np.ndarray, rng: np.random.Generator, near: float) -> np.ndarray:
        """Return values (n,) that are not those of ``column`` (n,)."""
        n, anew = len(column), rng.random(len(column)) < FAR
        if not self.count:
            moved = column + near * rng.standard_normal(n)
            return np.where(anew | (moved < 0) | (moved > 1), rng.random(n), moved)
        far = rng.integers(0, self.count - 1, n).astype(float)
        far += far >= column
        if self.categorical:
            return far
        reach = max(1, round(near * self.count))
        step = rng.integers(1, reach + 1, n) * np.where(rng.random(n) < 0.5, -1, 1)
        moved = column + step
        moved = np.where((moved < 0) | (moved >= self.count), column - step, moved)
        return np.where(anew | (moved < 0) | (moved >= self.count), far, moved)


def unique(rows: np.ndarray) -> np.ndarray:
    """Return ``rows`` without repeats, in the order of their first standing."""
    seen: dict[bytes, int] = {}
    for at, row in enumerate(rows):
        seen.setdefault(row.tobytes(), at)
    return rows[list(seen.values())]
