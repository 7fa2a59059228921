"""Hyperband (Li et al. 2018, algorithm 1): brackets that halve from the cheapest rung, from the next, and so on.

Where low rungs tell the truth the first brackets win, where they lie the last ones do. Brackets take their turns over
and over, for as long as there is budget. ``sizes="keras-tuner"`` has the numbers of designs of that package, which
differ; what is promoted when is the paper's rule with either.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from estimators.estimator import Fidelity
from nas.brackets import checked_eta, cycle
from nas.rounds import Bracketed
from nas.scheduler import Done, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial


@schedulers.register("hyperband")
class Hyperband(Bracketed):
    """The brackets of ``nas.brackets.cycle``, with ``sizes`` "li" or "keras-tuner".

    Rungs that are shown to rank nothing are left out (``nas.rounds``); with ``doubt=False`` never, as in the paper.
    """

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        eta: int = 3,
        sizes: str = "li",
        doubt: bool = True,
    ) -> None:
        eta = checked_eta("hyperband", eta)
        super().__init__(strategy, ladder, partial(cycle, eta=eta, sizes=sizes), doubt=doubt)

    def begin(self, trials: Mapping[int, Trial], pending: Sequence[int], rung: int) -> Start | Done:
        return self.start(trials, pending, self.ladder[rung])
