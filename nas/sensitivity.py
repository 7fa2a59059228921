"""What difference each architecture parameter makes to the network, when it alone is changed.

A parameter that makes none is dead: a dimension that a search pays for and gains nothing from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nas.draws import Draw, generator, network_key
from search_spaces.architecture import SearchSpace
from search_spaces.space import Configuration, Slot, Space

MUTANTS = 22  # purpose of counted randomness
TRIES = 20  # changes after which a parameter that made no difference is called dead


@dataclass(frozen=True)
class Change:
    """How often the network changed in ``tries`` changes of the parameter ``path`` alone."""

    path: str
    tries: int
    changes: int

    @property
    def dead(self) -> bool:
        """Whether nothing ever changed, in enough tries to say so."""
        return self.tries >= TRIES and self.changes == 0


def changes(search_space: SearchSpace, draws: Sequence[Draw], seed: int) -> tuple[Change, ...]:
    """Change each architecture parameter alone in ``TRIES`` designs where it is active, and count new networks."""
    slots = [
        s for s in search_space.space.slots if s.path.startswith("architecture.") and s.parameter.size > 1
    ]
    found = []
    for place, slot in enumerate(slots):
        rng = generator(seed, MUTANTS, place)
        pairs = list(_pairs(search_space, slot, draws, rng))
        path = slot.path.removeprefix("architecture.")
        found.append(Change(path, len(pairs), sum(one != other for one, other in pairs)))
    return tuple(found)


def _pairs(
    search_space: SearchSpace, slot: Slot, draws: Sequence[Draw], rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """Yield at most ``TRIES`` pairs of networks that differ in nothing but the parameter of ``slot``."""
    active = [one.design.config for one in draws if slot.path in one.design.config]
    left = TRIES
    for attempt in range(3 * TRIES):
        drawn = attempt < len(active)
        opening = {path: options[attempt % len(options)] for path, options in slot.conditions}
        config = active[attempt] if drawn else search_space.space.complete(opening, rng)
        other = _other(search_space.space, config, slot.path, rng)
        if other is None:
            continue
        try:
            pair = network_key(search_space.decode(config)), network_key(search_space.decode(other))
        except ValueError:
            continue
        yield pair
        left -= 1
        if not left:
            return


def _other(space: Space, config: Configuration, path: str, rng: np.random.Generator) -> Configuration | None:
    """Return ``config`` with another value at ``path`` and, below it, what that opens; None if constraints forbid."""
    if path not in config:
        return None
    rest = {key: value for key, value in config.items() if key != path}
    for _ in range(4 * TRIES):
        other = space.complete(rest, rng)
        if other.id != config.id and all(other[key] == value for key, value in rest.items() if key in other):
            return other
    return None
