"""What a tracker is: it shows a running search somewhere. Its failure never fails a run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.fidelity_trust import Ranking
from nas.trial import Metrics, Problem, Step, Trial
from nas.trust import Trust
from search_spaces.registry import Registry

trackers: "Registry[type[Tracker]]" = Registry("tracker", "nas.trackers")


class Tracker(ABC):
    """Told of every event of a search. ``resumed`` opens a folder that an earlier process wrote to."""

    def __init__(self, folder: Path, problem: Problem, *, resumed: bool = False) -> None:
        self.folder, self.problem, self.resumed = folder, problem, resumed

    @abstractmethod
    def started(self, trial: Trial) -> None:
        """A new trial begins (told once per trial, again after a resume for an unfinished one)."""

    def reported(self, trial: Trial, epoch: int, metrics: Metrics) -> None:
        """The step under way has trained ``epoch``, counted over the whole trial. A resume may tell it again."""

    @abstractmethod
    def logged(self, trial: Trial, step: Step, best: Trial | None) -> None:
        """A step of ``trial`` has finished; ``best`` is the incumbent after it."""

    def compared(self, signals: Sequence[Trust | Ranking], step: int) -> None:
        """How well cheap signals and low fidelities rank what was trained dearly, after so many steps."""

    @abstractmethod
    def ended(self, trials: Mapping[int, Trial], best: Trial | None, summary: Mapping[str, Any]) -> None:
        """The search is over (or interrupted): close trials, draw the last picture. May be called once only."""
