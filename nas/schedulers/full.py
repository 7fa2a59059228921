"""Every design is evaluated once, to the full fidelity."""

from collections.abc import Mapping, Sequence

from nas.scheduler import DONE, Action, Scheduler, schedulers
from nas.trial import Trial


@schedulers.register("full")
class Full(Scheduler):
    """Starts design after design at the last rung of the ladder."""

    needs_rungs = False

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.start(trials, pending, self.ladder[-1]) if may_start else DONE
