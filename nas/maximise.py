"""The search for the best configuration under a score, over the real space: draws, mutated elites, then steps uphill.

Follows SMAC (Hutter et al. 2011, section 4.3): a local search from the best of many candidates, all neighbours of a
round scored in one call.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from nas.operators import mutate, uniform_crossover
from search_spaces.space import Configuration, Space

Score = Callable[[Sequence[Configuration]], np.ndarray]

RANDOM: Final = 256  # candidates drawn; a space that holds no more is scored whole
CHILDREN: Final = 32  # mutations of each elite; half as many again are crossed with another elite
CLIMBERS, ROUNDS, NEIGHBOURS = 4, 6, 16  # local search: from the best candidates, rounds of mutations


def maximise(
    space: Space,
    score: Score,
    elites: Sequence[Configuration],
    accepts: Callable[[Configuration], bool],
    rng: np.random.Generator,
) -> Configuration | None:
    """Return the configuration with the highest ``score`` found among those that ``accepts`` takes; None if none is.

    ``score`` maps k configurations to (k,) values; ``elites`` are good ones known before.
    """
    pool = list(space.grid() if space.size <= RANDOM else dict.fromkeys(_candidates(space, elites, rng)))
    values = score(pool)
    order = np.argsort(-values, kind="stable")
    climbers = _first([(pool[place], float(values[place])) for place in order], CLIMBERS, accepts)
    if not climbers:
        return None
    for _ in range(ROUNDS):
        better = _step(space, score, climbers, accepts, rng)
        if better == climbers:
            break
        climbers = better
    return max(climbers, key=lambda pair: pair[1])[0]


def _candidates(
    space: Space, elites: Sequence[Configuration], rng: np.random.Generator
) -> list[Configuration]:
    pool = [space.sample(rng) for _ in range(RANDOM)]
    for elite in elites:
        pool += [mutate(space, elite, rng, count=1 + int(rng.poisson(1.0))) for _ in range(CHILDREN)]
        mates = rng.integers(len(elites), size=CHILDREN // 2)
        pool += [uniform_crossover(space, elite, elites[mate], rng) for mate in mates]
    return pool


def _step(
    space: Space,
    score: Score,
    climbers: Sequence[tuple[Configuration, float]],
    accepts: Callable[[Configuration], bool],
    rng: np.random.Generator,
) -> list[tuple[Configuration, float]]:
    """Return each climber at its best acceptable neighbour, or where it was if none is better."""
    near = [[mutate(space, config, rng) for _ in range(NEIGHBOURS)] for config, _ in climbers]
    values = score([config for group in near for config in group]).reshape(len(climbers), NEIGHBOURS)
    moved = []
    for (config, value), group, scores in zip(climbers, near, values, strict=True):
        order = [place for place in np.argsort(-scores, kind="stable") if scores[place] > value]
        uphill = _first([(group[place], float(scores[place])) for place in order], 1, accepts)
        moved.append(uphill[0] if uphill else (config, value))
    return moved


def _first(
    ranked: Sequence[tuple[Configuration, float]], count: int, accepts: Callable[[Configuration], bool]
) -> list[tuple[Configuration, float]]:
    """Return the first ``count`` that ``accepts`` takes."""
    found: list[tuple[Configuration, float]] = []
    for pair in ranked:
        if len(found) == count:
            break
        if accepts(pair[0]):
            found.append(pair)
    return found
