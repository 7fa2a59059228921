"""The order of trials from best to worst, kept up while they are told one by one.

Notation
    n, m     trials, objectives
    score    (m + 2,) losses, negated cost of the fidelity, violation of the constraints, infinite for a failure: trials
             compare by the last first; less is better throughout
    above    (n,) how many trials dominate each
"""

import numpy as np

from nas.hpo.pareto import crowding_distance


class Standing:
    """Scores of trials by place. One objective is ordered by its value, several by dominance and loneliness."""

    def __init__(self, objectives: int) -> None:
        self._scores = np.empty((16, objectives + 2))
        self._above = np.zeros(16, int)
        self._n = 0

    @property
    def scores(self) -> np.ndarray:
        """All scores (n, m + 2)."""
        return self._scores[: self._n]

    @property
    def above(self) -> np.ndarray:
        """How many trials dominate each; kept with several objectives only."""
        return self._above[: self._n]

    @property
    def succeeded(self) -> int:
        """How many trials have not failed."""
        return int(np.isfinite(self.scores[:, -1]).sum())

    def put(self, place: int, score: np.ndarray) -> None:
        """Set the score at ``place``: one that was put before, or the next."""
        if self._n == len(self._scores):
            self._scores = np.concatenate([self._scores, np.empty_like(self._scores)])
            self._above = np.concatenate([self._above, np.zeros_like(self._above)])
        several, new = len(score) > 3, place == self._n
        if several and not new:
            self._above[: self._n] -= self._dominated(place)
        self._scores[place] = score
        self._n += new
        if several:
            self._above[: self._n] += self._dominated(place)
            self._above[place] = self._dominating(place).sum()

    def order(self, count: int) -> np.ndarray:
        """Return the places (n,), best first; with several objectives only the first ``count`` are told apart fully.

        They are ordered by how many trials dominate them (Fonseca and Fleming 1993), then the loneliest first.
        """
        if self.scores.shape[1] == 3:
            return np.lexsort(self.scores.T)
        top = np.flatnonzero(self.above <= np.partition(self.above, count - 1)[count - 1])
        lonely = np.zeros(self._n)
        lonely[top] = crowding_distance(self.scores[top, :-2])
        return np.lexsort((-lonely, self.above))

    def _dominated(self, place: int) -> np.ndarray:
        """Return (n,) bool: which trials the one at ``place`` dominates."""
        return _dominates(self._scores[place], self.scores)

    def _dominating(self, place: int) -> np.ndarray:
        return _dominates(self.scores, self._scores[place])


def _dominates(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return whether scores ``a`` dominate ``b``; of the two one is (m + 2,), the other (n, m + 2)."""
    losses, rest = np.s_[..., :-2], np.s_[..., -2:]
    better = (a[losses] <= b[losses]).all(axis=-1) & (a[losses] < b[losses]).any(axis=-1)
    (cost, violation), (cost_b, violation_b) = np.moveaxis(a[rest], -1, 0), np.moveaxis(b[rest], -1, 0)
    better = (cost < cost_b) | ((cost == cost_b) & better)
    found: np.ndarray = (violation < violation_b) | ((violation == violation_b) & better)
    return found
