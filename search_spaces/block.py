"""Blocks: ops that are made of ops. A graph can be walked as it is written, or expanded down to its primitive ops.

A block is one node of a design, so that keys, mutations and pictures stay small; the network, its source and its
arithmetic are those of its body. Blocks may hold blocks. A key takes a block for one node and does not know its body:
a space should not offer a block beside the same body in nodes of its own, nor two blocks with one body.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from search_spaces.graph import INPUT, Graph, Node
from search_spaces.op import Layer, Op, Shape, op_of


@dataclass(frozen=True)
class Block(Op):
    """An op of one input whose ``body`` is a graph: its first node is the input, its output another node."""

    @abstractmethod
    def body(self, shape: Shape) -> Graph:
        """Return the graph of the block for an input of ``shape``."""

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        return _sums(self, shapes[0]).shape

    def parameters(self, *shapes: Shape) -> int:
        return _sums(self, shapes[0]).parameters

    def buffers(self, *shapes: Shape) -> int:
        return _sums(self, shapes[0]).buffers

    def macs(self, *shapes: Shape) -> int:
        return _sums(self, shapes[0]).macs

    def outputs(self, *shapes: Shape) -> int:
        return _sums(self, shapes[0]).outputs


class Sums(NamedTuple):
    """What a block is as a whole: the shape of its output, and its counts."""

    shape: Shape
    parameters: int
    buffers: int
    macs: int
    outputs: int


@lru_cache(maxsize=1 << 16)
def _sums(block: Block, shape: Shape) -> Sums:
    """Walk the body once: a search meets the same block on the same input again and again."""
    body = block.body(shape).simplified()
    visits = list(walk(body, shape))
    out = next(out for node, _, _, out in visits if node.name == body.output)
    counts = [(op.parameters(*i), op.buffers(*i), op.macs(*i), op.outputs(*i)) for _, op, i, _ in visits]
    parameters, buffers, macs, outputs = (sum(column) for column in zip(*counts, strict=True))
    return Sums(out, parameters, buffers, macs, outputs)


Visit = tuple[Node, Op, tuple[Shape, ...], Shape]


def walk(graph: Graph, shape: Shape) -> Iterator[Visit]:
    """Yield (node, op, input shapes, output shape) of every node but the first, which is the input of ``shape``.

    A ``ValueError`` says which op is impossible on what it is given.
    """
    shapes: dict[str, Shape] = {graph.nodes[0].name: tuple(shape)}
    for node in graph.nodes[1:]:
        op, inputs = op_of(node), tuple(shapes[source] for source in node.inputs)
        shapes[node.name] = op.shape(*inputs)
        yield node, op, inputs, shapes[node.name]


def expanded(graph: Graph, shape: Shape) -> Graph:
    """Return ``graph``, for an input of ``shape``, with every block replaced by its body, down to primitive ops.

    A node ``inner`` of the body of ``outer`` is called ``outer_inner``, and the body's output ``outer``.
    """
    nodes = [graph.nodes[0]]
    for node, op, inputs, _ in walk(graph, shape):
        nodes += unfolded(node, op, inputs[0]) if isinstance(op, Block) else [node]
    return Graph(tuple(nodes), graph.output).simplified()


def unfolded(node: Node, block: Block, shape: Shape) -> list[Node]:
    """Return the primitive nodes that stand for ``node``, which is ``block`` on an input of ``shape``."""
    body = _primitive(block, shape)
    first, *rest = body.nodes
    assert first.op == INPUT and body.output != first.name, node
    names = {inner.name: f"{node.name}_{inner.name}" for inner in rest}
    names |= {first.name: node.inputs[0], body.output: node.name}
    return [
        Node(names[inner.name], inner.op, tuple([names[source] for source in inner.inputs]), inner.attrs)
        for inner in rest
    ]


@lru_cache(maxsize=1 << 12)
def _primitive(block: Block, shape: Shape) -> Graph:
    return expanded(block.body(shape), shape)
