"""Plays a scheduler without a study: workers that finish in any order, results and failures from a function."""

from dataclasses import replace

import numpy as np

from estimators.estimator import Fidelity
from nas.scheduler import Continue, Fork, Start
from nas.strategy import strategies
from nas.trial import Constraint, Objective, Problem, Step, Trial
from search_spaces.space import Float, Space

LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
LINE = Space(x=Float(0, 1))


def problem(objectives=("loss",), constraints=(), space=LINE, **options):
    return Problem(
        space,
        tuple(Objective(name) for name in objectives),
        tuple(Constraint.parse(text, own=True) for text in constraints),
        **options,
    )


def random_strategy(about=None, seed=0):
    return strategies.get("random")(about or problem(), seed=seed)


def noise(seed, number, epochs, name=0):
    """Return a result in [0, 1] that depends on nothing else, whatever was asked for in between."""
    return float(np.random.default_rng((seed, number, epochs, name)).random())


def finished(trial, metrics=None):
    """Return ``trial`` after the step that was asked of it; without ``metrics`` that failed."""
    error = "exception: told to" if metrics is None else None
    step = replace(trial.asked, metrics=metrics or {}, error=error, checkpoint=None if error else "weights")
    return replace(trial, steps=(*trial.steps, step), asked=None)


def asked(trials, action, index=0):
    """Return the trial that ``action`` stands for, in flight."""
    if isinstance(action, Start):
        number = len(trials)
        trial = Trial(number, action.config, lineage=number, key=action.config.id)
    elif isinstance(action, Fork):
        number, parent = len(trials), trials[action.parent]
        about = {"parent": parent.number, "lineage": parent.lineage, "replaces": action.replaces}
        trial = Trial(number, action.config, key=action.config.id, **about)
    else:
        trial = trials[action.trial]
    return replace(trial, asked=Step(index, trial.number, action.fidelity))


def begun(trials):
    """Return the numbers of the trials that are no forks."""
    return [number for number, trial in trials.items() if not trial.fork]


def play(scheduler, measure, *, starts, workers=1, seed=0, watch=lambda action, trials, flights: None):
    """Run ``scheduler`` to its end; ``measure(trial)`` returns the metrics of what is asked, None for a failure."""
    rng = np.random.default_rng(seed)
    trials, flights = {}, []
    while True:
        while len(flights) < workers:
            action = scheduler.ask(trials, sorted(flights), len(begun(trials)) < starts)
            watch(action, trials, flights)
            if not isinstance(action, Start | Continue | Fork):
                break
            trial = asked(trials, action)
            if isinstance(action, Start):
                scheduler.strategy.started(trial.key)
            trials[trial.number] = trial
            flights.append(trial.number)
        if not flights:
            return trials
        number = flights.pop(int(rng.integers(len(flights))))
        trials[number] = finished(trials[number], measure(trials[number]))
        scheduler.tell(trials[number])
