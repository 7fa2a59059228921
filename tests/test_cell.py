"""The cell space: samples build and train a step, NAS-Bench-201 is what its table says, dead cells are known."""

import numpy as np
import pytest
import torch

from search_spaces.architecture import Design
from search_spaces.graph import Graph, Node
from search_spaces.network import Network, shapes_of
from search_spaces.op import op_of
from search_spaces.space import Configuration
from search_spaces.spaces.cell import NAS_BENCH_201, Cell, cell_nodes

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 30, 45), (3, 70, 64))
CIFAR = (3, 32, 32)


def bench(*codes: int) -> Configuration:
    """Return the cell of a row of the benchmark's table."""
    edges = Cell.nas_bench_201(CIFAR, 10).edges
    return Configuration({f"edge{a}_{b}": NAS_BENCH_201[c] for (a, b), c in zip(edges, codes, strict=True)})


def parameters(graph: Graph, shape: tuple[int, int, int] = CIFAR) -> int:
    shapes = shapes_of(graph, shape)
    return sum(op_of(n).parameters(*(shapes[s] for s in n.inputs)) for n in graph.nodes[1:])


def train_a_step(graph: Graph, shape: tuple[int, int, int], seed: int) -> None:
    network = Network(graph, shape, seed=seed)
    assert sum(p.numel() for p in network.parameters()) == parameters(graph, shape)
    torch.nn.functional.cross_entropy(network(torch.randn(2, *shape)), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_build_and_train_a_step(shape):
    family, rng = Cell(shape, 10), np.random.default_rng(sum(shape))
    for config in [family.space.default(), *(family.space.sample(rng) for _ in range(8))]:
        graph = family.decode(config, shape).simplified()
        assert shapes_of(graph, shape)[graph.output] == (10,)
        train_a_step(graph, shape, 0)


def test_any_shape_decodes_as_the_recipe_makes_it():
    family, rng = Cell((3, 224, 224), 7), np.random.default_rng(0)
    for _ in range(30):
        config = family.space.sample(rng)
        for shape in ((3, 224, 224), (1, 112, 112), (3, 64, 85), (1, 31, 33)):
            graph = family.decode(config, shape)
            assert shapes_of(graph, shape)[graph.output] == (7,)


def test_the_default_is_a_residual_network():
    graph = Cell(CIFAR, 10).decode(Cell(CIFAR, 10).space.default(), CIFAR).simplified()
    assert [n.op for n in graph.nodes if n.name.startswith("cell1_")] == [
        "activation",
        "conv",
        "activation",
        "conv",
        "sum",
    ]


@pytest.mark.parametrize(
    ("codes", "millions"),  # the benchmark's own numbers, by Dong and Yang's table of CIFAR-10
    [((0, 0, 0, 0, 0, 0), 0.073306), ((4, 2, 1, 2, 1, 1), 0.129306), ((3, 3, 3, 3, 3, 3), 1.531546)],
)
def test_parameters_are_those_of_the_benchmark(codes, millions):
    family = Cell.nas_bench_201(CIFAR, 10)
    assert family.space.size == 15_625
    assert parameters(family.decode(bench(*codes), CIFAR)) == round(millions * 1e6)


def test_the_skeleton_of_the_benchmark():
    graph = Cell.nas_bench_201(CIFAR, 10).decode(bench(0, 0, 0, 1, 0, 0), CIFAR)
    sizes = {name: shape for name, shape in shapes_of(graph, CIFAR).items() if name.endswith("_node3")}
    assert list(sizes.values()) == [(16, 32, 32)] * 5 + [(32, 16, 16)] * 5 + [(64, 8, 8)] * 5
    train_a_step(graph.simplified(), CIFAR, 0)


def test_a_cell_that_leads_nowhere():
    family = Cell.nas_bench_201(CIFAR, 10)
    dead = [bench(0, 0, 0, 0, 0, 0), bench(3, 3, 3, 0, 0, 0), bench(0, 0, 3, 0, 2, 4)]
    graphs = [family.decode(config, CIFAR) for config in dead]
    assert len({graph.key() for graph in graphs}) == 1
    for graph in graphs:
        assert Network(graph.simplified(), CIFAR)(torch.randn(2, *CIFAR)).shape == (2, 10)
    own = Cell(CIFAR, 10)
    nowhere, skip = (
        Configuration({**own.space.default(), "edge0_3": op, "edge1_3": "none"}) for op in ("none", "skip")
    )
    assert own.decode(nowhere, CIFAR).key() == own.decode(skip, CIFAR).key()
    with pytest.raises(ValueError, match="give 2 or more"):
        Cell(CIFAR, 10, nodes=1)


def test_more_nodes_are_more_edges():
    family = Cell(CIFAR, 10, nodes=6)
    assert len(family.edges) == 15
    design = Design(
        family.space.default(), Configuration({}), CIFAR, 10, family.decode(family.space.default(), CIFAR)
    )
    assert design.parameters == parameters(design.graph.simplified())


def test_whole_networks_agree_with_their_cells():
    family, rng = Cell.nas_bench_201(CIFAR, 10), np.random.default_rng(1)
    for _ in range(60):
        pair = [bench(*rng.integers(0, 3, 6)) for _ in range(2)]
        cells = [(Node.make("x", "input"), *cell_nodes("cell", "x", c, family.edges, 16)) for c in pair]
        alone = len({Graph(nodes, nodes[-1].name).key() for nodes in cells})
        assert alone == len({family.decode(config, CIFAR).key() for config in pair})
