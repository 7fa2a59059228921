"""Descriptions: what they count, that names and dead nodes do not matter, and that long networks do not explode."""

import math

import numpy as np
import pytest
from test_graph import random_graph, renamed

from search_spaces.architecture import SearchSpace
from search_spaces.describe import MOST, describe
from search_spaces.graph import Graph, Node
from search_spaces.recipe import recipe_space
from search_spaces.spaces.chain import Chain


def residual(blocks: int, filters: int = 8) -> Graph:
    nodes = [Node.make("x", "input")]
    for i in range(blocks):
        source = nodes[-1].name
        nodes.append(Node.make(f"c{i}", "conv", [source], filters=filters, kernel=3))
        nodes.append(Node.make(f"s{i}", "sum", [source, f"c{i}"]))
    return Graph(tuple(nodes), nodes[-1].name)


def test_counts_of_a_residual_network():
    found = describe(residual(20), 100, 1000)
    assert found.numbers == (math.log1p(100), math.log1p(1000), 20, pytest.approx(20 * math.log(2)))
    assert found.counts["op:conv(filters=8,kernel=3)"] == 20
    assert {k: v for k, v in found.counts.items() if k.startswith("path:")} == {
        "path:": 20,
        "path:conv(kernel=3)": 20,
    }
    assert sum(v for k, v in found.counts.items() if k.startswith("wl2:")) == 41


def test_widths_show_in_ops_only():
    narrow, wide = describe(residual(2), 1, 1).counts, describe(residual(2, 16), 1, 1).counts
    assert {k: v for k, v in narrow.items() if k[:2] != "op"} == {
        k: v for k, v in wide.items() if k[:2] != "op"
    }
    assert narrow != wide


def test_a_row_of_ops_is_one_path_and_rates_are_no_labels():
    nodes = [Node.make("x", "input")]
    for i, op in enumerate(("conv", "pool", "dropout")):
        nodes.append(Node.make(f"n{i}", op, [nodes[-1].name], **({"rate": 0.25} if op == "dropout" else {})))
    counts = describe(Graph(tuple(nodes), "n2"), 1, 1).counts
    assert counts["path:conv>pool>dropout"] == counts["op:dropout"] == 1


def test_names_order_and_dead_nodes_do_not_count():
    rng = np.random.default_rng(5)
    for _ in range(200):
        graph = random_graph(rng, int(rng.integers(3, 12)))
        assert describe(graph, 5, 5) == describe(renamed(graph, rng), 5, 5)


def test_paths_are_bounded():
    nodes = [Node.make("x", "input")]
    for i in range(1, 40):  # every node reads all earlier ones: 2 ** 38 paths
        nodes.append(Node.make(f"n{i}", f"op{i % 5}", [n.name for n in nodes]))
    found = describe(Graph(tuple(nodes), "n39"), 1, 1)
    assert found.log_paths == pytest.approx(38 * math.log(2))
    assert len([k for k in found.counts if k.startswith("path:")]) <= MOST


def test_vectors_keep_inner_products():
    rng = np.random.default_rng(0)
    found = [describe(random_graph(rng, 12), 10, 10) for _ in range(40)]
    rows = np.array([one.vector(1 << 14) for one in found])
    assert rows.shape == (40, 4 + (1 << 14))
    exact = [[sum(v * b.counts.get(k, 0) for k, v in a.counts.items()) for b in found] for a in found]
    np.testing.assert_allclose(rows[:, 4:] @ rows[:, 4:].T, exact, atol=6)


def test_search_spaces_describe_their_configurations():
    joint = SearchSpace(Chain((3, 32, 32), 10), recipe_space((3, 32, 32), 10, 1000))
    config = joint.space.default()
    found = joint.describe(config)
    assert found.log_parameters == math.log1p(joint.measure(config)["params"])
    assert found.depth == len(joint.decode(config).graph.simplified().nodes) - 1 - sum(
        node.op == "sum" for node in joint.decode(config).graph.simplified().nodes
    )
