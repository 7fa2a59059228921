"""ConvNeXt block (Liu et al. 2022, figure 4), without layer scale."""

from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops
from search_spaces.ops.residual import joined
from search_spaces.space import Value


@ops.register("convnext")
@dataclass(frozen=True)
class ConvNeXt(Block):
    """Depthwise ``kernel`` x ``kernel``, layer norm, ``expansion`` times the channels, activation, back, added."""

    kernel: int = 7
    expansion: float = 4.0
    activation: str = "gelu"
    drop: float = 0.0

    def body(self, shape: Shape) -> Graph:
        channels, height, width = shape
        depthwise = {"filters": channels, "kernel": self.kernel, "groups": channels}
        hidden: dict[str, Value] = {"units": round(channels * self.expansion), "activation": self.activation}
        nodes = [
            Node.make("x", "input"),
            Node.make("depthwise", "conv", ["x"], norm="none", activation="none", **depthwise),
            Node.make("tokens", "to-tokens", ["depthwise"]),
            Node.make("norm", "norm", ["tokens"], kind="layer"),
            Node.make("expand", "linear", ["norm"], **hidden),
            Node.make("project", "linear", ["expand"], units=channels),
            Node.make("image", "to-image", ["project"], height=height, width=width),
        ]
        return joined(nodes, "x", drop=self.drop)
