"""Run rivals that are not kept yet: ``python -m experiments.fidelity.rivals hyperband median --seeds 0-9``.

Each needs its own packages: see README.md. Five seeds of every task come before the next five.
"""

import argparse
import importlib
import importlib.metadata
import time
from collections.abc import Callable
from functools import partial

from experiments.fidelity.rivals import kept
from experiments.fidelity.suite import TASKSET, names_of, task
from experiments.tables.rivals.__main__ import seeds_of

HOME = "experiments.fidelity.rivals"
BLOCK = 5
RIVALS = {"optuna-hyperband": "optuna", "optuna-median": "optuna", "dehb": "dehb"}  # and their packages


def search_of(rival: str) -> Callable[[kept.Worker, int], None]:
    """Return the search function of ``rival``; only its own packages are imported."""
    module = importlib.import_module(f"{HOME}.{'dehb' if rival == 'dehb' else 'pruned'}")
    if rival == "dehb":
        return module.search  # type: ignore[no-any-return]
    return partial(module.search, pruner=getattr(module, rival.removeprefix("optuna-")))


def one(rival: str, name: str, seed: int) -> None:
    """Run and keep one search, unless it is kept."""
    path = kept.path_of(rival, name)
    if seed in kept.read(path):
        return
    worker, began = kept.Worker(task(name, seed)), time.process_time()
    search_of(rival)(worker, seed)
    package = RIVALS[rival]
    versions = f"{package} {importlib.metadata.version(package)}"
    kept.keep(path, [found := worker.search(seed, time.process_time() - began, versions)])
    print(f"{rival} {name} {seed}: {len(found.rows)} trainings in {found.seconds} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rivals", nargs="+", choices=RIVALS)
    parser.add_argument("--tasks", default=",".join(TASKSET), help="names and groups (dev, untouched)")
    parser.add_argument("--seeds", default="0-9")
    options = parser.parse_args()
    seeds = seeds_of(options.seeds)
    for block in range(seeds.start, seeds.stop, BLOCK):
        for rival in options.rivals:
            for name in names_of(options.tasks):
                for seed in range(block, min(block + BLOCK, seeds.stop)):
                    one(rival, name, seed)


if __name__ == "__main__":
    main()
