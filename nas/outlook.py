"""What trainings under way, and one that is not begun yet, are worth for their cost.

A training is worth the improvement on what is there that it may bring for what that costs, at whichever later rung this
is most. A new design is worth what the newest ones would have been to somebody who begins them and goes on with those
that turn out well: at the best threshold, what these bring for what all of them cost (Weitzman 1979, two stages of his
index). With two objectives the improvement is one of the hypervolume.

Notation
    n, K, m   trials, rungs, objectives     y     (n, K, m) losses, standardised, NaN where not reached
    gain      expected improvement          cost  (K,) of reaching each rung from nothing
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from nas.curves import Curves
from nas.hpo.acquisition import expected_improvement, log_expected_hypervolume_improvement
from nas.hpo.curves import CurveModel, gains

NEWEST = 20  # designs begun last, whose first results say what the next will be like
LOOKED = 200  # trials of one rung that are looked at, the best ones
CERTAIN = 1e-9  # deviation of what no training changes


class Forecast:
    """Models of the curves ``y``; no training changes the objectives ``known``."""

    def __init__(self, y: np.ndarray, known: Collection[int] = ()) -> None:
        self.known = known
        self.models = [CurveModel(y[:, :, at]) for at in range(y.shape[2])]
        self.told = y[~np.isnan(y).any(axis=2)]

    def gain(self, value: np.ndarray, last: np.ndarray, rung: int) -> np.ndarray:
        """Return the expected improvement (n, K - 1 - rung) at later rungs, from ``value`` and ``last`` gain (n, m)."""
        means, deviations = [], []
        for at, model in enumerate(self.models):
            mean, deviation = model.predict(value[:, at], last[:, at], rung)
            if at in self.known:
                mean, deviation = value[:, [at]] + 0 * mean, np.full_like(mean, CERTAIN)
            means.append(mean)
            deviations.append(deviation)
        if len(self.models) == 1:
            return expected_improvement(means[0], deviations[0], float(self.told.min()))
        mean, deviation = (np.stack(one, axis=2).reshape(-1, len(self.models)) for one in (means, deviations))
        gain: np.ndarray = np.exp(log_expected_hypervolume_improvement(mean, deviation, self.told))
        return gain.reshape(means[0].shape)

    def worth_of_new(self, first: np.ndarray, cost: np.ndarray) -> float:
        """Return the gain per cost of a new design, were it like those of the ``first`` results (n, m), NaN: failed."""
        good = first[~np.isnan(first).any(axis=1)]
        if not len(good):
            return 0.0
        gain, ahead = self.gain(good, np.zeros_like(good), 0), cost[1:] - cost[0]
        at = (gain / ahead).argmax(axis=1)
        order = np.argsort(-(gain / ahead).max(axis=1), kind="stable")
        gained = np.cumsum(gain[np.arange(len(good)), at][order])
        spent = cost[0] * len(first) + np.cumsum(ahead[at][order])
        return float((gained / spent).max())


@dataclass(frozen=True)
class Outlook:
    """What may become of each trial (n,): its ``worth`` per cost, its gain at the last rung, where it stands.

    ``new`` is the worth of a new design, ``ended`` how many have reached the last rung. What is in flight, has failed
    or ended has a worth of -inf.
    """

    worth: np.ndarray
    final: np.ndarray
    rung: np.ndarray
    new: float
    ended: int

    @classmethod
    def of(cls, curves: Curves, cost: np.ndarray, n: int, pending: Sequence[int]) -> "Outlook":
        """Look at ``n`` trials, those ``pending`` in flight; ``cost`` (K,) is that of each rung."""
        y, rung, last = curves.standardised(n), curves.rungs(n), len(cost) - 1
        worth, final = np.full(n, -np.inf), np.full(n, -np.inf)
        ended = int((rung == last).sum())
        if np.isnan(y).all() or not last:
            return cls(worth, final, rung, 0.0, ended)
        forecast = Forecast(y, curves.known)
        rung[list(pending)] = -1
        for k in range(last):
            at = np.flatnonzero(rung == k)
            at = at[np.argsort(y[at, k].sum(axis=1), kind="stable")[:LOOKED]]
            if len(at):
                gain = forecast.gain(y[at, k], gains(y, k)[at], k)
                worth[at], final[at] = (gain / (cost[k + 1 :] - cost[k])).max(axis=1), gain[:, -1]
        newest = curves.newest(NEWEST, pending)
        return cls(worth, final, rung, forecast.worth_of_new(y[newest, 0], cost), ended)

    def most_worth(self) -> int | None:
        """Return the number of the trial that promises most for its cost; None where none can go on."""
        return None if not (self.worth > -np.inf).any() else int(self.worth.argmax())

    def most_promising(self) -> int:
        """Return the number of the trial under way that promises most at the last rung."""
        return int(self.final.argmax())
