"""Tokens as pixels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("to-image")
@dataclass(frozen=True)
class ToImage(Op):
    """(height * width, C) to (C, height, width): the inverse of ``to-tokens``."""

    height: int
    width: int

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) != 2 or shapes[0][0] != self.height * self.width:
            raise ValueError(f"{self!r} of shape {shapes[0]}: it takes height * width tokens")
        return (shapes[0][1], self.height, self.width)

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        x = values[0].transpose(1, 2)
        return x.reshape(*x.shape[:2], self.height, self.width)

    def call(self, module: str, *names: str) -> str:
        return f"{names[0]}.transpose(1, 2).unflatten(2, ({self.height}, {self.width}))"
