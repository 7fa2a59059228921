"""Accuracy against latency: NAS-Bench-201 on CIFAR-100 and the latency of its cells measured on three devices.

Latencies are those of HELP (Lee et al. 2021) in ``nb201_latency_help.npz``: ``code`` (15625, 6), ``latency``
(15625, devices) in milliseconds. A point is (validation error of the replicate in percent, latency). Points are
compared by the volume they dominate below (median error, greatest latency), as a share of what the whole table
dominates. What a search saw is kept as a line ``{"replicate": r, "points": [[error, latency], ...]}``.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from experiments.tables.cells import DATA, cells, grid_rows
from experiments.tables.rivals.kept import KEPT
from nas.hpo.pareto import hypervolume
from search_spaces.space import Configuration

DEVICES = ("titan_rtx_1", "gold_6226", "pixel2")  # a graphics card, a server, a phone
ACCURACY = "nb201-cifar100"
LENGTH = 100
REPLICATES = 20


@cache
def latencies(device: str) -> np.ndarray:
    """Return the ``(15625,)`` latencies on ``device`` in the order of the grid."""
    with np.load(DATA / "nb201_latency_help.npz") as data:
        column = list(data["devices"]).index(device)
        return data["latency"][np.argsort(grid_rows(data["code"].astype(int))), column].astype(float)


def point(config: Configuration, device: str, replicate: int) -> tuple[float, float]:
    """Return what ``replicate`` observes of ``config``: error and latency."""
    table = cells(ACCURACY)
    return table.evaluate(config, replicate), float(latencies(device)[table.row(config)])


def volume(points: Sequence[tuple[float, float]], device: str, replicate: int) -> float:
    """Return the share of the table's hypervolume that ``points`` dominate, in [0, 1]."""
    everything = np.stack([cells(ACCURACY).observed(replicate), latencies(device)], axis=1)
    low, high = everything.min(0), np.array([np.median(everything[:, 0]), everything[:, 1].max()])
    one = np.ones(2)
    whole = hypervolume((everything - low) / (high - low), one)
    return hypervolume((np.array(points) - low) / (high - low), one) / whole


def path_of(rival: str, device: str) -> Path:
    """Return where the searches of ``rival`` for ``device`` are kept."""
    return KEPT / f"front-{rival}-{device}.jsonl"


def read(path: Path) -> dict[int, list[tuple[float, float]]]:
    """Return the points of each replicate in the file at ``path``."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["replicate"]: row["points"] for row in rows}


def keep(path: Path, replicate: int, points: Sequence[tuple[float, float]]) -> None:
    """Add a line to the file at ``path``."""
    short = [[float(f"{value:.6g}") for value in one] for one in points]
    with path.open("a") as file:
        file.write(json.dumps({"replicate": replicate, "points": short}, separators=(",", ":")) + "\n")
