"""Nevergrad 1.0 (NGOpt) and a genetic algorithm of DEAP 1.4, both with what their documentation begins with."""

import random
import warnings

import nevergrad as ng
from deap import base, creator, tools

from experiments.tables.rivals.baselines import Objective
from search_spaces.space import Choice, Configuration, Float, Int, Parameter, Space, Value

creator.create("Fitness", base.Fitness, weights=(-1.0,))
creator.create("Individual", list, fitness=creator.Fitness)
MEMBERS = 20


def nevergrad(space: Space, objective: Objective, count: int, seed: int) -> None:
    """NGOpt with ordered choices as transitions; inactive parameters are asked for and left out."""
    parametrization = ng.p.Dict(**{slot.path: _ranged(slot.parameter) for slot in space.slots})
    parametrization.random_state.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = ng.optimizers.NGOpt(parametrization, budget=count)
        for _ in range(count):
            candidate = optimizer.ask()
            values = {path: _plain(space, path, value) for path, value in candidate.value.items()}
            optimizer.tell(candidate, objective(_active(space, values)))


def _ranged(parameter: Parameter) -> ng.p.Parameter:
    if isinstance(parameter, Choice):
        kind = ng.p.TransitionChoice if parameter.ordered else ng.p.Choice
        return kind(range(len(parameter.options)))
    assert isinstance(parameter, Float | Int)
    scalar = (ng.p.Log if parameter.log else ng.p.Scalar)(lower=parameter.low, upper=parameter.high)
    return scalar.set_integer_casting() if isinstance(parameter, Int) else scalar


def _plain(space: Space, path: str, value: int | float) -> Value:
    parameter = next(slot.parameter for slot in space.slots if slot.path == path)
    if isinstance(parameter, Choice):
        return parameter.options[value]
    return int(value) if isinstance(parameter, Int) else min(max(float(value), parameter.low), parameter.high)


def _active(space: Space, values: dict[str, Value]) -> Configuration:
    active: dict[str, Value] = {}
    for slot in space.slots:
        if slot.active(active):
            active[slot.path] = values[slot.path]
    return Configuration(active)


def deap(space: Space, objective: Objective, count: int, seed: int) -> None:
    """A generational algorithm on units in [0, 1]: tournaments of 3, two-point crossover, reset mutation."""
    random.seed(seed)
    toolbox = base.Toolbox()
    toolbox.register("unit", random.random)
    toolbox.register("individual", tools.initRepeat, creator.Individual, toolbox.unit, len(space.slots))
    population = tools.initRepeat(list, toolbox.individual, MEMBERS)
    for generation in range(-(-count // MEMBERS)):
        for individual in population[: count - generation * MEMBERS]:
            individual.fitness.values = (objective(_decoded(space, individual)),)
        parents = [toolbox.clone(one) for one in tools.selTournament(population, MEMBERS, tournsize=3)]
        for one, other in zip(parents[::2], parents[1::2], strict=True):
            if random.random() < 0.5 and len(space.slots) > 2:
                tools.cxTwoPoint(one, other)
        for one in parents:
            place = random.randrange(len(one))
            one[place] = random.random()
        population = parents


def _decoded(space: Space, units: list[float]) -> Configuration:
    pairs = zip(space.slots, units, strict=True)
    return _active(space, {slot.path: slot.parameter.value(unit) for slot, unit in pairs})
