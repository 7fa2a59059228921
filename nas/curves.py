"""The learning curves of a study on the rungs of its ladder, kept up while trials are told.

Notation
    n, K, m   trials, rungs, objectives         losses  (n, K, m), NaN where not reached, less is better
"""

from collections.abc import Collection, Sequence

import numpy as np

from estimators.estimator import Fidelity
from nas.hpo.acquisition import tchebycheff
from nas.rungs import metrics_at, step_at
from nas.trial import Problem, Trial

LARGEST = 1e150  # of a loss: differences and squares of such are finite still
WORST = 1.0  # standardised: what is worse, breaks a constraint or is infinite counts as this


class Curves:
    """What each trial reached, by its number. ``put`` takes trials in any order, again after each step."""

    def __init__(self, problem: Problem, ladder: Sequence[Fidelity]) -> None:
        self.problem, self.ladder = problem, ladder
        self._losses = np.full((16, len(ladder), len(problem.objectives)), np.nan)
        self._broken = np.zeros((16, len(ladder)), bool)
        self._rung = np.full(16, -1)
        self._numbers: set[int] = set()  # of the trials told
        self._told = 0
        self.known: frozenset[int] = (
            frozenset()
        )  # objectives that follow from the design: no training changes them

    def put(self, trial: Trial) -> None:
        """Take note of what ``trial`` has reached."""
        self._hold(trial.number + 1)
        self._told += 1
        self._numbers.add(trial.number)
        names = [one.name for one in self.problem.objectives]
        self.known = frozenset(at for at, name in enumerate(names) if name in trial.free)
        self._rung[trial.number] = -1
        for k, rung in enumerate(self.ladder):
            if step_at(trial, rung) is None:
                break
            self._rung[trial.number] = -1 if trial.failed else k
            if np.isnan(self._losses[trial.number, k]).any():
                metrics = metrics_at(trial, rung)
                self._losses[trial.number, k] = np.clip(self.problem.losses(metrics), -LARGEST, LARGEST)
                self._broken[trial.number, k] = self.problem.violation(metrics) > 0

    def _hold(self, n: int) -> None:
        """Have room for ``n`` trials."""
        while n > len(self._losses):
            self._losses = np.concatenate([self._losses, np.full_like(self._losses, np.nan)])
            self._broken = np.concatenate([self._broken, np.zeros_like(self._broken)])
            self._rung = np.concatenate([self._rung, np.full_like(self._rung, -1)])

    def newest(self, count: int, pending: Collection[int]) -> list[int]:
        """Return the highest ``count`` numbers of trials told, without those ``pending``, in order."""
        return sorted(self._numbers - set(pending))[-count:]

    def rungs(self, n: int) -> np.ndarray:
        """Return the last rung (n,) that each trial stands on: -1 for those on none, and for those that failed."""
        self._hold(n)
        return self._rung[:n].copy()

    def standardised(self, n: int) -> np.ndarray:
        """Return y (n, K, m): 0 is the median of the first rung, -1 the best of all; nothing is worse than ``WORST``.

        More than two objectives are made one by Tchebycheff's norm, with other weights after each result (Knowles 2006,
        section III). What breaks a constraint counts as the worst.
        """
        self._hold(n)
        losses = self._losses[:n]
        columns = losses if losses.shape[2] < 3 else self._norm(losses)[:, :, None]
        return np.stack([self._column(column) for column in np.moveaxis(columns, 2, 0)], axis=2)

    def _column(self, y: np.ndarray) -> np.ndarray:
        good = ~np.isnan(y) & ~self._broken[: len(y)]
        if not good.any():
            return np.where(np.isnan(y), np.nan, WORST)
        best = float(y[good].min())
        first = y[good[:, 0], 0]
        middle = float(np.median(first)) if len(first) else best
        scaled = (y - middle) / ((middle - best) or 1.0)
        return np.where(good, np.minimum(scaled, WORST), np.where(np.isnan(y), np.nan, WORST))

    def _norm(self, losses: np.ndarray) -> np.ndarray:
        """Return (n, K), one number for the m losses of each."""
        known = losses[~np.isnan(losses).any(axis=2)]
        if not len(known):
            return losses[:, :, 0]
        weights = np.random.default_rng(self._told).dirichlet(np.ones(losses.shape[2]))
        return tchebycheff(losses, weights, known.min(axis=0), np.ptp(known, axis=0))
