"""Squeeze-and-excitation (Hu et al. 2018): channels are weighed by what the whole image holds."""

from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops


@ops.register("squeeze-excite")
@dataclass(frozen=True)
class SqueezeExcite(Block):
    """Mean of each channel, ``reduced`` features, ReLU, back to a ``gate`` in [0, 1] per channel (sec. 3)."""

    reduced: int = 8
    gate: str = "hardsigmoid"

    def body(self, shape: Shape) -> Graph:
        nodes = (
            Node.make("x", "input"),
            Node.make("mean", "adaptive-pool", ["x"]),
            Node.make("reduce", "conv", ["mean"], filters=self.reduced, kernel=1, norm="none"),
            Node.make(
                "gate", "conv", ["reduce"], filters=shape[0], kernel=1, norm="none", activation=self.gate
            ),
            Node.make("scaled", "multiply", ["x", "gate"]),
        )
        return Graph(nodes, "scaled")
