"""Canonical keys against brute-force isomorphism, and networks as plain data."""

import itertools
import json
import time
from collections import Counter

import numpy as np
import pytest

from search_spaces.graph import SUM, Graph, Node


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
        if node.op == SUM:
            inputs = [str(one) for one in rng.permutation(inputs)]
        built.append(Node(names[node.name], node.op, tuple(inputs), node.attrs))
    built.append(Node.make("dead", "conv", [built[0].name], filters=9))
    return Graph(tuple(built), names[graph.output])


def meaning(graph: Graph) -> tuple[dict[str, tuple[str, tuple[Counter, ...]]], Counter] | None:
    """Return (label, what each input adds up) of every node that counts, and of the output; None if that is zero."""
    reached: set[str] = set()
    value: dict[str, Counter] = {}
    for node in graph.nodes:
        passes = node.op != "none" and (not node.inputs or not reached.isdisjoint(node.inputs))
        if passes:
            reached.add(node.name)
        if node.op in ("skip", "sum"):
            added = [source for source in node.inputs if source in reached or not passes]
            value[node.name] = sum((value[source] for source in added), Counter())
        else:
            value[node.name] = Counter([node.name])
    if graph.output not in reached:
        return None
    kept: dict[str, tuple[str, tuple[Counter, ...]]] = {}
    left = list(value[graph.output])
    while left:
        name = left.pop()
        if name not in kept:
            node = graph[name]
            kept[name] = (repr((node.op, node.attrs)), tuple(value[source] for source in node.inputs))
            left += [other for read in kept[name][1] for other in read]
    return kept, value[graph.output]


def brute_form(graph: Graph) -> object:
    """Return the least description of ``graph`` over all numberings of its nodes that go by label."""
    found = meaning(graph)
    if found is None:
        return None
    nodes, output = found
    labels = sorted({label for label, _ in nodes.values()})
    groups = [[name for name, (own, _) in nodes.items() if own == label] for label in labels]
    reads = [tuple(tuple(read.items()) for read in nodes[name][1]) for group in groups for name in group]
    names = [name for group in groups for name in group]
    best = None
    for orders in itertools.product(*(itertools.permutations(group) for group in groups)):
        place = {name: at for at, name in enumerate(itertools.chain(*orders))}
        rows: list = [None] * len(names)
        for name, inputs in zip(names, reads, strict=True):
            rows[place[name]] = [sorted([(place[one], often) for one, often in read]) for read in inputs]
        form = (rows, sorted((place[name], often) for name, often in output.items()))
        if best is None or form < best:
            best = form
    return repr(([(label, len(group)) for label, group in zip(labels, groups, strict=True)], best))


def test_keys_agree_with_brute_force():
    rng = np.random.default_rng(0)
    graphs = [random_graph(rng, int(rng.integers(3, 8))) for _ in range(2000)]
    graphs += [renamed(graph, rng) for graph in graphs]
    pairs = {(graph.key(), brute_form(graph)) for graph in graphs}
    assert len({key for key, _ in pairs}) == len({form for _, form in pairs}) == len(pairs)
    assert 200 < len(pairs) < 2000  # the test sees both answers


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


def test_zeros_count_only_where_they_give_a_shape():
    image = Node.make("x", "input")
    conv, zero = Node.make("c", "conv", ["x"], filters=4), Node.make("z", "none", ["x"])
    after = Node.make("d", "conv", ["z"], filters=4)
    summed = Graph((image, conv, zero, after, Node.make("s", "sum", ["d", "c"])), "s")
    assert summed.key() == Graph((image, conv), "c").key()
    assert [node.name for node in summed.simplified().nodes] == ["x", "c"]
    joined = Graph((image, conv, zero, after, Node.make("s", "concat", ["d", "c"])), "s")
    assert len(joined.simplified().nodes) == 5
    blocked = Graph((image, zero, after), "d")
    assert blocked.key() == Graph((image, zero), "z").key()
    assert len(blocked.simplified().nodes) == 3  # it can still be built


def test_sums_of_sums_are_sums():
    image = Node.make("x", "input")
    a, b = Node.make("a", "conv", ["x"]), Node.make("b", "conv", ["a"])
    inner = Node.make("s", "sum", ["x", "a"])
    nested = Graph((image, a, b, inner, Node.make("t", "sum", ["s", "b"])), "t")
    flat = Graph((image, a, b, Node.make("t", "sum", ["b", "a", "x"])), "t")
    twice = Graph((image, a, b, Node.make("t", "sum", ["b", "a", "x", "x"])), "t")
    assert nested.key() == flat.key() != twice.key()
    doubled = [image, *(Node.make(f"s{i}", "sum", [f"s{i - 1}" if i else "x"] * 2) for i in range(200))]
    assert Graph(tuple(doubled), "s199").key() != Graph(tuple(doubled), "s198").key()


def test_types_count():
    image = Node.make("x", "input")
    keys = {Graph((image, Node.make("c", "conv", ["x"], norm=v)), "c").key() for v in (1, 1.0, True, "1")}
    assert len(keys) == 4


def branches(count: int, kind: str) -> Graph:
    """Return ``count`` copies of a branch side by side: single nodes, two in a row, a residual, or a ring of them."""
    nodes, ends = [Node.make("x", "input")], []
    for i in range(count):
        nodes.append(Node.make(f"a{i}", "conv", ["x"]))
        if kind != "one":
            nodes.append(Node.make(f"b{i}", "pool", [f"a{i}"]))
        if kind == "residual":
            nodes.append(Node.make(f"c{i}", "concat", [f"a{i}", f"b{i}"]))
        ends.append(nodes[-1].name)
    if kind == "ring":
        nodes += [Node.make(f"s{i}", "concat", [ends[i], ends[(i + 1) % count]]) for i in range(count)]
        ends = [f"s{i}" for i in range(count)]
    return Graph((*nodes, Node.make("s", "sum", ends)), "s")


@pytest.mark.parametrize("kind", ["one", "two", "residual", "ring"])
def test_symmetry_does_not_explode(kind):
    rng = np.random.default_rng(3)
    began = time.perf_counter()
    graph = branches(24, kind)
    assert len({graph.key(), *(renamed(graph, rng).key() for _ in range(3))}) == 1
    assert graph.key() != branches(25, kind).key()
    assert time.perf_counter() - began < 20  # 24! orders would never end


def test_copies_of_a_branch_are_told_from_what_only_looks_like_them():
    def prisms(turns: list[int]) -> Graph:
        nodes = [Node.make("x", "input")]
        nodes += [Node.make(f"a{i}", "conv", ["x"]) for i in range(len(turns))]
        nodes += [Node.make(f"b{i}", "pool", [f"a{i}"]) for i in range(len(turns))]
        nodes += [Node.make(f"c{i}", "concat", [f"b{i}", f"a{turns[i]}"]) for i in range(len(turns))]
        return Graph((*nodes, Node.make("s", "sum", [f"c{i}" for i in range(len(turns))])), "s")

    rng = np.random.default_rng(4)
    cycles = {(): [0, 1, 2, 3, 4], (2,): [1, 0, 2, 3, 4], (2, 2): [1, 0, 3, 2, 4], (3,): [1, 2, 0, 3, 4]}
    cycles |= {(2, 3): [1, 2, 0, 4, 3], (4,): [1, 2, 3, 0, 4], (5,): [1, 2, 3, 4, 0]}
    keys = {prisms(turns).key() for turns in cycles.values()}
    assert len(keys) == len(cycles)
    for turns in cycles.values():
        assert all(renamed(prisms(turns), rng).key() == prisms(turns).key() for _ in range(5))


def test_keys_are_the_same_on_every_machine():
    assert branches(3, "residual").key() == "a7d860b0de8a9317"


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
