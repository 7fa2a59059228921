"""ConvNeXt's step between stages: a norm of each pixel, then patches of two by two pixels (Liu et al. 2022, 2.6)."""

from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops


@ops.register("downsample")
@dataclass(frozen=True)
class Downsample(Block):
    """Layer norm over the channels of each pixel, then ``size`` x ``size`` patches of ``filters`` channels."""

    filters: int
    size: int = 2

    def body(self, shape: Shape) -> Graph:
        nodes = (
            Node.make("x", "input"),
            Node.make("tokens", "to-tokens", ["x"]),
            Node.make("norm", "norm", ["tokens"], kind="layer"),
            Node.make("image", "to-image", ["norm"], height=shape[1], width=shape[2]),
            Node.make("patch", "patch", ["image"], filters=self.filters, size=self.size),
        )
        return Graph(nodes, "patch")
