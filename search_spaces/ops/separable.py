"""Depthwise-separable convolution block (Howard et al. 2017, MobileNets, section 3.1)."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops
from search_spaces.ops.conv import Conv


@ops.register("separable")
@dataclass(frozen=True)
class Separable(Op):
    """A depthwise convolution block, then a pointwise one, each with batch norm and activation."""

    filters: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        channels = shapes[0][0]
        depthwise = Conv(channels, self.kernel, self.stride, groups=channels, activation=self.activation)
        pointwise = Conv(self.filters, 1, activation=self.activation)
        return (*depthwise.layers(*shapes), *pointwise.layers(*shapes))
