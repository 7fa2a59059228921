"""The median rule (Golovin et al. 2017, section 3.2.2, as Optuna 5.0.0 has it): what is below the median ends early.

A started trial goes on from rung to rung at once, until its best value so far is worse than the median that the
finished trials had at the rung where it stands. Finished are those on the top rung: what was ended, or failed, is no
measure.

Optuna has the rule for one objective alone. Here, with several objectives or constraints, a trial goes on unless more
than half of the last ``RECENT`` finished trials come before it at its rung, in the order of ``nas.rungs.best_first``.
"""

from bisect import insort
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Final

from estimators.estimator import Fidelity
from nas.rungs import best_first, merit
from nas.scheduler import Action, Continue, Scheduler, schedulers
from nas.strategy import Strategy
from nas.trial import Trial

RECENT: Final = 100  # finished trials that are looked at with several objectives or constraints


@schedulers.register("median")
class Median(Scheduler):
    """Ends nothing before ``n_startup_trials`` are finished, nor on the first ``n_warmup_steps`` rungs."""

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        n_startup_trials: int = 5,
        n_warmup_steps: int = 0,
    ) -> None:
        for name, value in (("n_startup_trials", n_startup_trials), ("n_warmup_steps", n_warmup_steps)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"median: {name}={value!r}; give a whole number from 0 up")
        super().__init__(strategy, ladder)
        self.n_startup_trials, self.n_warmup_steps = n_startup_trials, n_warmup_steps
        self._going: dict[int, int] = {}  # trials under way and the rung that is next
        self._finished: list[Trial] = []
        self._values: list[list[float]] = [[] for _ in self.ladder]  # losses of the finished by rung, sorted

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self._going.pop(trial.number, None)
        if trial.failed or not (rungs := self._stood(trial)):
            return
        if len(rungs) == len(self.ladder):
            self._finish(trial)
        elif not self._ends(trial, rungs):
            self._going[trial.number] = len(rungs)

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        return self.next_of(
            lambda may: self._under_way(trials),
            lambda: self.start(trials, pending, self.ladder[0]),
            pending,
            may_start,
        )

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        return self._going

    def _under_way(self, trials: Mapping[int, Trial]) -> Continue | None:
        for number, rung in self._going.items():
            if trials[number].asked is None:
                return Continue(number, self.ladder[rung])
        return None

    def _stood(self, trial: Trial) -> Sequence[Fidelity]:
        """Return the rungs on which ``trial`` stands."""
        cost = max(step.fidelity.cost for step in trial.steps if step.error is None)
        return [rung for rung in self.ladder if rung.cost <= cost]

    def _finish(self, trial: Trial) -> None:
        self._finished.append(trial)
        for values, rung in zip(self._values, self.ladder, strict=True):
            insort(values, merit(self.strategy.problem, trial, rung)[1])

    def _ends(self, trial: Trial, rungs: Sequence[Fidelity]) -> bool:
        problem = self.strategy.problem
        if len(self._finished) < max(self.n_startup_trials, 1) or len(rungs) <= self.n_warmup_steps:
            return False
        if len(problem.objectives) > 1 or problem.constraints:
            measured = self._finished[-RECENT:]
            order = best_first(problem, [trial, *measured], rungs[-1])
            return order.index(trial) > len(measured) // 2
        best = min(merit(problem, trial, rung)[1] for rung in rungs)
        return best > median(self._values[len(rungs) - 1])
