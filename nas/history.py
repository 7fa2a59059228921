"""The rows of a store and the trials they tell of: each turns into the other, and nothing else knows their form.

Rows
    study    what is searched and how: space, objectives, constraints, strategy, scheduler, ladder, seed; again
             whenever the space has grown
    queue    a configuration, whole or in part, that was enqueued, and its place in the queue
    start    a trial begins: configuration, lineage, how many results were known when it was asked for, and how many
             of the queue were taken by then; what was in flight follows from the order of the rows
    step     an evaluation was asked for        result   it has ended        event   anything else worth keeping
Every row has ``t``, the active seconds of the study when it was written. A store that was damaged and salvaged lacks
some: then numbers of trials and steps have gaps, which are not filled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from estimators.estimator import Fidelity, Result
from nas.storage import Row
from nas.trial import Metrics, Problem, Step, Trial
from search_spaces.space import Configuration, Value

RETRIED = "retried"  # an event "retried STEP" has the trial, how often its worker died, and the last error


def fidelity_row(fidelity: Fidelity) -> list[float]:
    """Return ``fidelity`` as plain JSON."""
    return [fidelity.epochs, fidelity.data, fidelity.side]


def fidelity_of(row: Sequence[float]) -> Fidelity:
    """Read what ``fidelity_row`` wrote."""
    return _fidelity(int(row[0]), float(row[1]), float(row[2]))


@lru_cache(maxsize=64)  # a study has few, and each is in thousands of rows
def _fidelity(epochs: int, data: float, side: float) -> Fidelity:
    return Fidelity(epochs, data, side)


def start_row(trial: Trial, taken: int = 0) -> dict[str, Any]:
    """Return the row that says a trial begins, when ``taken`` of the queue were."""
    row = {
        "kind": "start",
        "trial": trial.number,
        "config": dict(trial.config),
        "replicate": trial.replicate,
        "parent": trial.parent,
        "lineage": trial.lineage,
        "key": trial.key,
        "known": trial.known,
        "free": dict(trial.free),
    }
    if trial.server:
        row["server"] = trial.server
    if trial.replaces is not None:
        row["replaces"] = trial.replaces
    return {**row, "taken": taken} if taken else row


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
    row = {
        "kind": "result",
        "step": step.index,
        "trial": step.trial,
        "from": step.start,  # 0, if the checkpoint to begin from was gone
        "epochs": step.fidelity.epochs,  # fewer than asked for, if the time of a final training was up
        "metrics": dict(step.metrics),
        "curve": [dict(point) for point in step.curve],
        "seconds": step.seconds,
        "checkpoint": step.checkpoint,
        "error": step.error,
    }
    if step.folds:
        row["folds"] = [fold if isinstance(fold, str) else dict(fold) for fold in step.folds]
    return row


def queue_row(config: Mapping[str, Value], place: int) -> dict[str, Any]:
    """Return the row that says ``config`` was enqueued at ``place``, from 0."""
    return {"kind": "queue", "config": config, "place": place}


def finished(step: Step, result: Result, told: int) -> Step:
    """Return ``step`` with what its evaluation yielded, when so many results had been ``told`` before."""
    return replace(
        step,
        metrics=dict(result.metrics),
        curve=tuple(result.curve),
        seconds=result.seconds,
        checkpoint=result.checkpoint,
        error=result.error,
        folds=tuple(result.folds),
        told=told,
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


def reached(trial: Trial, step: Step, measured: Mapping[str, float] | None) -> dict[str, float]:
    """Return the metrics of ``step`` of ``trial``; a latency ``measured`` alone, by number, replaces the predicted."""
    alone = (measured or {}).get(str(trial.number))
    return {**trial.free, **({} if alone is None else {"latency": alone}), **step.metrics}


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
    """All trials by number, built row by row. ``results`` counts finished steps, ``steps`` those asked for.

    ``searched`` are the trials that the scheduler knows of (repeats are not), ``asked`` those in flight. ``starts``
    counts the designs that were begun: neither repeats nor forks.
    """

    trials: dict[int, Trial] = field(default_factory=dict)
    searched: dict[int, Trial] = field(default_factory=dict)
    asked: dict[int, Trial] = field(default_factory=dict)
    starts: int = 0
    study: Mapping[str, Any] | None = None
    grown: bool = False  # whether its space was another one once
    events: dict[str, Any] = field(default_factory=dict)  # the newest value of each name
    queue: list[Mapping[str, Value]] = field(default_factory=list)
    taken: int = 0  # of the queue
    steps: int = 0
    results: int = 0
    seconds: float = 0.0

    @property
    def next_number(self) -> int:
        """The number of the next trial: that of one that is lost is not given again."""
        return next(reversed(self.trials), -1) + 1

    @property
    def lost(self) -> int:
        """How many trials a damaged store has lost before its last one."""
        return self.next_number - len(self.trials)

    def put(self, trial: Trial) -> None:
        """Keep ``trial`` in place of the older version of it."""
        self.starts += trial.parent is None and trial.number not in self.trials
        self.trials[trial.number] = trial
        if trial.replicate == 0:
            self.searched[trial.number] = trial
        if trial.asked is not None:
            self.asked[trial.number] = trial
        else:
            self.asked.pop(trial.number, None)

    def read(self, rows: Iterable[Row]) -> list[Trial]:
        """Take in ``rows``; return each trial as it was after each result, in the order of the results."""
        told: list[Trial] = []
        asked: dict[int, Row] = {}  # rows of steps without a result, by trial
        for row in rows:
            kind = row["kind"]
            self.seconds = max(self.seconds, row.get("t", 0.0))
            if kind == "start":
                self.put(trial_of(row))
                self.taken = row.get("taken", self.taken)
            elif kind == "step":
                asked[row["trial"]] = row
                self.steps = row["step"] + 1
            elif kind == "result":
                trial = self.trials[row["trial"]]
                done = _done(asked.pop(trial.number), row, self.results + len(told))
                told.append(_with(trial, done))
                self.put(told[-1])
            elif kind == "study":
                self.grown |= self.study is not None and self.study["space"] != row["space"]
                self.study = row
            elif kind == "queue":
                # in the place of one that is lost, the strategy proposes all of it
                self.queue += [{}] * (row.get("place", len(self.queue)) - len(self.queue))
                self.queue.append(row["config"])
            elif kind == "event":
                self.events[row["name"]] = row["value"]
        self.results += len(told)
        for number, row in asked.items():
            self.put(replace(self.trials[number], asked=_step(row)))
        return told


def _step(row: Row) -> Step:
    return Step(row["step"], row["trial"], fidelity_of(row["fidelity"]), row["from"])


def _done(asked: Row, result: Row, told: int) -> Step:
    assert asked["step"] == result["step"]
    epochs, data, side = asked["fidelity"]
    return Step(
        index=result["step"],
        trial=result["trial"],
        fidelity=fidelity_of((result.get("epochs", epochs), data, side)),
        start=result.get("from", asked["from"]),
        metrics=_numbers(result["metrics"]),
        curve=tuple(_numbers(point) for point in result["curve"]),
        seconds=_number(result["seconds"]),
        checkpoint=result["checkpoint"],
        error=result["error"],
        folds=tuple(one if isinstance(one, str) else _numbers(one) for one in result.get("folds", ())),
        told=told,
    )


def _with(trial: Trial, step: Step) -> Trial:
    """Return ``trial`` with one more step; ``dataclasses.replace`` takes three times as long."""
    return Trial(
        trial.number,
        trial.config,
        trial.replicate,
        trial.parent,
        trial.lineage,
        trial.key,
        trial.known,
        trial.free,
        (*trial.steps, step),
        None,
        trial.server,
        trial.replaces,
    )


def trial_of(row: Row) -> Trial:
    return Trial(
        number=row["trial"],
        config=Configuration(row["config"]),
        replicate=row["replicate"],
        parent=row["parent"],
        lineage=row["lineage"],
        key=row["key"],
        known=row["known"],
        free=_numbers(row["free"]),
        server=row.get("server", ""),
        replaces=row.get("replaces"),
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Read metrics; the store writes infinities by their names."""
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> float:
    """Read a number; earlier versions wrote numpy's infinities as ``np.float64(inf)``."""
    if isinstance(value, str):
        value = value.removeprefix("np.float64(").removesuffix(")")
    return float(value)
