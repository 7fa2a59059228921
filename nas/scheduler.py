"""What a scheduler is: it decides what is evaluated next, and at what fidelity.

One primitive serves all multi-fidelity methods: a trial is continued from the fidelity it has reached to the next.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from estimators.estimator import Fidelity
from nas.strategy import Strategy
from nas.trial import Trial
from search_spaces.registry import Registry
from search_spaces.space import Configuration

schedulers: "Registry[type[Scheduler]]" = Registry("scheduler", "nas.schedulers")


@dataclass(frozen=True)
class Start:
    """Begin a new trial of ``config`` and evaluate it to ``fidelity``."""

    config: Configuration
    fidelity: Fidelity


@dataclass(frozen=True)
class Continue:
    """Go on with a trial from its last checkpoint to ``fidelity``."""

    trial: int
    fidelity: Fidelity


@dataclass(frozen=True)
class Fork:
    """Begin a trial of ``config`` from the weights and optimizer state of ``parent`` (population-based training).

    It takes the place of the trial ``replaces``, which does not go on.
    """

    parent: int
    config: Configuration
    fidelity: Fidelity
    replaces: int | None = None


@dataclass(frozen=True)
class Repeat:
    """Evaluate the design of ``trial`` again, from the start and with another seed, as replicate ``replicate``."""

    trial: int
    replicate: int
    fidelity: Fidelity


class Wait:
    """Nothing to do until a result comes in."""

    def __repr__(self) -> str:
        return "WAIT"


class Done:
    """Nothing is left to do: the space is exhausted."""

    def __repr__(self) -> str:
        return "DONE"


Spacing = Literal["geometric", "even", "fine"]
WAIT: Final = Wait()
DONE: Final = Done()
Action = Start | Continue | Fork | Repeat | Wait | Done


class Scheduler(ABC):
    """Wraps a strategy. Decides from the trials, and from what was told in order, as a resume tells it again.

    ``ladder`` holds the fidelities from the cheapest to the full one; a study without fidelities has one rung.
    ``width`` is how many trials at most wait for each other: the checkpoints of so many are kept for what comes next.
    ``spacing`` says which ladder it wants of a run that plans one: "geometric" (1 : 3 : 9), or, to look at a trial more
    often, "even" (about ten equal steps) or "fine" (1, 2, 3, 5, 8, 12, ... epochs). One that ``needs_rungs`` has
    nothing to decide on a ladder of one. ``lost`` are trials that a damaged store has lost: draws that were theirs are
    not used again.
    """

    width: int = 1
    spacing: ClassVar[Spacing] = "geometric"
    needs_rungs: ClassVar[bool] = True
    lost: int = 0

    def __init__(self, strategy: Strategy, ladder: Sequence[Fidelity] = (Fidelity(),)) -> None:
        if not isinstance(ladder, Sequence) or not all(isinstance(one, Fidelity) for one in ladder):
            raise ValueError(
                f"ladder {ladder!r}: give fidelities, such as [Fidelity(1), Fidelity(3), Fidelity(9)]"
            )
        if not ladder or any(a.cost >= b.cost for a, b in itertools.pairwise(ladder)):
            raise ValueError(f"ladder {list(ladder)!r}: give fidelities of rising cost")
        self.strategy, self.ladder = strategy, tuple(ladder)

    @abstractmethod
    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        """Return what to do next.

        ``trials`` are all trials of the study by number, ``pending`` the numbers of those in flight.
        With ``may_start`` false (the budget of starts is spent) only what is under way goes on; DONE when nothing is.
        """

    def tell(self, trial: Trial) -> None:
        """Pass a trial on to the strategy after one of its steps.

        A fork is not passed on: what its weights learned under other recipes is no observation of its configuration.
        """
        if trial.parent is None:
            self.strategy.tell(trial)

    def start(self, trials: Mapping[int, Trial], pending: Sequence[int], fidelity: Fidelity) -> Start | Done:
        """Ask the strategy for a new design, to be evaluated to ``fidelity``."""
        index = self.starts(trials) + self.lost
        waiting = [trials[number] for number in pending if trials[number].parent is None]
        config = self.strategy.ask(index, waiting)
        return Start(config, fidelity) if isinstance(config, Configuration) else DONE

    def starts(self, trials: Mapping[int, Trial]) -> int:
        """Return how many of ``trials`` were started: all, unless a scheduler forks."""
        return len(trials)

    def keeps(self, trials: Mapping[int, Trial]) -> Collection[int]:
        """Return the numbers of the trials that may go on, whose checkpoints are kept: the newest by ``width``."""
        return list(trials)[-2 * self.width :]

    def owed(self, trials: Mapping[int, Trial]) -> list[float]:
        """Return the costs (``Fidelity.cost``) of ending each of those that are to be ended in any case, best first.

        Under a budget of time its last seconds are kept for them.
        """
        return []

    def next_of(
        self,
        due: Callable[[bool], Continue | None],
        start: Callable[[], Start | Done],
        pending: Sequence[int],
        may_start: bool,
    ) -> Action:
        """Return what is ``due``, else a new design; where there is none, what is due then; else WAIT or DONE.

        ``due`` is asked with whether more may start: what waits for more to come need not wait then.
        """
        if (owed := due(may_start)) is not None:
            return owed
        if may_start:
            if not isinstance(action := start(), Done):
                return action
            if (owed := due(False)) is not None:
                return owed
        return WAIT if pending else DONE
