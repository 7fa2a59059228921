"""ZDT1: the hypervolume that ``nsga2`` reaches, over that of DEAP's NSGA-II at equal evaluations and population.

    python -m experiments.zdt.run [--quick]

DEAP's fronts are in ``reference.json``, made by ``reference.py`` in an environment of its own.
"""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from estimators.estimator import Fidelity
from experiments.record import Record
from nas.hpo.pareto import hypervolume
from nas.strategy import strategies
from nas.trial import Objective, Problem, Step, Trial
from search_spaces.space import Configuration, Float, Space

MEASURED = ("nas/strategies/nsga2.py", "nas/operators", "nas/hpo/pareto.py")
COMMAND = "python -m experiments.zdt.run"
SPACE = Space(**{f"x{place:02}": Float(0, 1) for place in range(30)})
REFERENCE = np.array([1.1, 1.1])
BEST = 1.1**2 - 1 / 3  # of the whole front, f2 = 1 - sqrt(f1)


def zdt1(config: Configuration) -> dict[str, float]:
    """Return both objectives (Zitzler, Deb and Thiele 2000, definition 4)."""
    first, *others = (float(config[path]) for path in sorted(config))  # type: ignore[arg-type]
    g = 1 + 9 * sum(others) / len(others)
    return {"f1": first, "f2": g * (1 - math.sqrt(first / g))}


def volumes(seed: int, population: int, counts: list[int]) -> list[float]:
    """Return the hypervolume of the population after each of ``counts`` evaluations."""
    problem = Problem(SPACE, (Objective("f1"), Objective("f2")))
    strategy = strategies.get("nsga2")(problem, seed=seed, population=population)  # type: ignore[call-arg]
    strategy.baseline = False  # type: ignore[misc]  # the default lies halfway to the front
    found = []
    for number in range(max(counts)):
        config = strategy.ask(number)
        assert isinstance(config, Configuration)
        step = Step(number, number, Fidelity(), metrics=zdt1(config))
        trial = Trial(number, config, key=config.id)
        strategy.started(trial.key)
        strategy.tell(replace(trial, steps=(step,)))
        if number + 1 in counts:
            parents = strategy.parents  # type: ignore[attr-defined]
            losses = np.array([problem.losses(one.metrics) for one in parents])
            found.append(hypervolume(losses, REFERENCE))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed and the first count: half a minute")
    quick = parser.parse_args().quick
    reference = json.loads((Path(__file__).parent / "reference.json").read_text())
    seeds = sorted(map(int, reference["fronts"]))[: 1 if quick else None]
    counts = [int(count) for count in reference["fronts"]["0"]][: 1 if quick else None]
    record = Record(__file__, *MEASURED)
    for seed in seeds:
        if (name := f"seed {seed}, {max(counts)} evaluations") and record.run(name) is None:
            ours = volumes(seed, reference["population"], counts)
            record.add(name, {"volumes": dict(zip(map(str, counts), ours, strict=True))})
    for count in map(str, counts):
        theirs = mean(hypervolume(np.array(reference["fronts"][str(s)][count]), REFERENCE) for s in seeds)
        ours = mean(record.run(f"seed {s}, {max(counts)} evaluations")["volumes"][count] for s in seeds)
        claim = f"ZDT1, {int(count):,} evaluations: hypervolume over that of DEAP {reference['deap']}"
        ratio = ours / theirs
        holds = ratio >= 0.99
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {ratio:.5f} (ours {ours:.4f}, of {BEST:.4f})")
        command = f"{COMMAND}{' --quick' if quick else ''}"
        record.show(claim, ratio, ">= 0.99", holds, seeds=seeds, command=command)


if __name__ == "__main__":
    main()
