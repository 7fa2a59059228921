"""Where the weights of a network stand: names that follow from its canonical graph, so that equal networks agree.

A supernet keeps one tensor for each place and hands every candidate its share. What stands at one place in two networks
must do the same work there, and equal networks must get equal weights, however their spaces wrote them down. So a graph
is put into canonical order, and its nodes are named anew: after their *unit* (the part of a name before the first
underscore: a cell, a stage), their op, and how many ops with weights come before them in the unit. A space names its
units by where they stand in the network; what varies within one may be written in any order.

Notation
    place    name of the tensors of one layer in the supernet
    mark     how features are arranged, where a leading slice of more of them would be others, and of which unit they
             are: what reads the features of one unit shares no weights with what reads those of another. A sum is of
             the unit of its last input
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from search_spaces.block import Block, expanded, unfolded, walk
from search_spaces.canonical import canonical_order
from search_spaces.graph import SUM, Graph, Node, rows
from search_spaces.op import Layer, Op, Shape, layers_of

MIXING = ("Conv2d", "Linear")  # layers whose outputs are made of all inputs: arrangements end there


@dataclass(frozen=True)
class Placed:
    """A ``graph`` with canonical names, that which was ``given``, and the new ``names`` of its nodes with weights."""

    graph: Graph
    shape: Shape
    given: Graph
    names: Mapping[str, str]

    @cached_property
    def before(self) -> dict[str, str]:
        """What the primitive nodes with weights are called in the network of the graph that was given."""
        return _before(self.given, self.shape, self.names)


@dataclass(frozen=True)
class Place:
    """One layer with weights: its ``name`` in the supernet, the ``module`` that has it in the network.

    Of its first axis ``parts`` stretches of equal length are shared each for itself. ``kernels`` is how its op wants
    kernels of different sizes to share, "" to have it as the others.
    """

    name: str
    module: str
    layer: Layer
    parts: int = 1
    kernels: str = ""


def placed(graph: Graph, shape: Shape, *, apart: bool = False) -> Placed:
    """Return ``graph``, for images of ``shape``, in canonical order and under canonical names.

    Equal for graphs of equal key, but for nodes that an automorphism exchanges. With ``apart`` primitive ops of
    different kernels have different names. A graph whose output no image reaches is a ``ValueError``: its weights do no
    work.
    """
    if not graph.reached:
        raise ValueError(
            f"graph {graph.key()}: no image reaches its output, so there is nothing to share; leave it out"
        )
    graph = graph.simplified()
    labels, edges, nodes = rows(graph)
    order = canonical_order(labels, edges)
    names = _names(graph, shape, [node for row in order if (node := nodes[row]) is not None], apart)
    called: dict[int, str] = {0: graph.nodes[0].name}
    made = [graph.nodes[0]]
    rank = {row: place for place, row in enumerate(order)}
    for row in order[1:]:
        if (node := nodes[row]) is None:
            links = sorted(edges[row], key=lambda link: rank[link[0]])
            inputs = tuple(called[source] for source, count in links for _ in range(count))
            made.append(Node(f"sum{len(made)}", SUM, inputs))
        else:
            inputs = tuple(called[source] for source, _ in sorted(edges[row], key=lambda link: link[1]))
            made.append(replace(node, name=names.get(node.name, f"plain{len(made)}"), inputs=inputs))
        called[row] = made[-1].name
    output = called[order[-1]]
    return Placed(Graph(tuple(made), output), shape, graph, names)


def _names(graph: Graph, shape: Shape, ordered: list[Node], apart: bool) -> dict[str, str]:
    """Return the new names of nodes with weights; ``ordered`` are the nodes in canonical order.

    Of nodes side by side that would share a name those of the larger kernel come first, then those with more to follow:
    so the first name is that of a node which stands alone there, whatever joins it.
    """
    visits = list(walk(graph, shape))
    weighted = {node.name for node, op, inputs, _ in visits if op.parameters(*inputs)}
    blocks = {node.name for node, op, _, _ in visits if isinstance(op, Block)}
    before = _depths(graph.nodes, {node.name: node.inputs for node in graph.nodes}, weighted)
    readers: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
    for node in graph.nodes:
        for source in node.inputs:
            readers[source].append(node.name)
    after = _depths(graph.nodes[::-1], readers, weighted)

    def kernel(node: Node) -> Any:
        return dict(node.attrs).get("kernel", 0)

    names: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for one in sorted(ordered, key=lambda node: (-kernel(node), -after[node.name])):
        if one.name in weighted:
            name = f"{_unit(one)}_{one.op.replace('-', '_')}{before[one.name] - 1}"
            if apart and one.name not in blocks and kernel(one):
                name += f"_k{kernel(one)}"
            names[one.name] = f"{name}_{taken[name]}" if taken[name] else name
            taken[name] += 1
    return names


def _depths(
    nodes: Sequence[Node], linked: Mapping[str, Sequence[str]], weighted: Collection[str]
) -> dict[str, int]:
    """Return how many ``weighted`` nodes of its unit lie on the longest path up to each of ``nodes``, with itself.

    A node stands after those that it is ``linked`` to.
    """
    found: dict[str, int] = {}
    by_unit: dict[str, dict[str, int]] = {}
    for node in nodes:
        own: dict[str, int] = {}
        for other in linked[node.name]:
            for unit, depth in by_unit[other].items():
                own[unit] = max(own.get(unit, 0), depth)
        if node.name in weighted:
            own[_unit(node)] = own.get(_unit(node), 0) + 1
        by_unit[node.name], found[node.name] = own, own.get(_unit(node), 0)
    return found


def _unit(node: Node) -> str:
    return node.name.partition("_")[0]


def _before(graph: Graph, shape: Shape, names: Mapping[str, str]) -> dict[str, str]:
    """Return what the primitive nodes with weights of the graph under ``names`` are called in ``graph`` itself."""
    before: dict[str, str] = {}
    for node, op, inputs, _ in walk(graph, shape):
        if node.name not in names:
            continue
        if isinstance(op, Block):
            inner = unfolded(node, op, inputs[0])
            twins = unfolded(replace(node, name=names[node.name]), op, inputs[0])
            before |= {twin.name: one.name for one, twin in zip(inner, twins, strict=True)}
        else:
            before[names[node.name]] = node.name
    return before


def places(network: Placed) -> Iterator[Place]:
    """Yield the place of every layer with weights of ``network``, in the order of its primitive nodes."""
    graph = expanded(network.graph, network.shape)
    marks = {graph.nodes[0].name: ("", "")}  # arrangement, unit
    for node, op, inputs, _ in walk(graph, network.shape):
        own = _unit(node)
        mark, unit = marks[node.inputs[-1]]
        if arrangement := op.arrangement(*inputs):
            mark = _arranged(arrangement, [marks[source] for source in node.inputs])
        layers = layers_of(op, inputs)
        kept = 0
        for at, layer in enumerate(layers):
            if layer.parameters:
                told = " ".join(part for part in (mark, unit if unit != own else "") if part)
                name = f"{node.name}.{kept}{layer.kind}{_apart(layer)}{told and f'[{told}]'}"
                module = node.name if len(layers) == 1 else f"{node.name}.{at}"
                yield Place(name, module, layer, _parts(op, layer), op.kernels)
                kept += 1
            if layer.kind in MIXING and not _depthwise(layer):
                mark, unit = "", own
        marks[node.name] = mark, unit


def _arranged(arrangement: str, read: Sequence[tuple[str, str]]) -> str:
    """Return the mark of features in ``arrangement`` of what is ``read``: arrangements and units of the inputs."""
    plain = not any(mark for mark, _ in read) and len({unit for _, unit in read}) == 1
    return arrangement if plain else f"{arrangement} of {', '.join(' '.join(one).strip() for one in read)}"


def _parts(op: Op, layer: Layer) -> int:
    return int(getattr(op, "parts", 1)) if layer.kind == "Linear" else 1


@lru_cache(maxsize=1 << 14)
def _apart(layer: Layer) -> str:
    """Return what keeps a layer's weights from those of others of its kind at the same place."""
    options = dict(layer.options)
    if layer.kind == "Embedding":
        return f"({layer.arguments[0]})"  # rows are tokens: others, if there are more of them
    if layer.kind != "Conv2d":
        return ""
    if _depthwise(layer):
        return "(depthwise)"
    kernel, groups = layer.arguments[2], options.get("groups", 1)
    patch = kernel > 1 and (kernel % 2 == 0 or options.get("stride", 1) == kernel)
    return (f"(groups {groups})" if groups > 1 else "") + (f"(size {kernel})" if patch else "")


def _depthwise(layer: Layer) -> bool:
    return layer.kind == "Conv2d" and layer.arguments[0] == dict(layer.options).get("groups", 1) > 1
