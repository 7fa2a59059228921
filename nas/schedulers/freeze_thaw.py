"""Freeze-thaw: a model of learning curves decides what is trained one rung further, or that a new design begins.

After Swersky et al. 2014, with the model of ``nas.hpo.curves``: whatever is worth most for its cost is done next, see
``nas.outlook``. One rule serves any number of workers, and nobody waits for a bracket to fill.
"""

from collections.abc import Collection, Mapping, Sequence
from math import isqrt
from typing import ClassVar

import numpy as np

from estimators.estimator import Fidelity
from nas.curves import Curves
from nas.outlook import Outlook
from nas.scheduler import DONE, WAIT, Action, Continue, Scheduler, Spacing, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial

FIRST = 8  # designs begun before any is gone on with
KEPT = 16  # least number of trials under way whose checkpoints are kept, of the most worth
ENDED = 2  # designs that are trained to the end in any case, so that two can be compared there


@schedulers.register("freeze-thaw")
class FreezeThaw(Scheduler):
    """Goes on with what promises most for its cost, one rung at a time; ``first`` designs are begun before that.

    With the budget of starts spent it goes on while a training under way is worth more than a new design would be,
    and then with the most promising ones, until ``ENDED`` have reached the last rung.
    """

    spacing: ClassVar[Spacing] = "fine"

    def __init__(
        self, strategy: Strategy, ladder: Sequence[Fidelity] = (Fidelity(),), *, first: int = FIRST
    ) -> None:
        if isinstance(first, bool) or not isinstance(first, int) or first < 2:
            raise ValueError(
                f"freeze-thaw: first={first!r}; two at least can be compared, give a whole number from 2 up"
            )
        super().__init__(strategy, ladder)
        self.first = first
        self.cost = np.array([rung.cost for rung in self.ladder])
        self.curves = Curves(strategy.problem, self.ladder)

    def tell(self, trial: Trial) -> None:
        """Pass ``trial`` on, and take note of what it has reached."""
        super().tell(trial)
        self.curves.put(trial)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        outlook = self._outlook(trials, pending)
        beginning = len(trials) < self.first
        new = 0.0 if beginning else outlook.new
        onward = outlook.most_worth()
        if not (may_start and beginning) and onward is not None and outlook.worth[onward] > new:
            return self._onward(onward, outlook)
        if may_start and isinstance(action := self.start(trials, pending, self.ladder[0]), Start):
            return action
        if onward is not None and outlook.ended < ENDED:
            return self._onward(outlook.most_promising(), outlook)
        return WAIT if pending else DONE

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        outlook = self._outlook(trials, ())
        best = np.argsort(-outlook.worth, kind="stable")[: max(KEPT, 2 * isqrt(len(trials)))]
        return [int(number) for number in best if outlook.worth[number] > -np.inf]

    def _outlook(self, trials: Mapping[int, Trial], pending: Sequence[int]) -> Outlook:
        """Look at all numbers given so far; repeats, which are none of ``trials``, have theirs among them."""
        return Outlook.of(self.curves, self.cost, max(trials, default=-1) + 1, pending)

    def _onward(self, number: int, outlook: "Outlook") -> Continue:
        return Continue(number, self.ladder[outlook.rung[number] + 1])
