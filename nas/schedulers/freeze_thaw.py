"""Freeze-thaw: a model of learning curves decides what is trained one rung further, or that a new design begins.

After Swersky et al. 2014, with the model of ``nas.hpo.curves``. A training is worth the improvement on the best result
that it may bring for what that costs, at whichever later rung this is most. A new design is worth what the newest ones
would have been to somebody who begins them and goes on with those that turn out well: at the best threshold, what these
bring for what all cost (Weitzman 1979, two stages of his index).

Notation
    n, K    trials, rungs                     y     (n, K) losses, standardised, NaN where not reached
    gain    expected improvement on min(y)    cost  (K,) of reaching each rung from nothing
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from estimators.estimator import Fidelity
from nas.curves import Curves
from nas.hpo.acquisition import expected_improvement
from nas.hpo.curves import CurveModel, gains
from nas.scheduler import DONE, WAIT, Action, Continue, Scheduler, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial

FIRST = 8  # designs begun before any is gone on with
NEWEST = 20  # designs begun last, whose first results say what the next will be like
LOOKED = 200  # trials of one rung that are looked at, the best ones
KEPT = 16  # least number of trials under way whose checkpoints are kept, of the most worth
ENDED = 2  # designs that are trained to the end in any case, so that two can be compared there


@schedulers.register("freeze-thaw")
class FreezeThaw(Scheduler):
    """Goes on with what promises most for its cost, one rung at a time; ``first`` designs are begun before that.

    With the budget of starts spent it goes on while a training under way is worth more than a new design would be,
    and then with the most promising ones, until ``ENDED`` have reached the last rung.
    """

    spacing = "fine"

    def __init__(
        self, strategy: Strategy, ladder: Sequence[Fidelity] = (Fidelity(),), *, first: int = FIRST
    ) -> None:
        if first < 2:
            raise ValueError(f"freeze-thaw: first={first} begins too few to compare; give 2 or more")
        super().__init__(strategy, ladder)
        self.first = first
        self.cost = np.array([rung.cost for rung in self.ladder])
        self.curves = Curves(strategy.problem, self.ladder)

    def tell(self, trial: Trial) -> None:
        """Pass ``trial`` on, and take note of what it has reached."""
        super().tell(trial)
        self.curves.put(trial)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        beginning = len(trials) < self.first
        if (
            may_start
            and beginning
            and isinstance(action := self.start(trials, pending, self.ladder[0]), Start)
        ):
            return action
        outlook = Outlook.of(self.curves, self.cost, len(trials), pending)
        new = 0.0 if beginning else outlook.new
        onward = outlook.most_worth()
        if onward is not None and outlook.worth[onward] > new:
            return self._onward(onward, outlook)
        if may_start and isinstance(action := self.start(trials, pending, self.ladder[0]), Start):
            return action
        if onward is not None and outlook.ended < ENDED:
            return self._onward(outlook.most_promising(), outlook)
        return WAIT if pending else DONE

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        outlook = Outlook.of(self.curves, self.cost, len(trials), ())
        best = np.argsort(-outlook.worth, kind="stable")[: max(KEPT, 2 * isqrt(len(trials)))]
        return [int(number) for number in best if outlook.worth[number] > -np.inf]

    def _onward(self, number: int, outlook: "Outlook") -> Continue:
        return Continue(number, self.ladder[outlook.rung[number] + 1])


@dataclass(frozen=True)
class Outlook:
    """What may become of each trial (n,): ``worth`` per cost, ``final`` expected at the last rung, its ``rung``.

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
        worth, final = np.full(n, -np.inf), np.full(n, np.inf)
        ended = int((rung == last).sum())
        if np.isnan(y).all() or not last:
            return cls(worth, final, rung, 0.0, ended)
        model, best = CurveModel(y), float(np.nanmin(y))
        rung[list(pending)] = -1
        for k in range(last):
            at = np.flatnonzero(rung == k)
            at = at[np.argsort(y[at, k], kind="stable")[:LOOKED]]
            if len(at):
                means, deviations = model.predict(y[at, k], gains(y, k)[at], k)
                ahead = expected_improvement(means, deviations, best) / (cost[k + 1 :] - cost[k])
                worth[at], final[at] = ahead.max(axis=1), means[:, -1]
        newest = np.setdiff1d(np.arange(n), list(pending))[-NEWEST:]
        return cls(worth, final, rung, _worth_of_new(y[newest, 0], model, best, cost), ended)

    def most_worth(self) -> int | None:
        """Return the number of the trial that promises most for its cost; None where none can go on."""
        return None if not (self.worth > -np.inf).any() else int(self.worth.argmax())

    def most_promising(self) -> int:
        """Return the number of the trial under way that is expected to be best at the last rung."""
        return int(self.final.argmin())


def _worth_of_new(first: np.ndarray, model: CurveModel, best: float, cost: np.ndarray) -> float:
    """Return the worth per cost of a new design, were it like those whose ``first`` results (NaN: failed) are given."""
    good = first[~np.isnan(first)]
    if not len(good):
        return 0.0
    gain = expected_improvement(*model.predict(good, np.zeros_like(good), 0), best)
    ahead = cost[1:] - cost[0]
    at = (gain / ahead).argmax(axis=1)
    order = np.argsort(-(gain / ahead).max(axis=1), kind="stable")
    gained = np.cumsum(gain[np.arange(len(good)), at][order])
    spent = cost[0] * len(first) + np.cumsum(ahead[at][order])
    return float((gained / spent).max())
