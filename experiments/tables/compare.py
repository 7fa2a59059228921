"""One of our strategies beside the rivals: ``python -m experiments.tables.compare gp --tables dev --seeds 0-9``.

Prints, per table: the mean regret of the best observed after 25 and 50 evaluations and at the end, the mean test
regret at the end, seconds of processor time per search, and the ratio to each rival at the three marks over the same
seeds; and geometric means over tables with 90 % intervals. Below 1 is better than the rival.
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import yaml

from experiments.tables import scores
from experiments.tables.ours import CODE, Ours, search
from experiments.tables.rivals import kept
from experiments.tables.rivals.__main__ import seeds_of
from experiments.tables.suite import DEVELOPMENT, SYNTHETIC, UNTOUCHED, names_of, table

RIVALS = ("gpsampler", "tpe", "evolution", "random")
TESTED = ("gpsampler", "tpe")
MARKS = ("25", "50", "end")

Searches = Mapping[int, kept.Search]


def run(
    ours: Ours, names: Sequence[str], seeds: Sequence[int], jobs: int
) -> dict[str, dict[int, kept.Search]]:
    """Return our searches by table and replicate; ``jobs`` processes run what is not kept."""
    pairs = [(name, seed) for seed in seeds for name in names]
    if jobs == 1:
        found = [search(ours, *pair) for pair in pairs]
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(partial(search, ours), *zip(*pairs, strict=True)))
    searches: dict[str, dict[int, kept.Search]] = {name: {} for name in names}
    for (name, seed), one in zip(pairs, found, strict=True):
        searches[name][seed] = one
    return searches


def rival_searches(rival: str, names: Sequence[str]) -> dict[str, Searches]:
    """Return the kept searches of ``rival`` by table and replicate."""
    return {name: kept.read(kept.path_of(rival, name)) for name in names}


def log_ratios(ours: Mapping[str, Searches], theirs: Mapping[str, Searches]) -> dict[str, np.ndarray]:
    """Return the ``(replicates, marks)`` log ratios by table, of the tables that both have searched."""
    found = {name: scores.logs(table(name), ours[name], theirs[name]) for name in ours}
    return {name: values for name, values in found.items() if len(values)}


def groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the groups that are averaged, those that have members among ``names``."""
    kinds = {
        "development": DEVELOPMENT,
        "untouched": UNTOUCHED,
        "cells": [name for name in names if name.startswith("nb201")],
        "fcnet": [name for name in names if name.startswith("fcnet")],
        "mlp": [name for name in names if name.startswith("mlp")],
        "synthetic": SYNTHETIC,
    }
    found = {kind: [name for name in names if name in members] for kind, members in kinds.items()}
    return {kind: members for kind, members in found.items() if members}


def print_regrets(ours: Mapping[str, Searches], ratios: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Print a line per table."""
    head = "  ".join(f"{rival:>14}" for rival in ratios)
    print(f"{'':22}{'25':>6} {'50':>6} {'end':>6}{'test':>7}{'s':>7}   {head}   (ratios at 25/50/end)")
    for name, searches in ours.items():
        one = table(name)
        means = scores.regrets(one, list(searches.values())).mean(0)
        test = scores.test_regrets(one, list(searches.values())).mean(0)[-1]
        seconds = np.mean([search.seconds for search in searches.values()])
        line = f"{name:22}{means[0]:6.3f} {means[1]:6.3f} {means[2]:6.3f}{test:7.3f}{seconds:7.2f}   "
        print(line + "  ".join(_ratios(ratios[rival].get(name)) for rival in ratios))


def _ratios(values: np.ndarray | None) -> str:
    if values is None:
        return f"{'-':>14}"
    return f"{'/'.join(f'{ratio:.2f}' for ratio in np.exp(values.mean(0))):>14}"


def print_means(names: Sequence[str], ratios: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Print the geometric means of each group against each rival."""
    for kind, members in groups(names).items():
        for rival, by_table in ratios.items():
            there = [by_table[name] for name in members if name in by_table]
            if there:
                seeds = sum(map(len, there)) / len(there)
                means = "  ".join(
                    f"{mark}: {scores.ratio([values[:, at] for values in there])}"
                    for at, mark in enumerate(MARKS)
                )
                print(f"{kind:12} to {rival:10} {means}   ({len(there)} tables x {seeds:.0f} seeds)")


def print_medians(ours: Mapping[str, Searches]) -> None:
    """Print the median distance to the minimum of each function at the end, beside GPSampler's on the same seeds."""
    for name in (name for name in ours if name in SYNTHETIC):
        theirs = rival_searches("gpsampler", [name])[name]
        common = sorted(ours[name].keys() & theirs.keys())
        if common:
            mine, other = (
                median_distance(name, [found[seed] for seed in common]) for found in (ours[name], theirs)
            )
            print(
                f"{name}: median distance to the minimum {mine:.4g}, gpsampler {other:.4g} ({len(common)} seeds)"
            )


def median_distance(name: str, searches: Sequence[kept.Search]) -> float:
    """Return the median over ``searches`` of the distance of the best loss to the minimum of the function ``name``."""
    least = table(name).bounds(0)[0]
    return float(np.median([min(search.losses) - least for search in searches]))


def print_losses(ratios: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Print where a paired difference is significant after Holm's correction over the tables, either way."""
    for rival in TESTED:
        for at, mark in enumerate(MARKS):
            columns = {name: values[:, at] for name, values in ratios[rival].items() if len(values) > 1}
            lost = scores.losses(columns)
            won = scores.losses({name: -values for name, values in columns.items()})
            said = [f"{name} (p {p:.3f})" for name, p in lost.items()]
            print(
                f"{rival} at {mark}: worse on {', '.join(said) or 'none'}; better on {len(won)} of {len(columns)}"
            )


def settings_of(texts: Sequence[str]) -> tuple[tuple[str, object], ...]:
    """Read ``name=value`` with a value as in YAML."""
    pairs = [text.partition("=") for text in texts]
    return tuple((name, yaml.safe_load(value)) for name, _, value in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("strategy", help="a registered strategy")
    parser.add_argument("--tables", default="dev", help="names and groups (dev, untouched, synthetic)")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the strategy")
    options = parser.parse_args()
    ours = Ours(options.strategy, settings_of(options.set))
    names = names_of(options.tables)
    searches = run(ours, names, seeds_of(options.seeds), options.jobs)
    ratios = {rival: log_ratios(searches, rival_searches(rival, names)) for rival in RIVALS}
    print(f"{ours}, code {CODE}, seeds {options.seeds}")
    print_regrets(searches, ratios)
    print_means(names, ratios)
    print_medians(searches)
    print_losses(ratios)


if __name__ == "__main__":
    main()
