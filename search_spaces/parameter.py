"""Parameters: what a range of numbers is, and its way to the unit interval and back.

Notation
    unit     a parameter's place in [0, 1]: linear or logarithmic for numbers, the middle of its bin for the rest
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.configuration import Value


class Parameter(ABC):
    """One range. ``unit`` and ``value`` are inverse to each other, exactly so for Int and Choice."""

    @abstractmethod
    def value(self, unit: float) -> Value:
        """Return the value at ``unit`` in [0, 1]."""

    @abstractmethod
    def unit(self, value: Value) -> float:
        """Return the place of ``value`` in [0, 1]."""

    @abstractmethod
    def bin(self, value: Value) -> tuple[float, float]:
        """Return the stretch of [0, 1] that ``value`` takes up; its two ends are equal in a continuous range."""

    @abstractmethod
    def problem(self, value: Any) -> str | None:
        """Return why ``value`` is not in this range, or None when it is."""

    @property
    @abstractmethod
    def values(self) -> Sequence[Value]:
        """All values of a discrete range in order; of a continuous one, its default alone."""

    @property
    @abstractmethod
    def size(self) -> float:
        """Number of distinct values; ``inf`` for a continuous range."""

    @property
    @abstractmethod
    def default(self) -> Value:
        """The default value: as given, else the middle of the range, or the first option of an unordered choice."""


def _check_range(kind: str, low: float, high: float, log: bool, default: float | None) -> None:
    for name, number in (("low", low), ("high", high)):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{kind}: {name}={number!r} is not a finite number; give one")
    if low > high:
        raise ValueError(f"{kind}: low={low!r} lies above high={high!r}; swap them")
    if log and low <= 0:
        raise ValueError(f"{kind}: low={low!r} with log=True; a log scale needs low > 0")
    if default is None:
        return
    if isinstance(default, bool) or not isinstance(default, int | float):
        raise ValueError(f"{kind}: default={default!r} is not a number; give one from {low!r} to {high!r}")
    if not low <= default <= high:
        raise ValueError(
            f"{kind}: default={default!r} lies outside [{low!r}, {high!r}]; give one inside, or leave it out"
        )


@dataclass(frozen=True)
class Float(Parameter):
    """A real number in [low, high], uniform, or uniform in its logarithm with ``log=True`` (low > 0)."""

    low: float
    high: float
    log: bool = False
    preset: float | None = None

    def __init__(self, low: float, high: float, *, log: bool = False, default: float | None = None) -> None:
        _check_range("Float", low, high, log, default)
        for name, value in (("low", float(low)), ("high", float(high)), ("log", log), ("preset", default)):
            object.__setattr__(self, name, value)

    @property
    def _bounds(self) -> tuple[float, float]:
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)

    def value(self, unit: float) -> float:
        low, high = self._bounds
        raw = low + unit * (high - low)
        return min(max(math.exp(raw) if self.log else raw, self.low), self.high)

    def unit(self, value: Value) -> float:
        assert isinstance(value, int | float)
        low, high = self._bounds
        if high == low:
            return 0.5
        return min(max(((math.log(value) if self.log else value) - low) / (high - low), 0.0), 1.0)

    def bin(self, value: Value) -> tuple[float, float]:
        return (self.unit(value), self.unit(value)) if self.high > self.low else (0.0, 1.0)

    def problem(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"{value!r} is not a finite number"
        return None if self.low <= value <= self.high else f"{value!r} lies outside [{self.low}, {self.high}]"

    @property
    def values(self) -> Sequence[Value]:
        return (self.default,)

    @property
    def size(self) -> float:
        return math.inf if self.high > self.low else 1

    @property
    def default(self) -> float:
        return self.value(0.5) if self.preset is None else float(self.preset)


@dataclass(frozen=True)
class Int(Parameter):
    """An integer ``low, low + step, ..., <= high``; with ``log=True`` uniform in the logarithm of its place."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    preset: int | None = None

    def __init__(
        self, low: int, high: int, *, log: bool = False, step: int = 1, default: int | None = None
    ) -> None:
        _check_range("Int", low, high, log, default)
        if any(isinstance(n, bool) or not isinstance(n, int) for n in (low, high, step)) or step < 1:
            raise ValueError(
                f"Int: low={low!r}, high={high!r}, step={step!r} must be integers with step >= 1"
            )
        if (high - low) // step >= 2**53:
            raise ValueError(f"Int: low={low!r}, high={high!r} hold more than 2^53 values; use a Float")
        if default is not None and (not isinstance(default, int) or (default - low) % step):
            raise ValueError(f"Int: default={default!r} is not {low} plus a multiple of step={step}")
        last = low + (high - low) // step * step
        for name, value in (("low", low), ("high", last), ("log", log), ("step", step), ("preset", default)):
            object.__setattr__(self, name, value)

    @property
    def _bounds(self) -> tuple[float, float]:
        low, high = self.low - 0.5 * self.step, self.high + 0.5 * self.step
        return (math.log(max(low, 0.5 * self.low)), math.log(high)) if self.log else (low, high)

    def value(self, unit: float) -> int:
        low, high = self._bounds
        raw = low + unit * (high - low)
        place = math.floor(((math.exp(raw) if self.log else raw) - self.low) / self.step + 0.5)
        return self.low + min(max(place, 0), (self.high - self.low) // self.step) * self.step

    def unit(self, value: Value) -> float:
        assert isinstance(value, int | float)
        low, high = self._bounds
        return ((math.log(value) if self.log else value) - low) / (high - low)

    def bin(self, value: Value) -> tuple[float, float]:
        assert isinstance(value, int)
        begin = self.unit(value - 0.5 * self.step) if value > self.low else 0.0
        return begin, self.unit(value + 0.5 * self.step) if value < self.high else 1.0

    def problem(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{value!r} is not an integer"
        if not self.low <= value <= self.high:
            return f"{value!r} lies outside [{self.low}, {self.high}]"
        return (
            f"{value!r} is not {self.low} plus a multiple of {self.step}"
            if (value - self.low) % self.step
            else None
        )

    @property
    def values(self) -> Sequence[Value]:
        return range(self.low, self.high + 1, self.step)

    @property
    def size(self) -> float:
        return (self.high - self.low) // self.step + 1

    @property
    def default(self) -> int:
        return self.value(0.5) if self.preset is None else self.preset
