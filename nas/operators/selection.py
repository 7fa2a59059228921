"""Selection: who becomes a parent, and who stays.

Notation
    losses    (n, m) float, less is better        penalty   (n,) float, 0 is feasible, what has less comes first
"""

from collections.abc import Sequence

import numpy as np

from nas.hpo.pareto import crowding_distance
from nas.trial import Problem, Trial


def tournament(ranks: Sequence[float], size: int, rng: np.random.Generator) -> int:
    """Return the place of the least of ``size`` members of ``ranks``, drawn without replacement."""
    drawn = rng.choice(len(ranks), size=min(size, len(ranks)), replace=False)
    return int(min(drawn, key=lambda place: (ranks[place], place)))


def fronts(losses: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Return (n,) int, the front of each point under constrained domination, 0 the best (Deb et al. 2002, section VI).

    Less penalty dominates more; among equal penalties, Pareto dominance decides. Equal points share a front.
    """
    front = np.empty(len(losses), int)
    begin = 0
    for level in np.unique(penalty):
        members = np.flatnonzero(penalty == level)
        front[members] = begin + _sorted(losses[members])
        begin = int(front[members].max()) + 1
    return front


def _sorted(losses: np.ndarray) -> np.ndarray:
    """Peel off front after front."""
    no_worse = np.ones((len(losses), len(losses)), bool)
    better = np.zeros_like(no_worse)
    for column in losses.T:
        no_worse &= column[:, None] <= column
        better |= column[:, None] < column
    dominates = no_worse & better  # (n, n): the row's point dominates the column's
    above = dominates.sum(axis=0)
    front = np.zeros(len(losses), int)
    left = np.ones(len(losses), bool)
    while left.any():
        peeled = left & (above == 0)
        left &= ~peeled
        above = above - dominates[peeled].sum(axis=0)
        front[left] += 1
    return front


def crowding(losses: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Return (n,) the crowding distance of each point within its front (Deb et al. 2002, section III-B); ends inf."""
    distance = np.zeros(len(losses))
    for level in range(int(front.max(initial=-1)) + 1):
        members = np.flatnonzero(front == level)
        distance[members] = crowding_distance(losses[members])
    return distance


def best_first(problem: Problem, members: Sequence[Trial]) -> list[int]:
    """Return the places of ``members`` by front, then by crowding distance, the loneliest first."""
    losses = np.array(
        [[0.0] * len(problem.objectives) if one.failed else problem.losses(one.metrics) for one in members]
    )
    front = fronts(losses, _penalties(problem, members))
    return [int(place) for place in np.lexsort((-crowding(losses, front), front))]


def _penalties(problem: Problem, members: Sequence[Trial]) -> np.ndarray:
    """Return (n,), 0 for what is feasible at the dearest fidelity: fidelity counts first, then the violation."""
    keys = [
        (np.inf, 0.0)
        if one.failed or one.last is None
        else (-one.last.fidelity.cost, problem.violation(one.metrics))
        for one in members
    ]
    rank = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([rank[key] for key in keys], float)
