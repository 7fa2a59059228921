"""The default: Gaussian processes while trials are few and dear; cheaper models once they are many, or outrun a fit.

What it stands on is measured. Where every trial is trained to the end, nothing else came near the processes up to some
hundred trials (``experiments/tables``). Where most are ended early there are hundreds, of whose first epochs the
processes make little: there ``tpe`` takes over, whose good ones are what went furthest (``experiments/fidelity``).
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from nas.source import Source
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Configuration

MODELLED = 1000  # asks up to which the processes serve alone
LATER = {"tpe": 0.5, "evolution": 0.4, "gp": 0.1}  # shares of asks from then on
ENDED_EARLY = 20  # asks that the processes serve where trials are trained to different fidelities
FIT = 0.05  # seconds of an ask of the processes: trials that finish faster are waited for by nobody
SERVED = 0.1  # share of asks that the processes serve all the same, where nothing else is in flight
ALLOWED = (
    0.5  # of the time between two results, where several are in flight: more, and workers wait for the engine
)
LARGE = (
    240,
    0.1,
    0.8,
)  # trials from which on so many seconds are those of an ask, and of finding hyperparameters anew
GROWTH = 10
DEARER = 2  # times as long an ask of the processes takes where they hear a source
LATEST = 20  # trials whose seconds count


@strategies.register("auto")
class Auto(Strategy):
    """Asks ``gp`` for the first ``modelled`` trials; from then on mostly ``tpe`` and ``evolution``.

    With trials of several fidelities ``tpe`` serves from ask ``ENDED_EARLY`` on. Under a budget of time, or with
    several trials in flight, where results come in faster than a fit takes, ``gp`` serves the share of asks that its
    time allows, by the stored seconds of the last trials, and ``tpe`` the others. Each trial keeps the name of its
    ``server``.
    """

    weighs_priors = True

    def __init__(self, problem: Problem, *, seed: int = 0, modelled: int = MODELLED) -> None:
        super().__init__(problem, seed=seed)
        self.modelled = modelled
        self._members = {name: strategies.get(name)(problem, seed=seed) for name in LATER}
        self._costs: set[float] = set()

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        if trial.last is not None:
            self._costs.add(trial.last.fidelity.cost)
        for member in self._members.values():
            member.tell(trial)

    def started(self, key: str) -> None:
        super().started(key)
        for member in self._members.values():
            member.started(key)

    def hear(self, source: Source | None) -> None:
        super().hear(source)
        for member in self._members.values():
            member.hear(source)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        self.server = self._server_of(rng, index, len(pending))
        return self._members[self.server].propose(rng, index, pending)

    def _server_of(self, rng: np.random.Generator, index: int, pending: int) -> str:
        if index >= self.modelled:
            server = str(rng.choice(list(LATER), p=list(LATER.values())))
            busy = server == "gp" and pending and rng.random() * LATER["gp"] >= self._share(pending)
            return "tpe" if busy else server
        early = index >= ENDED_EARLY and len(self._costs) > 1
        if early and (self.source is None or index % 2 == 0):
            return "tpe"
        if not (self.problem.timed or pending) or len(self.trials) < LATEST:
            return "gp"
        return "gp" if rng.random() < self._share(pending) else "tpe"

    def _share(self, pending: int) -> float:
        """Return the share of asks that ``gp`` has the time for, by the seconds of the last trials.

        With several in flight the engine must not be busy for longer than one of them takes, nor all of the time.
        """
        seconds = float(np.mean([one.seconds for one in islice(reversed(self.trials.values()), LATEST)]))
        if self.source is not None:
            seconds /= DEARER
        if not pending:
            return max(seconds / FIT, SERVED)
        size, ask, anew = LARGE
        if seconds < anew:
            return 0.0
        each = anew * GROWTH / max(len(self.trials), size)  # they are found anew when a tenth more were told
        return (ALLOWED * seconds / (pending + 1) - each) / ask
