"""Random small networks, copies of them and near misses: keys against brute force over all numberings."""

import random
import sys

from experiments.record import ROOT
from search_spaces.graph import SUM, Graph, Node

sys.path.insert(0, str(ROOT / "tests"))

OPS = ("conv", "conv", "conv", "sum", "sum", "concat", "skip", "none")


def small(rng: random.Random) -> Graph:
    """Return a random network of four to eight nodes; nodes are shared, read twice, zero and dead at times."""
    nodes = [Node.make("n0", "input")]
    for i in range(1, rng.randint(4, 8)):
        nodes.append(_node(rng, i, [node.name for node in nodes]))
    return Graph(tuple(nodes), nodes[-1].name)


def _node(rng: random.Random, number: int, sources: list[str]) -> Node:
    op = rng.choice(OPS)
    count = rng.randint(1, 3) if op in ("sum", "concat") else 1
    attrs = {"filters": rng.randint(1, 2)} if op == "conv" else {}
    return Node.make(f"n{number}", op, [rng.choice(sources[-4:]) for _ in range(count)], **attrs)


def copy(graph: Graph, rng: random.Random) -> Graph:
    """Return the same network in another order, under other names, with its sums shuffled and a dead node more."""
    left, order = list(graph.nodes[1:]), [graph.nodes[0]]
    while left:
        done = {node.name for node in order}
        order.append(rng.choice([node for node in left if done.issuperset(node.inputs)]))
        left.remove(order[-1])
    numbers = rng.sample(range(len(order)), len(order))
    names = {node.name: f"m{number}" for node, number in zip(order, numbers, strict=True)}
    nodes = []
    for node in order:
        inputs = [names[source] for source in node.inputs]
        if node.op == SUM:
            rng.shuffle(inputs)
        nodes.append(Node(names[node.name], node.op, tuple(inputs), node.attrs))
    nodes.append(Node.make("dead", "conv", [nodes[0].name], filters=1))
    return Graph(tuple(nodes), names[graph.output])


def near(graph: Graph, rng: random.Random) -> Graph:
    """Return ``graph`` with one node drawn anew, or with one input moved."""
    at = rng.randrange(1, len(graph.nodes))
    node, sources = graph.nodes[at], [earlier.name for earlier in graph.nodes[:at]]
    if rng.random() < 0.5:
        other = _node(rng, at, sources)
    else:
        inputs = list(node.inputs)
        inputs[rng.randrange(len(inputs))] = rng.choice(sources)
        other = Node(node.name, node.op, tuple(inputs), node.attrs)
    return Graph((*graph.nodes[:at], other, *graph.nodes[at + 1 :]), graph.output)


def compare(pairs: int, seed: int) -> dict[str, int]:
    """Compare ``pairs`` pairs: of each network with a copy, with a near miss, and with others met lately.

    Returns how many pairs there were, how many of them are equal, and mistakes: keys equal for different networks
    (``joined``), or different for equal ones (``split``). ``kinds`` is the number of different networks, and
    ``mixed`` how many keys or brute-force forms of all that were met belong to more than one of the other kind.
    """
    from test_graph import brute_form

    rng = random.Random(seed)
    found = {"pairs": 0, "equal": 0, "joined": 0, "split": 0}
    forms: dict[str, object] = {}
    keys: dict[object, str] = {}
    mixed = 0
    lately: list[tuple[str, object]] = []
    while found["pairs"] < pairs:
        graph = small(rng)
        family = []
        for one in (graph, copy(graph, rng), near(graph, rng)):
            key, form = one.key(), brute_form(one)
            mixed += forms.setdefault(key, form) != form or keys.setdefault(form, key) != key
            family.append((key, form))
        others = rng.sample(lately, min(len(lately), 2))
        for one, other in [(0, 1), (0, 2), (1, 2), *((0, 3 + i) for i in range(len(others)))]:
            (key, form), (key2, form2) = family[one], (*family, *others)[other]
            found["pairs"] += 1
            found["equal"] += form == form2
            found["joined"] += key == key2 and form != form2
            found["split"] += key != key2 and form == form2
        lately = [*lately[-50:], family[0]]
    return {**found, "kinds": len(keys), "mixed": mixed}
