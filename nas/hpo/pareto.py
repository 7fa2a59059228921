"""Pareto dominance. Less is better in every column.

Notation
    losses  (n, m) float: n points, m objectives
"""

import numpy as np


def nondominated(losses: np.ndarray) -> np.ndarray:
    """Return (n,) bool: points that no other one is at least as good as in all objectives and better in one.

    Equal points dominate each other not: all of them stay. A NaN is a ``ValueError``.
    """
    losses = np.asarray(losses, float)
    if losses.ndim != 2 or np.isnan(losses).any():
        raise ValueError(
            f"losses of shape {losses.shape} must be (n, m) without NaN; leave failed points out"
        )
    unique, back = np.unique(losses, axis=0, return_inverse=True)
    front: list[int] = []
    for place, point in enumerate(unique):  # in lexicographic order nothing later dominates anything earlier
        if not front or not (unique[front] <= point).all(axis=1).any():
            front.append(place)
    return np.isin(back.reshape(-1), front)


def hypervolume(losses: np.ndarray, reference: np.ndarray) -> float:
    """Return the volume that ``losses`` dominate below ``reference`` (m,).

    By slicing along the last objective (While et al. 2006, section 2); exact, meant for up to four objectives.
    """
    losses = np.asarray(losses, float)
    losses = losses[(losses < reference).all(axis=1)]
    if not len(losses):
        return 0.0
    losses = np.unique(losses[nondominated(losses)], axis=0)
    if losses.shape[1] == 1:
        return float(reference[0] - losses.min())
    if losses.shape[1] == 2:  # sorted by the first column, the second falls
        widths = np.append(losses[1:, 0], reference[0]) - losses[:, 0]
        return float((widths * (reference[1] - losses[:, 1])).sum())
    order = losses[losses[:, -1].argsort(kind="stable")]
    depths = np.append(order[1:, -1], reference[-1]) - order[:, -1]
    return sum(
        float(depth) * hypervolume(order[: place + 1, :-1], reference[:-1])
        for place, depth in enumerate(depths)
        if depth > 0
    )


def hypervolumes(losses: np.ndarray, reference: np.ndarray, feasible: np.ndarray | None = None) -> np.ndarray:
    """Return (n,): the hypervolume of the first 1, 2, ..., n points, in the order in which they were found.

    ``feasible`` (n,) bool leaves points out; they add nothing.
    """
    losses = np.asarray(losses, float)
    front, volume = np.empty((0, losses.shape[1])), 0.0
    curve = np.empty(len(losses))
    for place, point in enumerate(losses):
        counts = (feasible is None or feasible[place]) and (point < reference).all()
        if counts and not (front <= point).all(axis=1).any():
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
            volume = hypervolume(front, reference)
        curve[place] = volume
    return curve


def knee(losses: np.ndarray, feasible: np.ndarray | None = None) -> int | None:
    """Return the place of the front's point that is farthest below the plane through its ends; None without a point.

    Objectives are scaled to [0, 1] over the front first. With two of them it is the largest distance to the line
    between the extremes (Das 1999); with more, to the plane on which the scaled objectives sum to one.
    """
    losses = np.asarray(losses, float)
    places = np.arange(len(losses)) if feasible is None else np.flatnonzero(feasible)
    if not len(places):
        return None
    places = places[nondominated(losses[places])]
    front = losses[places]
    low, width = front.min(axis=0), np.ptp(front, axis=0)
    return int(places[((front - low) / np.where(width > 0, width, 1.0)).sum(axis=1).argmin()])


def crowding_distance(losses: np.ndarray) -> np.ndarray:
    """Return the crowding distance (n,) of each of ``losses`` (n, m); the ends have inf (Deb et al. 2002, III-B)."""
    if len(losses) < 3:
        return np.full(len(losses), np.inf)
    distance = np.zeros(len(losses))
    for column in losses.T:
        order = column.argsort(kind="stable")
        width = column[order[-1]] - column[order[0]]
        if width > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
            distance[order[[0, -1]]] = np.inf
    return distance
