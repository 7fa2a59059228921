"""Blocks: ops that are made of ops. A graph can be walked as it is written, or expanded down to its primitive ops.

A block is one node of a design, so that keys, mutations and pictures stay small; the network, its source and its
arithmetic are those of its body. Blocks may hold blocks.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
        body = self.body(shapes[0])
        return next(out for node, _, _, out in walk(body, shapes[0]) if node.name == body.output)

    def parameters(self, *shapes: Shape) -> int:
        return sum(op.parameters(*inputs) for _, op, inputs, _ in _inside(self, shapes[0]))

    def buffers(self, *shapes: Shape) -> int:
        return sum(op.buffers(*inputs) for _, op, inputs, _ in _inside(self, shapes[0]))

    def macs(self, *shapes: Shape) -> int:
        return sum(op.macs(*inputs) for _, op, inputs, _ in _inside(self, shapes[0]))


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


def _inside(block: Block, shape: Shape) -> Iterator[Visit]:
    return walk(block.body(shape).simplified(), shape)


def expanded(graph: Graph, shape: Shape) -> Graph:
    """Return ``graph``, for an input of ``shape``, with every block replaced by its body, down to primitive ops.

    A node ``inner`` of the body of ``outer`` is called ``outer_inner``, and the body's output ``outer``.
    """
    nodes = [graph.nodes[0]]
    for node, op, inputs, _ in walk(graph, shape):
        nodes += _unfolded(node, op, inputs[0]) if isinstance(op, Block) else [node]
    return Graph(tuple(nodes), graph.output).simplified()


def _unfolded(node: Node, block: Block, shape: Shape) -> list[Node]:
    body = expanded(block.body(shape), shape)
    first, *rest = body.nodes
    assert first.op == INPUT and body.output != first.name, node
    names = {inner.name: f"{node.name}_{inner.name}" for inner in rest}
    names |= {first.name: node.inputs[0], body.output: node.name}
    return [
        replace(inner, name=names[inner.name], inputs=tuple(names[source] for source in inner.inputs))
        for inner in rest
    ]
