"""Positional encoding: tokens are told where they stand."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("position")
@dataclass(frozen=True)
class Position(Op):
    """A learned vector per place is added to (T, F) tokens (Dosovitskiy et al. 2021, eq. 1)."""

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        if len(shapes[0]) != 2:
            raise ValueError(f"position of shape {shapes[0]}: it takes tokens; put to-tokens before it")
        return (Layer.make("Embedding", *shapes[0]),)

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        assert module is not None
        weight: Tensor = module.weight  # type: ignore[assignment]
        return values[0] + weight

    def call(self, module: str, *names: str) -> str:
        return f"{names[0]} + {module}.weight"
