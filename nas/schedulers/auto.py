"""The default scheduler: what evidence says is best, by the ladder.

With one rung every design is trained once. With several it is ASHA: in simulation on recorded curves
(``experiments/fidelity``) it and synchronous halving reach a low regret at the least cost, but its good results come
earlier, and with several workers it waits for nobody. Freeze-thaw, Hyperband and its kin cost more there.
"""

from collections.abc import Collection, Mapping, Sequence

from estimators.estimator import Fidelity
from nas.scheduler import Action, Scheduler, schedulers
from nas.strategy import Strategy
from nas.trial import Trial


@schedulers.register("auto")
class Auto(Scheduler):
    """``full`` on one rung, else ``asha``."""

    needs_rungs = False

    def __init__(self, strategy: Strategy, ladder: Sequence[Fidelity] = (Fidelity(),)) -> None:
        super().__init__(strategy, ladder)
        self.inner: Scheduler = schedulers.get("asha" if len(self.ladder) > 1 else "full")(strategy, ladder)

    def tell(self, trial: Trial) -> None:
        self.inner.tell(trial)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.inner.ask(trials, pending, may_start)

    def owed(self, trials: Mapping[int, Trial]) -> list[float]:
        return self.inner.owed(trials)

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        return self.inner.keeps(trials)
