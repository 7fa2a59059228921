"""Optuna 5.0.0: TPESampler(multivariate=True, group=True) with HyperbandPruner or MedianPruner.

The sampler is wrapped: what TPE proposes is replaced by the nearest free row of the task before the trial has its
parameters, so that TPE learns where the losses it is told were measured. A divergence is reported as NaN and pruned,
which TPE ranks behind everything; told as a failure it would learn nothing from it. Pruned trials do not go on later:
Optuna has no such thing.
"""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from experiments.fidelity.rivals.kept import Worker
from experiments.fidelity.task import Pool, Task
from experiments.tables.rivals.samplers import suggest
from search_spaces.space import Choice, Configuration, Float, Int, Value

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def hyperband(epochs: int) -> optuna.pruners.BasePruner:
    """Return the pruner of Li et al. 2018 as Optuna has it."""
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)


def median(epochs: int) -> optuna.pruners.BasePruner:
    """Return the median pruner with its defaults."""
    return optuna.pruners.MedianPruner()


def distribution(parameter: Choice | Float | Int) -> BaseDistribution:
    """Return the range of ``parameter``; an ordered choice is an integer."""
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    if parameter.ordered:
        return IntDistribution(0, len(parameter.options) - 1)
    return CategoricalDistribution(parameter.options)


class RowSampler(optuna.samplers.BaseSampler):
    """Proposes the free row of a task that is nearest to what ``inner`` proposes."""

    def __init__(self, inner: optuna.samplers.BaseSampler, task: Task) -> None:
        self.inner, self.pool = inner, Pool(task)
        self.slots = {slot.path: slot for slot in task.space.slots}
        self.distributions = {path: distribution(slot.parameter) for path, slot in self.slots.items()}
        self._searched: dict[str, BaseDistribution] = {}

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        self._searched = self.inner.infer_relative_search_space(study, trial)
        return self.distributions

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        drawn = self.inner.sample_relative(study, trial, self._searched)
        values: dict[str, Value] = {}
        for path, slot in self.slots.items():
            if slot.active(values):
                if path not in drawn:
                    drawn[path] = self.inner.sample_independent(study, trial, path, self.distributions[path])
                values[path] = _decoded(slot.parameter, drawn[path])
        return self.params(self.pool.nearest(values))

    def params(self, row: int) -> dict[str, Any]:
        """Return the parameters of ``row`` as Optuna has them."""
        config = self.pool.task.configs[row]
        return {path: _encoded(self.slots[path].parameter, config[path]) for path in config}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        raise AssertionError(f"{param_name} is in every row")


def _decoded(parameter: Choice | Float | Int, drawn: Any) -> Value:
    if isinstance(parameter, Choice) and parameter.ordered:
        return parameter.options[drawn]
    return drawn  # type: ignore[no-any-return]


def _encoded(parameter: Choice | Float | Int, value: Value) -> Any:
    return parameter.index(value) if isinstance(parameter, Choice) and parameter.ordered else value


def search(worker: Worker, seed: int, pruner: Callable[[int], optuna.pruners.BasePruner]) -> None:
    """Search until the budget is spent, an epoch at a time."""
    task = worker.task
    tpe = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    sampler = RowSampler(tpe, task)
    study = optuna.create_study(sampler=sampler, pruner=pruner(task.epochs), study_name=f"{task.name}-{seed}")
    while not worker.over and sampler.pool.free.any():
        trial = study.ask()
        row = sampler.pool.take(Configuration(suggest(trial, task.space)))
        assert trial.params == sampler.params(row)
        told = train(worker, trial, row)
        study.tell(trial, told, state=None if told is not None else optuna.trial.TrialState.PRUNED)


def train(worker: Worker, trial: optuna.Trial, row: int) -> float | None:
    """Train ``row`` epoch by epoch until it is pruned or done; return its final loss, None where it was pruned."""
    for epoch in range(1, worker.task.epochs + 1):
        loss = worker.train(row, epoch)
        trial.report(loss, epoch)
        if worker.failed(row) or worker.over:
            return None
        if trial.should_prune() and epoch < worker.task.epochs:
            return None
    return loss
