"""Rivals with two objectives, run once: ``python -m experiments.tables.rivals.fronts``.

Optuna's NSGA-II with 20 members (its default of 50 would see two generations), its TPESampler and random search.
"""

from collections.abc import Callable

import optuna

from experiments.tables import fronts
from experiments.tables.cells import cell_space
from experiments.tables.rivals.samplers import suggest

RIVALS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
}


def search(rival: str, device: str, replicate: int) -> list[tuple[float, float]]:
    """Return the points of one search."""
    study = optuna.create_study(directions=["minimize"] * 2, sampler=RIVALS[rival](replicate))
    points = []
    for _ in range(fronts.LENGTH):
        trial = study.ask()
        points.append(fronts.point(suggest(trial, cell_space()), device, replicate))
        study.tell(trial, points[-1])
    return points


def main() -> None:
    for rival in RIVALS:
        for device in fronts.DEVICES:
            path = fronts.path_of(rival, device)
            for replicate in range(fronts.REPLICATES):
                if replicate not in fronts.read(path):
                    fronts.keep(path, replicate, search(rival, device, replicate))
            print(rival, device, flush=True)


if __name__ == "__main__":
    main()
