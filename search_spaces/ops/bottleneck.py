"""Bottleneck block (He et al. 2016), with groups as in ResNeXt (Xie et al. 2017)."""

from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops
from search_spaces.ops.residual import joined, projected


@ops.register("bottleneck")
@dataclass(frozen=True)
class Bottleneck(Block):
    """Pointwise to ``filters / reduction``, ``kernel`` x ``kernel`` in ``groups``, pointwise to ``filters``, added.

    The stride is in the middle convolution, as in torchvision's ResNet.
    """

    filters: int
    kernel: int = 3
    stride: int = 1
    reduction: int = 4
    groups: int = 1
    activation: str = "relu"
    drop: float = 0.0

    def body(self, shape: Shape) -> Graph:
        if self.filters % self.reduction:
            raise ValueError(f"{self!r}: filters must be a multiple of reduction={self.reduction}")
        width, act = self.filters // self.reduction, self.activation
        shortcut = projected(shape, self.filters, self.stride)
        middle = {"filters": width, "kernel": self.kernel, "stride": self.stride, "groups": self.groups}
        nodes = [
            Node.make("x", "input"),
            *shortcut,
            Node.make("reduce", "conv", ["x"], filters=width, kernel=1, activation=act),
            Node.make("middle", "conv", ["reduce"], activation=act, **middle),
            Node.make("widen", "conv", ["middle"], filters=self.filters, kernel=1, activation="none"),
        ]
        return joined(nodes, "shortcut" if shortcut else "x", drop=self.drop, activation=act)
