"""Draws in which every option comes up equally often, and the ends of a space: what a supernet is trained on.

Strict fairness (Chu et al. 2021, FairNAS, section 3.2): of m draws of a choice of m options each option is one. Here
each parameter has a deck of its own, which is shuffled anew when it is used up; one that is inactive in a draw keeps
its card. Continuous ranges have decks of ``STRATA`` strata.
"""

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
