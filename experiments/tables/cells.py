"""NAS-Bench-201 (Dong and Yang 2020): 15,625 cells on three data sets, with two or three validation seeds each.

``nb201_table.npz`` holds ``code`` (15625, 6), the index of the op of each edge in the official order, ``val_acc_*``
(15625, 3) in percent, NaN where a seed is missing, and ``test_acc`` (15625, 3), the mean over seeds by data set.
"""

import os
from functools import cache
from pathlib import Path

import numpy as np

from experiments.record import ROOT
from experiments.tables.table import Lookup
from search_spaces.graph import Graph, Node
from search_spaces.space import Choice, Configuration, Space
from search_spaces.spaces.cell import NAS_BENCH_201, Cell, cell_nodes

DATA = Path(os.environ.get("NAS_DATA", ROOT / "../shared/data"))
BENCHMARK_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = Cell.nas_bench_201((3, 32, 32), 10).edges
COLUMNS = {
    "nb201-cifar10": ("val_acc_cifar10", "cifar10"),
    "nb201-cifar100": ("val_acc_cifar100", "cifar100"),
    "nb201-imagenet16": ("val_acc_imagenet", "ImageNet16-120"),
}


def cell_space() -> Space:
    """Return the six edges as choices; their default carries no knowledge."""
    return Space(**{f"edge{a}_{b}": Choice(NAS_BENCH_201) for a, b in EDGES})


def cell_graph(config: Configuration) -> Graph:
    """Return one cell by itself: a key of it is the key of the whole network."""
    nodes = (Node.make("image", "input"), *cell_nodes("cell", "image", config, EDGES, 16))
    return Graph(nodes, nodes[-1].name)


def grid_rows(codes: np.ndarray) -> np.ndarray:
    """Return the row of the grid of each of ``codes`` (rows, 6)."""
    return np.ravel_multi_index(tuple(codes.T), (len(BENCHMARK_OPS),) * len(EDGES))


def read_cells(path: Path, name: str) -> Lookup:
    """Return the table ``name`` of the file at ``path``: validation and test errors in percent."""
    column, dataset = COLUMNS[name]
    with np.load(path) as data:
        assert tuple(data["ops"]) == BENCHMARK_OPS
        rows = np.argsort(grid_rows(data["code"].astype(int)))
        losses = 100.0 - data[column][rows].astype(float)
        tests = 100.0 - data["test_acc"][rows, list(data["test_datasets"]).index(dataset)].astype(float)
    return Lookup(name, cell_space(), losses, tests, graph=cell_graph, baseline=False)


@cache
def cells(name: str) -> Lookup:
    """Return the table ``name`` of the file in the folder of data, which ``NAS_DATA`` names."""
    return read_cells(DATA / "nb201_table.npz", name)
