"""Asynchronous successive halving (Li et al. 2020, algorithm 2): a worker that is free never waits.

It promotes the best of the top 1/eta of a rung that did not go on yet, from the dearest rung down, and where there is
none starts a design at the bottom. Failed trials count as results of their rung, the worst ones. With several
objectives the top of a rung is that of ``nas.rungs.best_first``.

With ``doubt`` a rung that has lost its say (``nas.fidelity_trust``) stops nobody: who comes to it goes on at once, as
if it were not there, and is measured in passing. Of those that wait on it since before, the best of the top still go
on. That is looked at again when an eighth more has been told.

The paper's rule promotes whoever comes into the top, also where that is full of those that went on before. With a
strategy that learns, each design is better than most before it, and nearly all are trained to the end. So a rung has a
``quota``: no more of its results go on than one in eta, the others of the top wait until there are more results. Only
the best of all does not wait. Those that passed a rung without a say count on neither side.

The paper's rule has no end. Here, with the starts spent and nothing due, the best go on until ``ended`` designs stand
on the last rung, so that two can be compared there however few were begun. Under a budget of time its last seconds are
kept for that, a third of them at most. Where the space holds no other design and more were asked for, the best go on
all the same, on each rung an equal share, until all stand on the last one.
"""

from collections.abc import Collection, Mapping, Sequence

from estimators.estimator import Fidelity
from nas.brackets import checked_eta
from nas.fidelity_trust import earned, next_look
from nas.rungs import step_at
from nas.scheduler import DONE, Action, Continue, Done, Scheduler, Start, Wait, schedulers
from nas.strategy import Strategy
from nas.trial import Trial
from nas.waiting import Waiting

FIRST = 8  # results before the say of rungs is looked at


@schedulers.register("asha")
class Asha(Scheduler):
    """Promotes one in ``eta`` of each rung, at once; ``ended`` designs in any case, once no more may start.

    Without ``quota`` it promotes, as in the paper, whoever is in the top of a rung, however many went on before.
    """

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        eta: int = 3,
        doubt: bool = True,
        quota: bool = True,
        ended: int = 2,
    ) -> None:
        super().__init__(strategy, ladder)
        if isinstance(ended, bool) or not isinstance(ended, int) or ended < 0:
            raise ValueError(
                f"asha: ended={ended!r}; give how many designs end at the top, a whole number from 0 up"
            )
        self.eta, self.doubt, self.quota, self.ended = checked_eta("asha", eta), doubt, quota, ended
        self.waiting = Waiting(strategy.problem, self.ladder)
        self.say = (True,) * len(self.ladder)
        self._told: dict[int, Trial] = {}
        self._results, self._look = 0, FIRST
        # how many trials and enqueued designs there were when the strategy had no other
        self._emptied = (-1, -1)
        self._passing: dict[int, int] = {}  # trials on a rung without a say, and which
        self._passed = [0] * len(self.ladder)  # how many have left each rung that way

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        self.waiting.tell(trial)
        if self.doubt:
            self._doubt(trial)

    def _doubt(self, trial: Trial) -> None:
        self._told[trial.number] = trial
        self._results += 1
        if self._results >= self._look:
            self.say = earned(self._told.values(), self.strategy.problem, self.ladder)
            self._look = next_look(self._results)
        if (left := self._passing.pop(trial.number, None)) is not None:
            self._passed[left] += 1
        at = max((at for at, rung in enumerate(self.ladder) if step_at(trial, rung)), default=-1)
        if not trial.failed and 0 <= at < len(self.ladder) - 1 and not self.say[at]:
            self._passing[trial.number] = at

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        action = self.next_of(
            lambda may: (
                self._through(trials)
                or (None if may else self._last(trials, len(pending)))
                or self._promotion(trials, pending)
            ),
            lambda: self._begun(trials, pending),
            pending,
            may_start,
        )
        if may_start and isinstance(action, Wait | Done):  # every design of the space was started
            return self._wider(trials) or action
        return action

    def _begun(self, trials: Mapping[int, Trial], pending: Sequence[int]) -> Start | Done:
        """Return a new design on the first rung; a strategy that had none is asked again when more is enqueued."""
        asked = len(trials), len(self.strategy.queue)
        if asked == self._emptied:
            return DONE
        action = self.start(trials, pending, self.ladder[0])
        if isinstance(action, Done):
            self._emptied = asked
        return action

    def _wider(self, trials: Mapping[int, Trial]) -> Continue | None:
        """Return the continuation of the best that waits on the rung of which the least share has gone on."""
        found = list[tuple[float, int, int]]()
        for at in range(len(self.ladder) - 1):
            if (first := self.waiting.first(at, trials)) is not None:
                share = self.waiting.rungs[at + 1].size / self.waiting.rungs[at].size
                found.append((share, -at, first[0]))
        if not found:
            return None
        _, at, number = min(found)
        return Continue(number, self.ladder[1 - at])

    def _through(self, trials: Mapping[int, Trial]) -> Continue | None:
        for number, at in self._passing.items():
            if trials[number].asked is None:
                return Continue(number, self.ladder[at + 1])
        return None

    def _promotion(self, trials: Mapping[int, Trial], pending: Sequence[int]) -> Continue | None:
        for at in reversed(range(len(self.ladder) - 1)):
            first = self.waiting.first(at, trials)
            if first is not None and self._due(at, first[1], [trials[number] for number in pending]):
                return Continue(first[0], self.ladder[at + 1])
        return None

    def _due(self, at: int, place: int, flights: Sequence[Trial]) -> bool:
        """Return whether the trial at ``place`` on rung ``at``, the best that waits there, goes on now."""
        here, above = self.waiting.rungs[at].size, self.waiting.rungs[at + 1].size
        if place >= here // self.eta:
            return False
        if place == 0 or not self.quota or not self.say[at]:
            return True
        gone = above + sum(self._leaves(trial, at) for trial in flights) - self._passed[at]
        return gone < (here - self._passed[at]) // self.eta

    def _leaves(self, trial: Trial, at: int) -> bool:
        """Return whether ``trial``, in flight, was promoted from rung ``at``."""
        assert trial.asked is not None
        up = self.ladder[at + 1]
        promoted = trial.number not in self._passing and step_at(trial, self.ladder[at]) is not None
        return promoted and step_at(trial, up) is None and trial.asked.fidelity.cost >= up.cost

    def _last(self, trials: Mapping[int, Trial], pending: int) -> Continue | None:
        """Return the continuation of the best trial below the last rung, while too few stand or come there."""
        for at in reversed(range(len(self.ladder) - 1)):
            short = self.ended - self.waiting.rungs[-1].size - pending
            if short > 0 and (first := self.waiting.first(at, trials)) is not None:
                return Continue(first[0], self.ladder[at + 1])
        return None

    def owed(self, trials: Mapping[int, Trial]) -> list[float]:
        short, top = self.ended - self.waiting.rungs[-1].size, self.ladder[-1].cost
        costs = list[float]()
        for at in reversed(range(len(self.ladder) - 1)):
            waiting = self.waiting.ahead(at, trials) if len(costs) < short else []
            costs += [top - self.ladder[at].cost] * len(waiting)
        return costs[: max(short, 0)]

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        waiting = {number for at in range(len(self.ladder) - 1) for number in self.waiting.ahead(at, trials)}
        return waiting | self._passing.keys()
