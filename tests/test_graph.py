"""Canonical keys against brute-force isomorphism, and networks as plain data."""

import itertools
import json

import numpy as np
import pytest

from search_spaces.graph import COMMUTATIVE, Graph, Node


def random_graph(rng: np.random.Generator, size: int) -> Graph:
    nodes = [Node.make("n0", "input")]
    for i in range(1, size):
        op = str(rng.choice(["conv", "sum", "concat", "skip", "none"], p=[0.45, 0.25, 0.1, 0.1, 0.1]))
        count = int(rng.integers(1, 4)) if op in ("sum", "concat") else 1
        inputs = [f"n{rng.integers(i)}" for _ in range(count)]
        attrs = {"filters": int(rng.integers(1, 3))} if op == "conv" else {}
        nodes.append(Node.make(f"n{i}", op, inputs, **attrs))
    return Graph(tuple(nodes), f"n{size - 1}")


def renamed(graph: Graph, rng: np.random.Generator) -> Graph:
    """Return the same network with other names, in another topological order, sums shuffled, a dead node added."""
    left, done, nodes = list(graph.nodes[1:]), {graph.nodes[0].name}, [graph.nodes[0]]
    while left:
        ready = [node for node in left if set(node.inputs) <= done]
        node = ready[rng.integers(len(ready))]
        left.remove(node)
        done.add(node.name)
        nodes.append(node)
    names = dict(zip([n.name for n in nodes], [f"m{i}" for i in rng.permutation(len(nodes))], strict=True))
    built = []
    for node in nodes:
        inputs = [names[source] for source in node.inputs]
        if node.op in COMMUTATIVE:
            inputs = [str(one) for one in rng.permutation(inputs)]
        built.append(Node(names[node.name], node.op, tuple(inputs), node.attrs))
    built.append(Node.make("dead", "conv", [built[0].name], filters=9))
    return Graph(tuple(built), names[graph.output])


def isomorphic(a: Graph, b: Graph) -> bool:
    """Try every bijection between the nodes of two simplified graphs."""
    a, b = a.simplified(), b.simplified()
    if sorted((n.op, n.attrs) for n in a.nodes) != sorted((n.op, n.attrs) for n in b.nodes):
        return False
    kinds = sorted({(n.op, n.attrs) for n in a.nodes})
    groups = [
        ([n for n in a.nodes if (n.op, n.attrs) == k], [n for n in b.nodes if (n.op, n.attrs) == k])
        for k in kinds
    ]
    for orders in itertools.product(*(itertools.permutations(range(len(own))) for own, _ in groups)):
        match = {
            own[i].name: other[j].name
            for (own, other), order in zip(groups, orders, strict=True)
            for i, j in enumerate(order)
        }
        if match[a.output] == b.output and all(_same(n, b[match[n.name]], match) for n in a.nodes):
            return True
    return False


def _same(node: Node, other: Node, match: dict[str, str]) -> bool:
    inputs, theirs = [match[source] for source in node.inputs], list(other.inputs)
    return sorted(inputs) == sorted(theirs) if node.op in COMMUTATIVE else inputs == theirs


def test_keys_agree_with_brute_force():
    rng = np.random.default_rng(0)
    graphs = [random_graph(rng, int(rng.integers(3, 7))) for _ in range(160)]
    equal = 0
    for a, b in itertools.combinations(graphs, 2):
        same = isomorphic(a, b)
        assert (a.key() == b.key()) == same, (a, b)
        equal += same
    assert equal > 100  # the test sees both answers


def test_names_order_and_dead_nodes_do_not_count():
    rng = np.random.default_rng(1)
    for _ in range(200):
        graph = random_graph(rng, int(rng.integers(3, 14)))
        assert graph.key() == renamed(graph, rng).key()


def test_one_node_used_twice_is_not_two_nodes():
    image = Node.make("x", "input")
    conv = [Node.make(f"c{i}", "conv", ["x"], filters=4) for i in range(2)]
    shared = Graph((image, conv[0], Node.make("s", "concat", ["c0", "c0"])), "s")
    apart = Graph((image, *conv, Node.make("s", "concat", ["c0", "c1"])), "s")
    assert shared.key() != apart.key()


def test_skips_zeros_and_sums_of_one_are_simplified():
    image, conv = Node.make("x", "input"), Node.make("c", "conv", ["x"], filters=4)
    plain = Graph((image, conv), "c")
    zero, skip = Node.make("z", "none", ["c"]), Node.make("k", "skip", ["c"])
    wrapped = Graph((image, conv, zero, skip, Node.make("s", "sum", ["z", "k"])), "s")
    assert wrapped.key() == plain.key() and len(wrapped.simplified().nodes) == 2


def test_json_round_trip():
    graph = random_graph(np.random.default_rng(2), 9)
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


@pytest.mark.parametrize(
    ("nodes", "output", "message"),
    [
        ([Node.make("x", "input"), Node.make("c", "conv", ["d"])], "c", "does not stand before it"),
        ([Node.make("x", "input"), Node.make("x", "conv", ["x"])], "x", "each stands once"),
        ([Node.make("c", "conv")], "c", "begins with a node of op 'input'"),
        ([Node.make("x", "input")], "y", "output 'y' is no node"),
    ],
)
def test_messages(nodes, output, message):
    with pytest.raises(ValueError, match=message):
        Graph(tuple(nodes), output)
