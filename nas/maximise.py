"""The search for the maximum of an acquisition over a real space: random and mutated candidates, then local search.

Notation
    rows      (n, S) candidates, see ``nas.rows``
    score     function from rows (n, S) to acquisition values (n,), more is better
"""

from collections.abc import Callable, Sequence

import numpy as np

from nas.rows import Rows, unique

Score = Callable[[np.ndarray], np.ndarray]

RANDOM, CHILDREN, MATED = 320, 32, 8  # candidates drawn; mutations and crossings of each elite
CLIMBERS, NEIGHBOURS = 4, 24  # of local search: it goes on from the best few, by mutations of each
STEPS = (0.15, 0.08, 0.04, 0.02, 0.01)  # deviations of the steps of numbers, round by round


def candidates(rows: Rows, elites: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random rows, mutations of ``elites`` (k, S), and crossings of them; no row twice."""
    pool = [rows.sample(RANDOM, rng)]
    if len(elites):
        parents = np.repeat(elites, CHILDREN, axis=0)
        pool.append(rows.mutate(parents, 1 + rng.poisson(1.0, len(parents)), rng))
        mothers = np.repeat(elites, MATED, axis=0)
        pool.append(rows.crossed(mothers, elites[rng.integers(len(elites), size=len(mothers))], rng))
    found = unique(np.vstack(pool))
    return found[rows.hold(found)]


def climbed(
    rows: Rows,
    pool: np.ndarray,
    score: Score,
    rng: np.random.Generator,
    *,
    known: frozenset[bytes] = frozenset(),
    steps: Sequence[float] = STEPS,
) -> np.ndarray:
    """Return all candidates met, best first: those of ``pool``, and what local search from its best ones finds.

    ``known`` are rows, as bytes, that are no candidates.
    """
    pool = _without(pool, known)
    values = score(pool) if len(pool) else np.empty(0)
    for step in steps:
        if not len(pool):
            break
        tops = pool[np.argsort(-values, kind="stable")[:CLIMBERS]]
        parents = np.repeat(tops, NEIGHBOURS, axis=0)
        near = rows.mutate(parents, np.ones(len(parents), int), rng, near=step)
        near = _without(near[rows.hold(near)], known)
        if len(near):
            pool, values = np.vstack([pool, near]), np.append(values, score(near))
    return unique(pool[np.argsort(-values, kind="stable")])


def _without(pool: np.ndarray, known: frozenset[bytes]) -> np.ndarray:
    return pool[[row.tobytes() not in known for row in pool]] if known and len(pool) else pool
