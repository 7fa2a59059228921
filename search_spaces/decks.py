"""Draws in which every option comes up equally often, and the ends of a space: what a supernet is trained on.

Strict fairness (Chu et al. 2021, FairNAS, section 3.2): of m draws of a choice of m options each option is one. Here
each parameter has a deck of its own, which is shuffled anew when it is used up; one that is inactive in a draw keeps
its card. Continuous ranges have decks of ``STRATA`` strata.

Where draws are thrown away (a network too large, say) what is left is fair no longer: ``Uses`` counts what was kept,
and says which option to draw next.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from search_spaces.configuration import Configuration, Value
from search_spaces.parameter import Float, Int, Parameter
from search_spaces.space import Choice, Space

STRATA = 8
LARGE = 64  # values of an Int beyond which its deck is of strata


class Decks:
    """Fair draws from ``space``, counted by ``rng``.

    ``opened`` in [0, 1] says how far ordered ranges are open, from their upper end: at 0 only the largest value is
    drawn, at 1 all are (progressive shrinking: Cai et al. 2020, section 3.3).
    """

    def __init__(self, space: Space, rng: np.random.Generator, *, opened: float = 1.0) -> None:
        self.space, self.rng, self.opened = space, rng, opened
        self._decks: dict[str, list[float]] = {}

    def draw(self, given: Mapping[str, Value] | None = None) -> Configuration:
        """Return the next draw; ``given`` values are kept where they are active, and use no card."""
        values, given = dict[str, Value](), given or {}
        for slot in self.space.slots:
            if slot.active(values):
                path = slot.path
                values[path] = given[path] if path in given else self._card(path, slot.parameter)
        return self.space.complete(values, self.rng) if self.space.limits else Configuration(values)

    def _card(self, path: str, parameter: Parameter) -> Value:
        deck = self._decks.setdefault(path, [])
        if not deck:
            deck += self._shuffled(parameter)
        return parameter.value(deck.pop())

    def _shuffled(self, parameter: Parameter) -> list[float]:
        """Return places in [0, 1], one in each value of ``parameter`` that is open, in random order."""
        if parameter.size > LARGE:
            units = (self.rng.permutation(STRATA) + self.rng.random(STRATA)) / STRATA
            low = 1 - self.opened if ordered(parameter) else 0.0
            return [float(low + (1 - low) * unit) for unit in units]
        values = list(parameter.values)
        if ordered(parameter):
            values = values[int((1 - self.opened) * (len(values) - 1) + 0.5) :]
        return [parameter.unit(values[at]) for at in self.rng.permutation(len(values))]


class Uses:
    """How often the draws that were kept had each option of the choices in the ``part`` of ``space``.

    ``only`` is a path and the values that it may have.
    """

    def __init__(self, space: Space, part: str, only: tuple[str, tuple[Value, ...]] | None = None) -> None:
        self._choices = {
            slot.path: slot.parameter.values
            for slot in space.slots
            if slot.path.startswith(f"{part}.") and 1 < slot.parameter.size <= LARGE
        }
        if only is not None and only[0] in self._choices:
            self._choices[only[0]] = list(only[1])
        self._counts: dict[str, Counter[Value]] = {path: Counter() for path in self._choices}
        self._out: set[tuple[str, Value]] = set()

    def add(self, config: Mapping[str, Value]) -> None:
        """Count the options of ``config``."""
        for path, value in config.items():
            if path in self._counts:
                self._counts[path][value] += 1

    def drop(self, path: str, value: Value) -> None:
        """Count this option no more: nothing that is kept can have it."""
        self._out.add((path, value))

    def rarest(self, config: Mapping[str, Value]) -> tuple[str, Value] | None:
        """Return path and value of the option that is furthest behind, of the choices that ``config`` makes.

        That is by (e - n) / sqrt(e), where it was had n times and e would be its even share; None if none is behind.
        """
        most, found = 0.0, None
        for path in config:
            counts = self._counts.get(path)
            if counts is None:
                continue
            options = [value for value in self._choices[path] if (path, value) not in self._out]
            even = sum(counts[value] for value in options) / max(len(options), 1)
            for value in options if even else ():
                if (behind := (even - counts[value]) / even**0.5) > most:
                    most, found = behind, (path, value)
        return found


def ordered(parameter: Parameter) -> bool:
    """Return whether the values of ``parameter`` stand in an order that may be one of size."""
    return isinstance(parameter, Int) or (isinstance(parameter, Choice) and parameter.ordered)


def end(space: Space, decks: Decks, *, largest: bool) -> Configuration:
    """Return a design at the upper or lower end of every ordered range; real numbers keep their defaults.

    What has no order is drawn from ``decks``.
    """
    given: dict[str, Value] = {}
    for slot in space.slots:
        if ordered(slot.parameter):
            given[slot.path] = slot.parameter.values[-1 if largest else 0]
        elif isinstance(slot.parameter, Float):
            given[slot.path] = slot.parameter.default
    return decks.draw(given)
