"""Successive halving in brackets (Jamieson and Talwalkar 2016, algorithm 1; Li et al. 2018, section 3).

Notation
    R   rungs of the ladder, cheapest first       eta   each rung keeps one in eta
    A bracket starts eta^(R-1) designs at rung 0 and ends with one at rung R-1.
"""

from collections.abc import Mapping, Sequence

from estimators.estimator import Fidelity
from nas.brackets import Stage, Stages, checked_eta
from nas.rounds import Bracketed
from nas.scheduler import Done, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial


@schedulers.register("halving")
class Halving(Bracketed):
    """Brackets of ``eta ** (R - 1)`` designs, one after the other.

    Rungs that are shown to rank nothing are left out (``nas.rounds``); with ``doubt=False`` never, as in the papers.
    """

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        eta: int = 3,
        doubt: bool = True,
    ) -> None:
        eta = checked_eta("halving", eta)
        super().__init__(strategy, ladder, lambda rungs: [_bracket(len(rungs) - 1, eta)], doubt=doubt)

    def begin(self, trials: Mapping[int, Trial], pending: Sequence[int], rung: int) -> Start | Done:
        return self.start(trials, pending, self.ladder[rung])


def _bracket(top: int, eta: int) -> Stages:
    return tuple(Stage(eta ** (top - rung), rung) for rung in range(top + 1))
