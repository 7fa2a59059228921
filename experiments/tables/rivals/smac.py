"""SMAC3 2.4 with its facade for hyperparameters: a random forest, log EI and a Sobol design, all at their defaults."""

from tempfile import TemporaryDirectory

import ConfigSpace as cs
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialValue

from experiments.tables.rivals.baselines import Objective
from search_spaces.space import Choice, Configuration, Parameter, Slot, Space


def search(space: Space, objective: Objective, count: int, seed: int) -> None:
    """Search through ask and tell. A loss is taken for the truth, as by all others: no configuration is repeated."""
    with TemporaryDirectory() as folder:
        scenario = Scenario(
            described(space), deterministic=True, n_trials=count, seed=seed, output_directory=folder
        )
        facade = HyperparameterOptimizationFacade(scenario, _told_by_us, overwrite=True, logging_level=False)
        for _ in range(count):
            info = facade.ask()
            loss = objective(read(space, dict(info.config)))
            facade.tell(info, TrialValue(cost=loss))


def _told_by_us(config: cs.Configuration, seed: int) -> float:
    raise AssertionError("losses are told")


def described(space: Space) -> cs.ConfigurationSpace:
    """Return ``space`` as SMAC3 knows it: choices by their index, ordered ones as ordinals, with their conditions."""
    found = cs.ConfigurationSpace()
    for slot in space.slots:
        found.add(_ranged(slot.path, slot.parameter))
        if slot.conditions:
            found.add(_condition(space, slot, found))
    return found


def _ranged(path: str, parameter: Parameter) -> cs.hyperparameters.Hyperparameter:
    if isinstance(parameter, Choice):
        places = list(range(len(parameter.options)))
        if parameter.ordered:
            return cs.OrdinalHyperparameter(path, places, default_value=places[len(places) // 2])
        return cs.CategoricalHyperparameter(path, places)
    kind = (
        cs.UniformIntegerHyperparameter if isinstance(parameter.low, int) else cs.UniformFloatHyperparameter
    )
    return kind(path, parameter.low, parameter.high, log=parameter.log)


def _condition(space: Space, slot: Slot, found: cs.ConfigurationSpace) -> cs.InCondition:
    path, options = slot.conditions[-1]
    choice = next(other.parameter for other in space.slots if other.path == path)
    assert isinstance(choice, Choice)
    return cs.InCondition(found[slot.path], found[path], [choice.index(option) for option in options])


def read(space: Space, values: dict[str, int | float]) -> Configuration:
    """Return the configuration of what SMAC3 proposes."""
    plain = {}
    for slot in space.slots:
        if slot.path in values:
            value, parameter = values[slot.path], slot.parameter
            if isinstance(parameter, Choice):
                plain[slot.path] = parameter.options[int(value)]
            else:
                plain[slot.path] = int(value) if isinstance(parameter.low, int) else float(value)
    return Configuration(plain)
