"""Residual blocks (He et al. 2016): what joins a branch to its shortcut, and the basic block."""

from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops


def joined(
    nodes: Sequence[Node], shortcut: str | None, *, drop: float = 0.0, activation: str = "none"
) -> Graph:
    """Return the graph of a branch, ending in the last of ``nodes``, added to the node ``shortcut``, if any.

    The branch has stochastic depth of rate ``drop`` when there is something to add it to; ``activation`` comes last.
    """
    nodes = list(nodes)
    if shortcut is not None:
        if drop:
            nodes.append(Node.make("drop", "stochastic-depth", [nodes[-1].name], rate=drop))
        nodes.append(Node.make("sum", "sum", [nodes[-1].name, shortcut]))
    if activation != "none":
        nodes.append(Node.make("activation", "activation", [nodes[-1].name], kind=activation))
    return Graph(tuple(nodes), nodes[-1].name)


def projected(shape: Shape, filters: int, stride: int) -> list[Node]:
    """Return the shortcut's projection, where width or side change (He et al. 2016, option B), else nothing."""
    if shape[0] == filters and stride == 1:
        return []
    return [Node.make("shortcut", "conv", ["x"], filters=filters, kernel=1, stride=stride, activation="none")]


@ops.register("residual")
@dataclass(frozen=True)
class Residual(Block):
    """The basic block: two convolutions of one ``kernel``, added to the input, then the activation (figure 5)."""

    filters: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    drop: float = 0.0

    def body(self, shape: Shape) -> Graph:
        size = {"filters": self.filters, "kernel": self.kernel}
        shortcut = projected(shape, self.filters, self.stride)
        nodes = [
            Node.make("x", "input"),
            *shortcut,
            Node.make("conv1", "conv", ["x"], stride=self.stride, activation=self.activation, **size),
            Node.make("conv2", "conv", ["conv1"], activation="none", **size),
        ]
        return joined(nodes, "shortcut" if shortcut else "x", drop=self.drop, activation=self.activation)
