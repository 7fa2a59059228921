"""Our own curves: designs of ``chain`` and ``mobile`` with their recipes, 15 epochs each on Fashion-MNIST, two seeds.

A line of ``experiments/curves/table.jsonl`` is one training: ``space``, ``number`` of the design, ``seed``, ``config``,
``curve``, a map of ``accuracy``, ``loss`` and ``seconds`` per epoch, and ``error``, null where there was none. The
loss of a task is the validation error, 1 - accuracy; search r reads the trainings of seed r modulo their number.
"""

import json
import math
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

TABLE = ROOT / "experiments/curves/table.jsonl"
SHAPE, CLASSES, IMAGES = (1, 28, 28), 10, 6_000
FULLS = 15

Row = Mapping[str, Any]


def curve_space(name: str) -> Space:
    """Return the joint space of the family ``name`` and the recipes, as the table was recorded in it."""
    return SearchSpace(family(name, SHAPE, CLASSES), recipe_space(SHAPE, CLASSES, IMAGES)).space


def task_of(name: str, space: Space, rows: Sequence[Row], search: int) -> Task:
    """Return the task of ``rows``, all of one family, that search number ``search`` is shown.

    Epochs that a failed training lacks are NaN and cost as much as its mean epoch, or as that of all.
    """
    seeds = sorted({row["seed"] for row in rows})
    chosen = sorted(
        (row for row in rows if row["seed"] == seeds[search % len(seeds)]), key=lambda row: int(row["number"])
    )
    epochs = max(len(row["curve"]) for row in chosen)
    configs = tuple(space.check(row["config"]) for row in chosen)
    losses = 1.0 - np.array([_column(row, "accuracy", epochs) for row in chosen])
    losses = np.where(np.logical_or.accumulate(np.isnan(losses), axis=1), np.nan, losses)
    seconds = np.array([_column(row, "seconds", epochs) for row in chosen])
    return Task(name, space, configs, losses, _filled(seconds), FULLS)


def _column(row: Row, metric: str, epochs: int) -> list[float]:
    known = [float(point[metric]) for point in row["curve"]]
    return known + [math.nan] * (epochs - len(known))


def _filled(seconds: np.ndarray) -> np.ndarray:
    known = np.isfinite(seconds)
    means = np.where(known, seconds, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    means = np.where(known.any(1), means, seconds[known].mean())
    return np.where(known, seconds, means[:, None])


@cache
def rows_of(path: Path, name: str) -> tuple[Row, ...]:
    """Return the lines of the table at ``path`` that are of the family ``name``."""
    lines = path.read_text().splitlines() if path.exists() else []
    return tuple(row for row in map(json.loads, lines) if row["space"] == name)


@cache
def read(name: str, search: int = 0) -> Task:
    """Return the task of the family ``name``, such as ``chain``, for search number ``search``."""
    return task_of(name, curve_space(name), rows_of(TABLE, name), search)
