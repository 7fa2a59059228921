"""Who goes on: an order over results from the most to the least worth training further, with one or several objectives.

No rival prunes with several objectives. Here fronts come one after the other (Deb et al. 2002, III-A), and within a
front the points that add the most hypervolume first (Beume et al. 2007, section 3): what only crowds goes last.

Notation
    losses      (n, m) less is better        violation  (n,) 0 is feasible
    contribution of a point: the hypervolume that is lost without it
"""

from collections.abc import Iterator

import numpy as np

from nas.hpo.pareto import hypervolume, nondominated

BEYOND = 0.1  # how far the reference lies behind the worst value of each objective, of its range
COUNTED = 4096  # points up to which dominance is one matrix
EXACT = 24  # points of a front up to which contributions are counted after each removal


def promotion_order(losses: np.ndarray, violation: np.ndarray | None = None) -> np.ndarray:
    """Return the places (n,) of ``losses`` (n, m), best first; what breaks a constraint last, by how far.

    One objective is ordered by its value; ties keep their order.
    """
    losses = np.asarray(losses, float)
    broken = np.zeros(len(losses)) if violation is None else np.asarray(violation, float)
    feasible = np.flatnonzero(broken == 0)
    rest = np.flatnonzero(broken > 0)
    if losses.shape[1] == 1:
        first = feasible[np.argsort(losses[feasible, 0], kind="stable")]
    else:
        first = feasible[_by_fronts(losses[feasible])]
    return np.concatenate([first, rest[np.argsort(broken[rest], kind="stable")]])


def _by_fronts(losses: np.ndarray) -> np.ndarray:
    order = list[int]()
    if not len(losses):
        return np.array([], int)
    width = np.ptp(losses, axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(width > 0, width, 1.0)
    for front in _fronts(scaled):
        order += front[_by_contribution(scaled[front])].tolist()
    return np.array(order, int)


def _fronts(losses: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the places of one front after the other; by counting who dominates whom while that matrix is small."""
    left = np.arange(len(losses))
    while len(left) > COUNTED:
        front = nondominated(losses[left])
        yield left[front]
        left = left[~front]
    below = np.ones((len(left), len(left)), bool)
    for column in losses[left].T:
        below &= column[:, None] <= column
    dominates = below & ~below.T
    above, unplaced = dominates.sum(axis=0), np.ones(len(left), bool)
    while unplaced.any():
        front = unplaced & (above == 0)
        yield left[front]
        unplaced &= ~front
        above = above - dominates[front].sum(axis=0)


def _by_contribution(front: np.ndarray) -> np.ndarray:
    """Return the places of ``front`` (k, m), what adds most first: the least is taken away again and again."""
    reference = np.full(front.shape[1], 1.0 + BEYOND)
    left, last = list(range(len(front))), list[int]()
    if len(left) > EXACT:  # once for all: the order within a large front decides little
        return np.argsort(-_contributions(front, reference), kind="stable")
    while len(left) > 1:
        lost = _contributions(front[left], reference)
        last.append(left.pop(len(left) - 1 - int(lost[::-1].argmin())))
    return np.array(left + last[::-1], int)


def _contributions(front: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if front.shape[1] == 2:  # what a point adds is the rectangle between its neighbours
        order = np.lexsort((front[:, 1], front[:, 0]))
        x, y = front[order].T
        added = np.empty(len(front))
        added[order] = (np.append(x[1:], reference[0]) - x) * (np.append(reference[1], y[:-1]) - y)
        return added
    whole = hypervolume(front, reference)
    return np.array(
        [whole - hypervolume(np.delete(front, at, axis=0), reference) for at in range(len(front))]
    )
