"""Random search, and regularised evolution as its authors wrote it."""

from collections import deque
from collections.abc import Callable

import numpy as np

from search_spaces.space import Configuration, Space

Objective = Callable[[Configuration], float]


def random_search(space: Space, objective: Objective, count: int, seed: int) -> None:
    """Draw uniformly, with repetitions."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        objective(space.sample(rng))


def regularised_evolution(
    space: Space, objective: Objective, count: int, seed: int, *, population: int = 20, sample: int = 10
) -> None:
    """Real et al. (2019), algorithm 1: a child of the best of ``sample`` replaces the oldest of ``population``."""
    rng = np.random.default_rng(seed)
    members: deque[tuple[float, Configuration]] = deque(maxlen=population)
    for number in range(count):
        if number < population:
            config = space.sample(rng)
        else:
            chosen = rng.choice(population, sample, replace=False)
            config = mutated(space, min((members[i] for i in chosen), key=lambda member: member[0])[1], rng)
        members.append((objective(config), config))


def mutated(space: Space, parent: Configuration, rng: np.random.Generator) -> Configuration:
    """Return ``parent`` with one active parameter drawn anew, to another value; what that opens is drawn too."""
    slots = [slot for slot in space.slots if slot.path in parent and slot.parameter.size > 1]
    slot = slots[rng.integers(len(slots))]
    old = parent[slot.path]
    while (new := slot.parameter.value(float(rng.random()))) == old:
        pass
    return space.complete({**parent, slot.path: new}, rng)
