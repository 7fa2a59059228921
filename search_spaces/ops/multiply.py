"""Product of images with a gate per channel."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("multiply")
@dataclass(frozen=True)
class Multiply(Op):
    """``x * gate``: the gate has the shape of ``x``, or a side of 1."""

    arity: ClassVar[tuple[int, int]] = (2, 2)

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        value, gate = shapes
        if gate not in (value, (value[0], 1, 1)):
            raise ValueError(
                f"multiply of shapes {value} and {gate}: the gate needs as many channels, and side 1"
            )
        return value

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        return values[0] * values[1]

    def call(self, module: str, *names: str) -> str:
        return f"{names[0]} * {names[1]}"
