"""Our own curves: designs of ``chain`` and ``mobile`` with their recipes, 15 epochs each on Fashion-MNIST, two seeds.

A line of ``experiments/curves/table-SPACE.jsonl`` is one training: ``space``, ``number`` of the design, ``seed``,
``config``, ``curve``, a map of ``accuracy``, ``loss`` and ``seconds`` per epoch, and ``error``, null where there was
none. The loss of a task is the validation error, 1 - accuracy; search r reads the trainings of seed r modulo 2.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.fidelity.task import Task
from experiments.record import ROOT
from search_spaces.architecture import SearchSpace, family
from search_spaces.recipe import recipe_space
from search_spaces.space import Space

FOLDER = ROOT / "experiments/curves"
SHAPES, CLASSES, IMAGES = {"chain": (1, 28, 28), "mobile": (1, 14, 14)}, 10, 6_000
FULLS = 15
IDLE = 0.01  # share of an epoch that an epoch after an early stop costs: it is looked up, not trained

Row = Mapping[str, Any]


@cache
def designs(name: str) -> SearchSpace:
    """Return the family ``name`` joined with the recipes, as the table was recorded in it."""
    return SearchSpace(family(name, SHAPES[name], CLASSES), recipe_space(SHAPES[name], CLASSES, IMAGES))


def curve_space(name: str) -> Space:
    """Return the space of ``designs``."""
    return designs(name).space


def task_of(name: str, space: Space, rows: Sequence[Row], search: int) -> Task:
    """Return the task of ``rows``, all of one family, that search number ``search`` is shown.

    A training that stopped early keeps its last loss, for next to nothing. One that failed has none from there on, and
    would have cost its mean epoch, or that of all. A seed that fewer designs were trained with than with another one is
    still being recorded, and nobody is shown it.
    """
    counts = Counter(row["seed"] for row in rows)
    seeds = sorted(seed for seed, count in counts.items() if count == max(counts.values()))
    chosen = sorted(
        (row for row in rows if row["seed"] == seeds[search % len(seeds)]), key=lambda row: int(row["number"])
    )
    epochs = max(len(row["curve"]) for row in chosen)
    configs = tuple(space.check(row["config"]) for row in chosen)
    losses = np.array([_errors(row, epochs) for row in chosen])
    typical = float(np.mean([point["seconds"] for row in chosen for point in row["curve"]]))
    seconds = np.array([_seconds(row, epochs, typical) for row in chosen])
    return Task(name, space, configs, losses, seconds, FULLS)


def _errors(row: Row, epochs: int) -> list[float]:
    known = [1.0 - float(point["accuracy"]) for point in row["curve"]]
    rest = math.nan if row["error"] else known[-1]
    return known + [rest] * (epochs - len(known))


def _seconds(row: Row, epochs: int, typical: float) -> list[float]:
    known = [float(point["seconds"]) for point in row["curve"]]
    mean = sum(known) / len(known) if known else typical
    return known + [mean if row["error"] else IDLE * mean] * (epochs - len(known))


def table(name: str) -> Path:
    """Return where the curves of the family ``name`` are kept."""
    return FOLDER / f"table-{name}.jsonl"


@cache
def rows_of(path: Path) -> tuple[Row, ...]:
    """Return the lines of the table at ``path``; none where there is none yet. A last line that was torn is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return tuple(json.loads(line) for line in lines if line.endswith("\n"))


def digest(name: str) -> str:
    """Return a hash of what was read of the table of the family ``name``: it grows while it is recorded."""
    return hashlib.sha256(json.dumps(rows_of(table(name))).encode()).hexdigest()[:12]


@cache
def read(name: str, search: int = 0) -> Task:
    """Return the task of the family ``name``, such as ``chain``, for search number ``search``."""
    return task_of(name, curve_space(name), rows_of(table(name)), search)
