"""Run rivals that are not kept yet: ``python -m experiments.tables.rivals gpsampler tpe --tables dev --seeds 0-19``.

Five replicates of every table come before the next five, so that part of the results is of use early.
"""

import argparse
import importlib
from collections.abc import Callable
from functools import partial

from experiments.tables.rivals import kept
from experiments.tables.suite import length, names_of, table
from search_spaces.space import Space

HOME = "experiments.tables.rivals"
RIVALS = {
    "random": ("baselines", "random_search", {}),
    "evolution": ("baselines", "regularised_evolution", {}),
    "tpe": ("samplers", "search", {"sampler": "tpe"}),
    "gpsampler": ("samplers", "search", {"sampler": "gpsampler"}),
    "nevergrad": ("others", "nevergrad", {}),
    "deap": ("others", "deap", {}),
    "smac": ("smac", "search", {}),
}
BLOCK = 5


def search_of(rival: str) -> Callable[..., None]:
    """Return the search function of ``rival``; only its own packages are imported."""
    module, name, settings = RIVALS[rival]
    return partial(getattr(importlib.import_module(f"{HOME}.{module}"), name), **settings)


def seeds_of(text: str) -> range:
    """Read ``0-19`` or ``7``."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def one(rival: str, name: str, replicate: int) -> None:
    """Run and keep one search, unless it is kept."""
    path = kept.path_of(rival, name)
    if replicate in kept.read(path):
        return
    space: Space = table(name).space
    search = search_of(rival)

    def whole(watch: kept.Watch) -> None:
        search(space=space, objective=watch, count=length(name), seed=replicate)

    found = kept.run(whole, table(name), replicate)
    kept.keep(path, found)
    least = table(name).regret(min(found.losses), replicate)
    print(f"{rival} {name} {replicate}: regret {least:.4f} in {found.seconds:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rivals", nargs="+", choices=RIVALS)
    parser.add_argument("--tables", default="dev,synthetic,untouched", help="names and groups, in this order")
    parser.add_argument("--seeds", default="0-19")
    options = parser.parse_args()
    seeds = seeds_of(options.seeds)
    for group in options.tables.split(","):
        for block in range(seeds.start, seeds.stop, BLOCK):
            for rival in options.rivals:
                for name in names_of(group):
                    for replicate in range(block, min(block + BLOCK, seeds.stop)):
                        one(rival, name, replicate)


if __name__ == "__main__":
    main()
