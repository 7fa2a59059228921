"""Inverted residual (Sandler et al. 2018), with squeeze-and-excitation (Howard et al. 2019)."""

from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops
from search_spaces.ops.residual import joined


def divisible(value: float, by: int = 8) -> int:
    """Return the multiple of ``by`` nearest to ``value``, at least ``by``, and not more than a tenth below it."""
    rounded = max(by, int(value + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * value else rounded


@ops.register("inverted-residual")
@dataclass(frozen=True)
class InvertedResidual(Block):
    """Pointwise to ``expansion`` times the channels, depthwise, pointwise to ``filters`` without activation.

    The input is added where width and side stay. ``squeeze`` weighs the expanded channels, a quarter of them
    inside. ``drop`` is the rate of stochastic depth.
    """

    filters: int
    kernel: int = 3
    stride: int = 1
    expansion: float = 6.0
    squeeze: bool = False
    activation: str = "relu"
    drop: float = 0.0

    def body(self, shape: Shape) -> Graph:
        channels, act = shape[0], self.activation
        width = divisible(channels * self.expansion) if self.expansion != 1 else channels
        nodes = [Node.make("x", "input")]
        if width != channels:
            nodes.append(Node.make("expand", "conv", ["x"], filters=width, kernel=1, activation=act))
        nodes.append(
            Node.make(
                "depthwise",
                "conv",
                [nodes[-1].name],
                filters=width,
                kernel=self.kernel,
                stride=self.stride,
                groups=width,
                activation=act,
            )
        )
        if self.squeeze:
            nodes.append(Node.make("squeeze", "squeeze-excite", ["depthwise"], reduced=divisible(width / 4)))
        last = nodes[-1].name
        nodes.append(Node.make("project", "conv", [last], filters=self.filters, kernel=1, activation="none"))
        keeps = self.stride == 1 and channels == self.filters
        return joined(nodes, "x" if keeps else None, drop=self.drop)
