"""ZDT1 by DEAP's NSGA-II: the fronts at some counts of evaluations, as JSON. Runs in an environment of its own.

    python -m venv deap && deap/bin/pip install deap==1.4.4
    deap/bin/python experiments/zdt/reference.py > experiments/zdt/reference.json

The settings are those of DEAP's own example (examples/ga/nsga2.py): 100 members, crossover 0.9, both indices 20,
mutation in 1 of 30 variables.
"""

import importlib.metadata
import json
import random

from deap import algorithms, base, benchmarks, creator, tools

VARIABLES, POPULATION, SEEDS = 30, 100, 5
COUNTS = (5_000, 10_000, 25_000)

creator.create("Losses", base.Fitness, weights=(-1.0, -1.0))
creator.create("Member", list, fitness=creator.Losses)


def front(seed):
    """Return {evaluations: [(f1, f2), ...]} of the population."""
    random.seed(seed)
    toolbox = base.Toolbox()
    toolbox.register("member", tools.initRepeat, creator.Member, random.random, VARIABLES)
    toolbox.register("mate", tools.cxSimulatedBinaryBounded, low=0.0, up=1.0, eta=20.0)
    toolbox.register("mutate", tools.mutPolynomialBounded, low=0.0, up=1.0, eta=20.0, indpb=1 / VARIABLES)
    population = evaluated([toolbox.member() for _ in range(POPULATION)])
    population = tools.selNSGA2(population, POPULATION)
    found = {}
    for count in range(2 * POPULATION, max(COUNTS) + 1, POPULATION):
        parents = [toolbox.clone(one) for one in tools.selTournamentDCD(population, POPULATION)]
        children = evaluated(algorithms.varAnd(parents, toolbox, cxpb=0.9, mutpb=1.0))
        population = tools.selNSGA2(population + children, POPULATION)
        if count in COUNTS:
            found[count] = sorted([round(loss, 6) for loss in one.fitness.values] for one in population)
    return found


def evaluated(members):
    """Evaluate all of ``members``."""
    for one in members:
        one.fitness.values = benchmarks.zdt1(one)
    return members


if __name__ == "__main__":
    fronts = {seed: front(seed) for seed in range(SEEDS)}
    print(
        json.dumps({"deap": importlib.metadata.version("deap"), "population": POPULATION, "fronts": fronts})
    )
