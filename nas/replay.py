"""Asking again: whether a study would ask now for what it asked for then, row by row of its store.

The rows are in the order in which things happened, so a replay knows at every row what was known and what was in
flight, with one worker or several. Whether a design might still be started depended on the budget, and under one of
time on the clock, which no row tells: where the rows went on with a trial, both decisions are tried, and either is
right. Final trainings are not asked for by the scheduler and are taken as they are stored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from estimators.estimator import Fidelity
from nas.checkpoints import begins_at
from nas.growth import same_study
from nas.hearing import Ear
from nas.history import History, fidelity_of, fidelity_row
from nas.scheduler import Action, Continue, Fork, Start
from nas.storage import Row
from nas.study import Study


@dataclass(frozen=True)
class Divergence:
    """The first row that is not asked for again: ``what`` of it was ``stored``, and what was ``asked`` now."""

    row: int
    what: str
    stored: Any
    asked: Any

    def __str__(self) -> str:
        return f"row {self.row}: {self.what} was {self.stored!r}, and is {self.asked!r} now"


@dataclass(frozen=True)
class Replay:
    """How many evaluations were ``asked`` for again and found equal, and the first that was not.

    ``ended`` says why the last rows were not compared; empty if all were.
    """

    asked: int
    divergence: Divergence | None
    ended: str = ""


def replay(study: Study, rows: Sequence[Row]) -> Replay:
    """Ask again for all that ``rows`` (``nas.doctor.rows_of``) say was asked for.

    ``study`` is a new one in memory, with the space and the settings of the stored one, and is used up by this. A
    ``ValueError`` says that it is another study.
    """
    walk, end, ended = _Walk(study), *_end(rows)
    for number, row in enumerate(rows[:end]):
        found = walk.take(number, row)
        if found is not None:
            return Replay(walk.asked, found)
    return Replay(walk.asked, None, ended)


def _end(rows: Sequence[Row]) -> tuple[int, str]:
    """Return how many of ``rows`` can be compared, and why no more can."""
    spaces = [(at, row["space"]) for at, row in enumerate(rows) if row["kind"] == "study"]
    grown = min((at for at, space in spaces if space != spaces[0][1]), default=len(rows))
    ends = [(grown, f"the space has grown at row {grown}")]
    for row in rows:
        if row["kind"] == "event" and row["name"] == "salvaged":
            gaps = chain(
                (gap[0] for gap in row["value"]["missing"]), (one[0] for one in row["value"]["left_out"])
            )
            if (first := min(gaps, default=len(rows))) < len(rows):
                ends.append((first, f"row {first} was lost to damage"))
    end, why = min(ends)
    return (end, why) if end < len(rows) else (end, "")


class _Walk:
    """The state of a study between two of its rows. ``asked`` counts what was asked for again and found equal."""

    def __init__(self, study: Study) -> None:
        self.study, self.scheduler, self.strategy = study, study.scheduler, study.strategy
        self.history = History()
        self.ear = Ear(study.problem, study.strategy)
        self.strategy.queue = self.history.queue
        self.asked = 0
        self._begun: list[Row] = []  # the start row that the next row belongs to
        self._steps: dict[int, Row] = {}  # of those in flight, by trial

    def take(self, number: int, row: Row) -> Divergence | None:
        """Take in ``row``; return how what is asked now differs from it."""
        kind = row["kind"]
        if kind == "study":
            assert self.study.history.study is not None
            same_study(row, self.study.history.study)
        elif kind == "start":
            self._begun = [row]
            return None
        elif kind == "step":
            return self._step(number, row)
        elif kind == "result":
            for trial in self.history.read([self._steps.pop(row["trial"]), row]):
                if trial.replicate == 0:
                    self.scheduler.tell(trial)
            return None
        self.history.read([row])
        return None

    def _step(self, number: int, row: Row) -> Divergence | None:
        begun, self._begun = self._begun, []
        searched = begun[0]["replicate"] == 0 if begun else row["trial"] in self.history.searched
        if searched:
            self.asked += 1
            if (found := self._compared(number, begun, row)) is not None:
                return found
        self._steps[row["trial"]] = row
        self.history.read([*begun, row])
        if begun and begun[0]["parent"] is None:
            self.strategy.started(begun[0]["key"])
        return None

    def _compared(self, number: int, begun: Sequence[Row], row: Row) -> Divergence | None:
        """Return the first thing in which what is asked now differs from a step; None where nothing does."""
        stored = self._stored(begun, row)
        first: Divergence | None = None
        for action in self._actions(either=stored["kind"] != "start"):
            asked = self._said(action)
            other = next((name for name in stored if stored[name] != asked.get(name)), None)
            if other is None:
                return None
            first = first or Divergence(number, other, stored[other], asked.get(other))
        self.asked -= 1
        return first

    def _actions(self, *, either: bool) -> Iterator[Action]:
        """Yield what is asked for if a design may be started, and, with ``either``, what is if none may."""
        pending = sorted(one for one, trial in self.history.asked.items() if trial.replicate == 0)
        taken = self.history.taken
        self.ear.follow(self.history.events)
        for may_start in (True, False) if either else (True,):
            self.strategy.taken = taken
            yield self.scheduler.ask(self.history.searched, pending, may_start)
            self.strategy.skipped.clear()

    def _stored(self, begun: Sequence[Row], row: Row) -> dict[str, Any]:
        """Return what a step stands for, in the order in which it is compared."""
        asked = {
            "trial": row["trial"],
            "fidelity": fidelity_row(fidelity_of(row["fidelity"])),
            "from": row["from"],
        }
        if not begun:
            return {"kind": "continue", **asked}
        fork = begun[0]["parent"] is not None
        descent = {"parent": begun[0]["parent"], "replaces": begun[0].get("replaces")} if fork else {}
        return {"kind": "fork" if fork else "start", **descent, "config": dict(begun[0]["config"]), **asked}

    def _said(self, action: Action) -> dict[str, Any]:
        """Return what ``action`` stands for, as ``_stored`` does."""
        history = self.history
        if isinstance(action, Continue):
            start = begins_at(history.trials[action.trial], history.trials, action.fidelity)
            return {"kind": "continue", "trial": action.trial, **_to(action.fidelity, start)}
        if isinstance(action, Start):
            asked = {"config": dict(action.config), "trial": history.next_number}
            return {"kind": "start", **asked, **_to(action.fidelity, 0)}
        if not isinstance(action, Fork):
            return {"kind": repr(action)}
        parent = history.trials[action.parent].trained
        start = parent.fidelity.epochs if parent is not None else 0
        return {
            "kind": "fork",
            "parent": action.parent,
            "replaces": action.replaces,
            "config": dict(action.config),
            "trial": history.next_number,
            **_to(action.fidelity, start if start < action.fidelity.epochs else 0),
        }


def _to(fidelity: Fidelity, start: int) -> dict[str, Any]:
    return {"fidelity": fidelity_row(fidelity), "from": start}
