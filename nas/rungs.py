"""What trials have reached on a ladder of fidelities, and who of them goes on first, and which rungs may decide it.

Notation
    rung    a fidelity of the ladder; a trial stands on it once a step of that cost or more succeeded
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from estimators.estimator import Fidelity
from nas.fidelity_trust import earned, told_at
from nas.hpo.promotion import promotion_order
from nas.trial import Metrics, Problem, Step, Trial

RATED = 20  # trials by whose seconds a cost is told
KEPT = 1 / 3  # of the seconds of a search, at most, for what is to be ended


def step_at(trial: Trial, rung: Fidelity) -> Step | None:
    """Return the first step of ``trial`` that succeeded at the cost of ``rung`` or more; None while there is none."""
    return next((s for s in trial.steps if s.error is None and s.fidelity.cost >= rung.cost), None)


def metrics_at(trial: Trial, rung: Fidelity) -> Metrics:
    """Return free metrics and those of ``step_at``, which must be there."""
    step = step_at(trial, rung)
    assert step is not None
    return {**trial.free, **step.metrics}


def merit(problem: Problem, trial: Trial, rung: Fidelity) -> tuple[float, float, float]:
    """Return what one objective orders trials by, less is better: violation, loss, and for ties the validation loss."""
    metrics = metrics_at(trial, rung)
    return problem.violation(metrics), problem.losses(metrics)[0], metrics.get("loss", 0.0)


def time_to_start(cost: float, owed: Sequence[float], trials: Iterable[Trial], left: float) -> bool:
    """Return whether ``left`` seconds hold a start of ``cost`` beside trainings of costs ``owed``, to be ended.

    Of these count the first ones that fit into ``KEPT`` of the whole search, at the rate of the newest trials.
    """
    done = [(t.seconds, t.last.fidelity.cost) for t in trials if t.last is not None and not t.failed]
    if not owed or not done:
        return True
    whole = left + sum(seconds for seconds, _ in done)
    rate = sum(seconds for seconds, _ in done[-RATED:]) / sum(cost for _, cost in done[-RATED:])
    ends = [rate * end for end in itertools.accumulate(owed)]
    kept = max((end for end in ends if end <= KEPT * whole), default=None)
    return kept is None or kept + rate * cost <= left


def by_highest(trials: Iterable[Trial], ladder: Sequence[Fidelity]) -> dict[int, list[Trial]]:
    """Return the trials by the highest rung on which each stands, as its place on ``ladder``; -1 for none."""
    found: dict[int, list[Trial]] = {}
    for trial in trials:
        places = (at for at in range(len(ladder) - 1, -1, -1) if step_at(trial, ladder[at]) is not None)
        found.setdefault(next(places, -1), []).append(trial)
    return found


def promise(problem: Problem, trials: Iterable[Trial], ladder: Sequence[Fidelity]) -> dict[int, float]:
    """Return by number the share of trials on a trial's highest rung that are better there; 1 where it stands on none.

    Those that went on from the rung count as well.
    """
    by_rung = by_highest(trials, ladder)
    found = {trial.number: 1.0 for trial in by_rung.pop(-1, [])}
    above: list[Trial] = []
    for rung in sorted(by_rung, reverse=True):
        above += by_rung[rung]
        order = [trial.number for trial in best_first(problem, above, ladder[rung])]
        place = {number: at / len(order) for at, number in enumerate(order)}
        found |= {trial.number: place[trial.number] for trial in by_rung[rung]}
    return found


def best_first(problem: Problem, trials: Sequence[Trial], rung: Fidelity) -> list[Trial]:
    """Return ``trials``, all of which stand on ``rung``, in the order in which they deserve to go on."""
    if not trials:
        return []
    if len(problem.objectives) == 1:
        return sorted(trials, key=lambda trial: merit(problem, trial, rung))
    metrics = [metrics_at(trial, rung) for trial in trials]
    losses = np.array([problem.losses(one) for one in metrics])
    order = promotion_order(losses, np.array([problem.violation(one) for one in metrics]))
    return [trials[at] for at in order]


def known_before(trials: Mapping[int, Trial], first: Trial) -> list[Trial]:
    """Return ``trials`` as they were known when ``first`` was asked for, from what they say themselves.

    Later steps have a higher index, and what was in flight then was told later.
    """
    begun = _begun(first)[0].index
    known = []
    for trial in trials.values():
        steps = [step for step in trial.steps if step.index < begun and step.told < first.known]
        known.append(replace(trial, steps=tuple(steps), asked=None))
    return known


def _begun(trial: Trial) -> list[Step]:
    return [*trial.steps, *([trial.asked] if trial.asked is not None else [])]


def believed(
    trials: Collection[Trial], problem: Problem, ladder: Sequence[Fidelity], *, again: bool = False
) -> tuple[Fidelity, ...]:
    """Return ``ladder`` without the rungs that have lost their say (``nas.fidelity_trust``), a function of ``trials``.

    With ``again``, those rungs stay that no trial tells of in passing, or nothing would ever measure them again.
    """
    say = earned(trials, problem, ladder)
    return tuple(
        rung
        for rung, kept in zip(ladder, say, strict=True)
        if kept or (again and not any(_passed(trial, rung) for trial in trials))
    )


def _passed(trial: Trial, rung: Fidelity) -> bool:
    """Return whether the curve of ``trial`` tells of ``rung``, on which it did not stop."""
    return bool(told_at(trial, rung)) and all(step.fidelity != rung for step in trial.steps)
