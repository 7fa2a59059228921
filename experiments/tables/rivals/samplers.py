"""Optuna 5.0.0 with its defaults: TPESampler (multivariate by default for one objective) and GPSampler."""

import warnings

import optuna

from experiments.tables.rivals.baselines import Objective
from search_spaces.space import Choice, Configuration, Float, Int, Space, Value

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
SAMPLERS = {"tpe": optuna.samplers.TPESampler, "gpsampler": optuna.samplers.GPSampler}


def suggest(trial: optuna.Trial, space: Space) -> Configuration:
    """Ask for every active parameter: ordered choices by their index, others as they are."""
    values: dict[str, Value] = {}
    for slot in space.slots:
        if slot.active(values):
            values[slot.path] = _suggest(trial, slot.path, slot.parameter)
    return Configuration(values)


def _suggest(trial: optuna.Trial, path: str, parameter: Choice | Float | Int) -> Value:
    if isinstance(parameter, Float):
        return trial.suggest_float(path, parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, Int):
        return trial.suggest_int(path, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    if parameter.ordered:
        return parameter.options[trial.suggest_int(path, 0, len(parameter.options) - 1)]
    return trial.suggest_categorical(path, parameter.options)


def search(sampler: str, space: Space, objective: Objective, count: int, seed: int) -> None:
    """Search with ``sampler`` through ask and tell, in memory."""
    study = optuna.create_study(sampler=SAMPLERS[sampler](seed=seed))
    for _ in range(count):
        trial = study.ask()
        study.tell(trial, objective(suggest(trial, space)))
