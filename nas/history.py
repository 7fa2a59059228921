"""The rows of a store and the trials they tell of: each turns into the other, and nothing else knows their form.

Rows
    study    what is searched and how: space, objectives, constraints, strategy, scheduler, ladder, seed
    start    a trial begins: configuration, lineage, what was known and pending when it was asked for
    step     an evaluation was asked for        result   it has ended        event   anything else worth keeping
Every row has ``t``, the active seconds of the study when it was written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from estimators.estimator import Fidelity, Result
from nas.storage import Row
from nas.trial import Metrics, Problem, Step, Trial
from search_spaces.space import Configuration


def fidelity_row(fidelity: Fidelity) -> list[float]:
    """Return ``fidelity`` as plain JSON."""
    return [fidelity.epochs, fidelity.data, fidelity.side]


def fidelity_of(row: Sequence[float]) -> Fidelity:
    """Read what ``fidelity_row`` wrote."""
    return Fidelity(int(row[0]), float(row[1]), float(row[2]))


def start_row(trial: Trial) -> dict[str, Any]:
    """Return the row that says a trial begins."""
    return {
        "kind": "start",
        "trial": trial.number,
        "config": dict(trial.config),
        "replicate": trial.replicate,
        "parent": trial.parent,
        "lineage": trial.lineage,
        "key": trial.key,
        "known": trial.known,
        "pending": list(trial.pending),
        "free": dict(trial.free),
    }


def step_row(step: Step) -> dict[str, Any]:
    """Return the row that says an evaluation was asked for."""
    return {
        "kind": "step",
        "step": step.index,
        "trial": step.trial,
        "from": step.start,
        "fidelity": fidelity_row(step.fidelity),
    }


def result_row(step: Step) -> dict[str, Any]:
    """Return the row that says how an evaluation ended."""
    return {
        "kind": "result",
        "step": step.index,
        "trial": step.trial,
        "epochs": step.fidelity.epochs,  # fewer than asked for, if the time of a final training was up
        "metrics": dict(step.metrics),
        "curve": [dict(point) for point in step.curve],
        "seconds": step.seconds,
        "checkpoint": step.checkpoint,
        "error": step.error,
    }


def finished(step: Step, result: Result) -> Step:
    """Return ``step`` with what its evaluation yielded."""
    return replace(
        step,
        metrics=dict(result.metrics),
        curve=tuple(result.curve),
        seconds=result.seconds,
        checkpoint=result.checkpoint,
        error=result.error,
    )


def best_fidelity(trials: Iterable[Trial]) -> Fidelity | None:
    """Return the dearest fidelity that at least two designs reached (one, if no two reached the same)."""
    reached: dict[float, tuple[Fidelity, int]] = {}
    for trial in trials:
        for step in trial.steps:
            if step.error is None:
                count = reached.get(step.fidelity.cost, (step.fidelity, 0))[1]
                reached[step.fidelity.cost] = (step.fidelity, count + 1)
    shared = [fidelity for fidelity, count in reached.values() if count > 1]
    alone = [fidelity for fidelity, _ in reached.values()]
    return max(shared or alone, key=lambda fidelity: fidelity.cost, default=None)


def standing(trials: Iterable[Trial], problem: Problem) -> list[tuple[Trial, Metrics]]:
    """Return the feasible trials with their metrics at ``best_fidelity``, best first."""
    trials = list(trials)
    fidelity = best_fidelity(trials)
    entries = [
        (trial, {**trial.free, **step.metrics})
        for trial in trials
        for step in trial.steps
        if step.error is None and fidelity is not None and step.fidelity.cost == fidelity.cost
    ]
    entries = [entry for entry in entries if not problem.violation(entry[1])]
    ranks = problem.ranks([metrics for _, metrics in entries])
    return [entry for _, entry in sorted(zip(ranks, entries, strict=True), key=lambda pair: pair[0])]


def pareto(trials: Iterable[Trial], problem: Problem) -> list[Trial]:
    """Return the feasible trials at ``best_fidelity`` that no other one beats in all objectives."""
    import numpy as np

    from nas.hpo.pareto import nondominated

    order = standing(trials, problem)
    if not order:
        return []
    kept = nondominated(np.array([problem.losses(metrics) for _, metrics in order]))
    return [trial for (trial, _), keep in zip(order, kept, strict=True) if keep]


@dataclass
class History:
    """All trials by number, built row by row. ``results`` counts finished steps, ``steps`` those asked for."""

    trials: dict[int, Trial] = field(default_factory=dict)
    study: Mapping[str, Any] | None = None
    events: dict[str, Any] = field(default_factory=dict)  # the newest value of each name
    steps: int = 0
    results: int = 0
    seconds: float = 0.0

    def read(self, rows: Iterable[Row]) -> list[Trial]:
        """Take in ``rows``; return each trial as it was after each result, in the order of the results."""
        told = []
        for row in rows:
            trial = self._take(row)
            if trial is not None:
                told.append(trial)
        return told

    def _take(self, row: Row) -> Trial | None:
        self.seconds = max(self.seconds, float(row.get("t", 0.0)))
        if row["kind"] == "study":
            self.study = row
        elif row["kind"] == "event":
            self.events[row["name"]] = row["value"]
        elif row["kind"] == "start":
            self.trials[row["trial"]] = _trial(row)
        elif row["kind"] == "step":
            step = Step(row["step"], row["trial"], fidelity_of(row["fidelity"]), row["from"])
            self.trials[step.trial] = replace(self.trials[step.trial], asked=step)
            self.steps = step.index + 1
        elif row["kind"] == "result":
            return self._finish(row)
        return None

    def _finish(self, row: Row) -> Trial:
        trial = self.trials[row["trial"]]
        assert trial.asked is not None and trial.asked.index == row["step"]
        asked = trial.asked.fidelity
        step = replace(
            trial.asked,
            fidelity=replace(asked, epochs=row.get("epochs", asked.epochs)),
            metrics=_numbers(row["metrics"]),
            curve=tuple(_numbers(point) for point in row["curve"]),
            seconds=row["seconds"],
            checkpoint=row["checkpoint"],
            error=row["error"],
        )
        trial = replace(trial, steps=(*trial.steps, step), asked=None)
        self.trials[trial.number] = trial
        self.results += 1
        return trial


def _trial(row: Row) -> Trial:
    return Trial(
        number=row["trial"],
        config=Configuration(row["config"]),
        replicate=row["replicate"],
        parent=row["parent"],
        lineage=row["lineage"],
        key=row["key"],
        known=row["known"],
        pending=tuple(row["pending"]),
        free=_numbers(row["free"]),
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Read metrics; the store writes infinities by their names."""
    return {name: float(value) for name, value in values.items()}
