"""The mean of all tokens as one vector."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("mean-tokens")
@dataclass(frozen=True)
class MeanTokens(Op):
    """(T, F) to (F,)."""

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) != 2:
            raise ValueError(f"mean-tokens of shape {shapes[0]}: it takes tokens; put to-tokens before it")
        return shapes[0][1:]

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        return values[0].mean(1)

    def call(self, module: str, *names: str) -> str:
        return f"{names[0]}.mean(1)"
