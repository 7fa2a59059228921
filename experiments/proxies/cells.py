"""Proxies on random cells of NAS-Bench-201 (Dong and Yang 2020), beside parameters and MACs.

The networks are the benchmark's own: 16 filters, three stages of five cells, residual reductions, no dropout.
``nb201_table.npz`` holds ``code`` (15625, 6), ``test_acc`` (15625, 3) in percent and ``test_datasets``.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from estimators.zero_cost import score
from search_spaces.architecture import Design
from search_spaces.space import Configuration
from search_spaces.spaces.cell import NAS_BENCH_201, Cell

SHAPE = (3, 32, 32)
FAMILY = Cell.nas_bench_201(SHAPE, 10)


def drawn(table: Path, count: int, seed: int) -> Iterator[tuple[int, Design, float]]:
    """Yield row, design and CIFAR-10 test accuracy of ``count`` random cells, no two of them one network."""
    with np.load(table) as data:
        codes = data["code"].astype(int)
        accuracy = data["test_acc"][:, list(data["test_datasets"]).index("cifar10")]
    names, met = [f"edge{a}_{b}" for a, b in FAMILY.edges], set[str]()
    for row in np.random.default_rng(seed).permutation(len(codes)):
        config = Configuration({n: NAS_BENCH_201[c] for n, c in zip(names, codes[row], strict=True)})
        design = Design(config, Configuration({}), SHAPE, 10, FAMILY.decode(config, SHAPE))
        if design.key not in met:
            met.add(design.key)
            yield int(row), design, float(accuracy[row])
        if len(met) == count:
            return


def scored(design: Design, accuracy: float, names: list[str], data: Path) -> dict:
    """Return values and milliseconds by proxy, parameters, MACs and the accuracy of one cell."""
    found = score(design, names, data)
    return {
        "accuracy": accuracy,
        "parameters": design.parameters,
        "macs": design.macs,
        "values": {name: one.value for name, one in found.items()},
        "milliseconds": {name: round(1e3 * one.seconds, 1) for name, one in found.items()},
    }


def joined(one: dict | None, other: dict) -> dict:
    """Return what two calls of ``scored`` say of one cell."""
    if one is None:
        return other
    both = {name: {**one[name], **other[name]} for name in ("values", "milliseconds")}
    return {**other, **both}
