"""Convolution block: convolution, batch norm, activation."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops
from search_spaces.ops.activation import activation_layers


@ops.register("conv")
@dataclass(frozen=True)
class Conv(Op):
    """``kernel`` odd, padded to keep the side (divided by ``stride``); without a bias when a norm follows."""

    filters: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    norm: bool = True
    activation: str = "relu"

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        channels, groups = shapes[0][0], self.groups
        if channels % groups or self.filters % groups:
            raise ValueError(f"{self!r} on {channels} channels: both must be multiples of groups={groups}")
        conv = Layer.make(
            "Conv2d",
            channels,
            self.filters,
            self.kernel,
            stride=self.stride if self.stride > 1 else None,
            padding=self.kernel // 2 or None,
            groups=groups if groups > 1 else None,
            bias=False if self.norm else None,
        )
        norm = (Layer.make("BatchNorm2d", self.filters),) if self.norm else ()
        return (conv, *norm, *activation_layers(self.activation))
