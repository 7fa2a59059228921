"""Convolution block: convolution, norm, activation."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops
from search_spaces.ops.activation import activation_layers
from search_spaces.ops.norm import norm_layers


@ops.register("conv")
@dataclass(frozen=True)
class Conv(Op):
    """``kernel`` odd, padded to keep the side (divided by ``stride``); without a bias when a norm follows."""

    filters: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    norm: str = "batch"
    activation: str = "relu"

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        if len(shapes[0]) != 3:
            raise ValueError(
                f"{self!r} on shape {shapes[0]}: it takes images; put it before what flattens them"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"{self!r}: kernel={self.kernel} is even; give an odd one, or use op 'patch'")
        channels, groups = shapes[0][0], self.groups
        if channels % groups or self.filters % groups:
            raise ValueError(f"{self!r} on {channels} channels: both must be multiples of groups={groups}")
        norm = norm_layers(self.norm, self.filters)
        conv = Layer.make(
            "Conv2d",
            channels,
            self.filters,
            self.kernel,
            stride=self.stride if self.stride > 1 else None,
            padding=self.kernel // 2 * self.dilation or None,
            dilation=self.dilation if self.dilation > 1 else None,
            groups=groups if groups > 1 else None,
            bias=False if norm else None,
        )
        return (conv, *norm, *activation_layers(self.activation))
