"""Places of weights: equal networks have equal ones, whatever their nodes are called."""

import random

import numpy as np
import pytest

from search_spaces.architecture import spaces
from search_spaces.decks import Decks, Uses, end
from search_spaces.graph import Graph, Node
from search_spaces.placement import placed, places
from search_spaces.space import Choice, Float, Int, Space
from search_spaces.spaces.cell import Cell

SHAPE = (1, 12, 12)


def random_graph(rng: random.Random) -> Graph:
    """Return a network of one unit: convolutions, pools and sums of four channels, then a classifier."""
    nodes = [Node.make("image", "input"), Node.make("u_0", "conv", ["image"], filters=4)]
    count = rng.randint(4, 10)
    for i in range(1, count):
        op = rng.choice(("conv", "conv", "conv", "sum", "sum", "average-pool", "skip", "none"))
        sources = rng.choices([node.name for node in nodes[1:]], k=rng.randint(1, 3) if op == "sum" else 1)
        attrs = {
            "conv": {"filters": 4, "kernel": rng.choice((1, 3))},
            "average-pool": {"kernel": 3, "stride": 1, "padding": 1},
        }
        nodes.append(Node.make(f"u_{i}", op, sources, **attrs.get(op, {})))
    read = {source for node in nodes for source in node.inputs}
    ends = [node.name for node in nodes if node.name not in read]
    nodes.append(Node.make(f"u_{count}", "sum", ends))
    nodes += [
        Node.make("pool", "global-pool", [nodes[-1].name]),
        Node.make("out", "linear", ["pool"], units=3),
    ]
    return Graph(tuple(nodes), "out")


def renamed(graph: Graph, rng: random.Random) -> Graph:
    """Return the same network with its inner nodes in another order and under other names of the same unit."""
    inner = [node for node in graph.nodes if node.name.startswith("u_")]
    left, order = list(inner), [graph.nodes[0]]
    while left:
        done = {node.name for node in order}
        order.append(rng.choice([node for node in left if done.issuperset(node.inputs)]))
        left.remove(order[-1])
    numbers = rng.sample(range(50), len(inner))
    names = {node.name: f"u_{number}" for node, number in zip(inner, numbers, strict=True)}
    made = []
    for node in [*order, *graph.nodes[-2:]]:
        inputs = [names.get(source, source) for source in node.inputs]
        if node.op == "sum":
            rng.shuffle(inputs)
        made.append(Node(names.get(node.name, node.name), node.op, tuple(inputs), node.attrs))
    return Graph(tuple(made), "out")


def told(graph: Graph) -> tuple[list[Node], list[str]]:
    network = placed(graph, SHAPE)
    return list(network.graph.nodes), [place.name for place in places(network)]


def test_a_copy_under_other_names_has_the_same_places():
    rng = random.Random(0)
    differ = set()
    for _ in range(300):
        graph = random_graph(rng)
        if not graph.reached:
            continue
        assert told(graph) == told(renamed(graph, rng))
        differ.add(graph.key())
    assert len(differ) > 150


def test_equal_cells_of_nas_bench_201_are_placed_alike():
    family = Cell.nas_bench_201((1, 8, 8), 10)
    met, equal = {}, 0
    for i in range(400):
        graph = family.decode(family.space.sample(np.random.default_rng(i)), (1, 8, 8))
        if not graph.reached:
            with pytest.raises(ValueError, match="no image reaches its output"):
                placed(graph, (1, 8, 8))
            continue
        network = placed(graph, (1, 8, 8))
        assert network.graph.key() == graph.key()
        equal += graph.key() in met
        assert met.setdefault(graph.key(), network.graph) == network.graph
    assert equal > 30


@pytest.mark.parametrize("name", ["chain", "cell", "mobile", "residual", "vit"])
def test_each_weighted_layer_has_one_place_and_its_own_name_before(name):
    family = spaces.get(name)((1, 28, 28), 10)
    for i in range(20):
        graph = family.decode(family.space.sample(np.random.default_rng(i)), (1, 28, 28))
        network = placed(graph, (1, 28, 28))
        found = list(places(network))
        assert len({place.name for place in found}) == len(found)
        modules = {place.module.partition(".")[0] for place in found}
        assert set(network.before) >= modules
        assert len(set(network.before.values())) == len(network.before)


def test_what_reads_another_unit_or_another_arrangement_has_tensors_of_its_own():
    def classifier(*nodes: Node, reads: str) -> str:
        made = (Node.make("image", "input"), *nodes, Node.make("out", "linear", [reads], units=3))
        return list(places(placed(Graph(made, "out"), SHAPE)))[-1].name

    a, b = Node.make("a", "conv", ["image"], filters=4), Node.make("b", "conv", ["image"], filters=4)
    pool = {grid: Node.make("pool", "global-pool", ["a"], grid=grid) for grid in (1, 2)}
    assert classifier(a, pool[1], reads="pool") == "out_linear0.0Linear[a]"
    assert classifier(a, pool[2], reads="pool") == "out_linear0.0Linear[2x2 a]"
    other = Node.make("pool", "global-pool", ["b"])
    assert classifier(b, other, reads="pool") == "out_linear0.0Linear[b]"


def test_depthwise_grouped_and_patch_convolutions_are_apart():
    def first(**attrs: object) -> str:
        nodes = (
            Node.make("image", "input"),
            Node.make("a", "conv", ["image"], filters=8),
            Node.make("b", **attrs),
        )  # type: ignore[arg-type]
        return list(places(placed(Graph(nodes, "b"), SHAPE)))[2].name

    plain = first(op="conv", inputs=["a"], filters=8)
    names = {
        plain,
        first(op="conv", inputs=["a"], filters=8, groups=8),
        first(op="conv", inputs=["a"], filters=8, groups=2),
        first(op="patch", inputs=["a"], filters=8, size=2),
        first(op="patch", inputs=["a"], filters=8, size=3),
    }
    assert len(names) == 5
    assert first(op="conv", inputs=["a"], filters=16, kernel=5) == plain


SPACE = Space(
    width=Choice((8, 16, 32), ordered=True),
    op=Choice({"a": Space(size=Int(1, 4)), "b": Space(rate=Float(0.0, 1.0))}),
    act=Choice(("x", "y", "z")),
)


def test_every_option_comes_up_equally_often():
    decks = Decks(SPACE, np.random.default_rng(0))
    drawn = [SPACE.check(decks.draw()) for _ in range(240)]
    for path, times in (("width", 80), ("op", 120), ("act", 80)):
        values = [config[path] for config in drawn]
        assert all(values.count(value) == times for value in set(values))
    sizes = [config["op.a.size"] for config in drawn if config["op"] == "a"]
    assert [sizes.count(size) for size in (1, 2, 3, 4)] == [30] * 4
    rates = [config["op.b.rate"] for config in drawn if config["op"] == "b"]
    assert [sum(k / 8 <= rate < (k + 1) / 8 for rate in rates) for k in range(8)] == [15] * 8


def test_within_each_round_no_option_is_missing():
    decks = Decks(SPACE, np.random.default_rng(1))
    for _ in range(20):
        assert {decks.draw()["act"] for _ in range(3)} == {"x", "y", "z"}


def test_the_option_that_is_furthest_behind_is_named():
    uses = Uses(Space(net=SPACE), "net")
    config = {"net.width": 8, "net.op": "a", "net.op.a.size": 1, "net.act": "x"}
    assert uses.rarest(config) is None
    for width, act in ((8, "x"), (16, "y"), (8, "z"), (16, "x")):
        uses.add({**config, "net.width": width, "net.act": act})
    # sizes 2 to 4 are one behind each, width 32 and option "b" by more: (4/3) / sqrt(4/3), 2 / sqrt(2)
    assert uses.rarest(config) == ("net.op", "b")
    uses.drop("net.op", "b")
    assert uses.rarest(config) == ("net.width", 32)
    uses.drop("net.width", 32)
    assert uses.rarest({"net.width": 8, "net.act": "x"}) in (("net.act", "y"), ("net.act", "z"))
    assert uses.rarest({"net.width": 8}) is None


def test_ordered_ranges_open_from_their_upper_end():
    closed = Decks(SPACE, np.random.default_rng(0), opened=0.0)
    assert {closed.draw()["width"] for _ in range(20)} == {32}
    half = Decks(SPACE, np.random.default_rng(0), opened=0.5)
    assert {half.draw()["width"] for _ in range(20)} == {16, 32}
    assert {half.draw()["act"] for _ in range(20)} == {"x", "y", "z"}


def test_the_ends_of_a_space_are_its_largest_and_smallest_designs():
    decks = Decks(SPACE, np.random.default_rng(0))
    for largest, width, size in ((True, 32, 4), (False, 8, 1)):
        drawn = [SPACE.check(end(SPACE, decks, largest=largest)) for _ in range(12)]
        assert {config["width"] for config in drawn} == {width}
        assert {config["op.a.size"] for config in drawn if config["op"] == "a"} == {size}
        assert {config["op.b.rate"] for config in drawn if config["op"] == "b"} == {0.5}


def test_a_constrained_space_keeps_its_constraints():
    from search_spaces.linear import Linear

    space = Space(a=Int(1, 8), b=Int(1, 8), constraints=[Linear({"a": 1, "b": 1}, 6)])
    decks = Decks(space, np.random.default_rng(0))
    for _ in range(50):
        space.check(decks.draw())
        space.check(end(space, decks, largest=True))


def test_no_weights_means_no_places():
    nodes = (Node.make("image", "input"), Node.make("pool", "global-pool", ["image"]))
    assert list(places(placed(Graph(nodes, "pool"), SHAPE))) == []


def test_a_concatenation_is_told_by_all_that_it_holds():
    def reader(*joins: tuple[str, tuple[str, ...]], **filters: int) -> str:
        nodes = [Node.make("image", "input")]
        nodes += [Node.make(name, "conv", ["image"], filters=width) for name, width in filters.items()]
        nodes += [Node.make(name, "concat", list(inputs)) for name, inputs in joins]
        nodes.append(Node.make("flat", "flatten", [joins[-1][0] if joins else nodes[-1].name]))
        nodes.append(Node.make("out", "linear", ["flat"], units=3))
        return list(places(placed(Graph(tuple(nodes), "out"), SHAPE)))[-1].name

    names = [
        reader(("p", ("a", "b")), ("q", ("p", "c")), a=8, b=8, c=8),
        reader(("q", ("a", "c")), a=16, c=8),
        reader(("q", ("a", "c")), a=8, c=16),
        reader(("q", ("b", "c")), b=16, c=8),
        reader(c=24),
    ]
    assert len(set(names)) == len(names)
