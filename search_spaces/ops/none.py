"""Zero: an edge that is not there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("none")
@dataclass(frozen=True)
class Zero(Op):
    """Zeros of its input's shape."""

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        import torch

        return torch.zeros_like(values[0])

    def call(self, module: str, *names: str) -> str:
        return f"torch.zeros_like({names[0]})"
