"""The 15,625 cells of NAS-Bench-201 (Dong and Yang 2020): their parameters, and how many of them differ."""

import random
from pathlib import Path

import numpy as np

from search_spaces.graph import Graph, Node
from search_spaces.network import shapes_of
from search_spaces.op import op_of
from search_spaces.space import Configuration
from search_spaces.spaces.cell import NAS_BENCH_201, Cell, cell_nodes

SHAPE = (3, 32, 32)
FAMILY = Cell.nas_bench_201(SHAPE, 10)
BENCHMARK_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# rows of the public table whose parameter column is not that of their cell
ROWS = """
327 737 768 770 775 1151 2958 3034 3077 3103 3113 3400 3681 3899 4024 4070 4137 4165 4227 4248 4464 4578
4650 4815 4982 5010 5065 5694 5751 5824 5835 6545 6547 6769 6877 6912 6977 7263 7268 7326 7358 7396 7629
7717 7785 7793 7894 7950 7981 8181 8280 8322 8423 8447 8533 8540 8557 8719 8809 8965 9043 9141 9172 9270
9296 9444 9473 9597 9632 9654 9735 10107 10118 10162 10167 10207 10212 10281 10308 10340 10369 10597 10709
10821 10906 10947 10978 11073 11096 11167 11222 11238 11259 11370 11374 11511 11514 11581 11676 11843 11911
11961 11964 12016 12121 12187 12204 12271 12316 12317 12464 12540 12542 12568 12707 12748 12822 12844 12939
13003 13223 13326 13479 13492 13599 13970 14264 14267 14293 14412 14419 14529 14648 14661 14684 14689 14995
15033 15036 15040 15107 15347 15372 15386 15392 15403 15435 15474 15484 15539
"""
WRONG = frozenset(map(int, ROWS.split()))


def read(path: Path) -> tuple[list[Configuration], np.ndarray]:
    """Return the configuration of every row, and its parameters in the table, (15625,) integers."""
    with np.load(path) as table:
        assert tuple(table["ops"]) == BENCHMARK_OPS
        codes, millions = table["code"], table["params_m_cifar10"]
    names = [f"edge{a}_{b}" for a, b in FAMILY.edges]
    configs = [
        Configuration({name: NAS_BENCH_201[c] for name, c in zip(names, code, strict=True)}) for code in codes
    ]
    return configs, np.rint(millions.astype(np.float64) * 1e6).astype(int)


def parameters(config: Configuration) -> int:
    """Count all edges, live or not, as the benchmark builds them."""
    graph = FAMILY.decode(config, SHAPE)
    shapes = shapes_of(graph, SHAPE)
    return sum(
        op_of(node).parameters(*(shapes[source] for source in node.inputs)) for node in graph.nodes[1:]
    )


def cell(config: Configuration) -> Graph:
    """Return one cell by itself."""
    nodes = (Node.make("image", "input"), *cell_nodes("cell", "image", config, FAMILY.edges, 16))
    return Graph(nodes, nodes[-1].name)


def unfolding(config: Configuration) -> str:
    """Return the benchmark's own text of a cell: each node is the sorted sum of its edges, written out in full."""
    texts = ["0"]
    for node in range(1, FAMILY.nodes):
        edges = []
        for source in range(node):
            operation, text = config[f"edge{source}_{node}"], texts[source]
            if operation == "none" or text == "#":
                edges.append("#")
            else:
                edges.append(text if operation == "skip" else f"({text})@{operation}")
        texts.append("+".join(sorted(edges)))
    return texts[-1]


def disagreements(configs: list[Configuration], pairs: int, seed: int) -> int:
    """Return for how many of ``pairs``, half of them of equal cells, the whole networks are equal and cells are not.

    Or the other way round.
    """
    rng = random.Random(seed)
    classes: dict[str, list[Configuration]] = {}
    for config in configs:
        classes.setdefault(cell(config).key(), []).append(config)
    many = [members for members in classes.values() if len(members) > 1]
    wrong = 0
    for number in range(pairs):
        one, other = rng.sample(rng.choice(many) if number % 2 else configs, 2)
        alone = cell(one).key() == cell(other).key()
        wrong += alone != (FAMILY.decode(one, SHAPE).key() == FAMILY.decode(other, SHAPE).key())
    return wrong
