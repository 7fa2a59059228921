"""Pixels as tokens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("to-tokens")
@dataclass(frozen=True)
class ToTokens(Op):
    """(C, H, W) to (H * W, C): one token per pixel, row by row."""

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) != 3:
            raise ValueError(f"to-tokens of shape {shapes[0]}: it takes images; leave it out")
        channels, height, width = shapes[0]
        return (height * width, channels)

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        return values[0].flatten(2).transpose(1, 2)

    def call(self, module: str, *names: str) -> str:
        return f"{names[0]}.flatten(2).transpose(1, 2)"
