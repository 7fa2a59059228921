"""Whether picks of untrained networks pay as a search's first designs: on NAS-Bench-201, with and without, in pairs.

Each pair of searches has one seed. One of them is given the picks of ``nas.warm_start`` out of ``SAMPLE`` of the scored
cells, drawn by that seed, at its starts 1, 3, 5 and 7; what a search does after that is its own in both. Later picks,
which depend on trust, are left out: cells that were not scored have no vote.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from experiments.tables.ours import Ours, study_of
from experiments.tables.rivals.kept import Search, Watch
from experiments.tables.scores import FLOOR
from experiments.tables.suite import table
from nas.warm_start import FIRST, MEMBERS, due, picks
from search_spaces.space import Configuration

TABLES = ("nb201-cifar10", "nb201-cifar100")
SAMPLE, LENGTH, SEEDS = 150, 50, 20
MARKS = (10, 25, 50)

Scored = Sequence[tuple[Configuration, float, Mapping[str, float]]]


def searched(name: str, seed: int, chosen: Sequence[Configuration]) -> Search:
    """Search the table ``name`` with ``auto``; ``chosen`` are enqueued where a pick is due."""
    watch, waiting = Watch(table(name), seed), list(chosen)
    with threadpool_limits(1), study_of(Ours("auto"), table(name), seed) as study:
        for start in range(LENGTH):
            if waiting and start < FIRST and due(start, earned=False):
                study.enqueue(waiting.pop(0))
            trial = study.ask()
            study.tell(trial, watch(trial.config))
    return watch.search()


def pair(name: str, scored: Scored, seed: int) -> list[list[float]]:
    """Return the regrets at ``MARKS``: without picks, and with them."""
    rows = np.random.default_rng(seed).permutation(len(scored))[:SAMPLE]
    chosen = picks([scored[row] for row in rows], MEMBERS)
    return [regrets(name, searched(name, seed, some)) for some in ((), chosen)]


def regrets(name: str, search: Search) -> list[float]:
    """Return the regrets of the best loss observed at ``MARKS``, at least ``FLOOR``."""
    best = np.minimum.accumulate(search.losses)
    return [max(table(name).regret(best[mark - 1], search.replicate), FLOOR) for mark in MARKS]


def ratios(pairs: Sequence[Sequence[Sequence[float]]]) -> list[dict[str, float]]:
    """Return, by mark, the geometric mean of regret with picks over without, and a 90 % bootstrap interval."""
    logs = np.log([[b / a for a, b in zip(*one, strict=True)] for one in pairs])
    rng, found = np.random.default_rng(0), []
    draws = rng.integers(len(logs), size=(2_000, len(logs)))
    for place, mark in enumerate(MARKS):
        means = logs[draws, place].mean(1)
        low, high = np.exp(np.quantile(means, [0.05, 0.95]))
        found.append({"mark": mark, "ratio": math.exp(logs[:, place].mean()), "low": low, "high": high})
    return found
