"""Concatenation along channels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("concat")
@dataclass(frozen=True)
class Concat(Op):
    """The channels of all inputs, in order; their sides must be equal."""

    arity: ClassVar[tuple[int, int]] = (1, 1_000)

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        if len({shape[1:] for shape in shapes}) > 1:
            raise ValueError(f"concat of shapes {list(shapes)}: sides must be equal; pool the others first")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def arrangement(self, *shapes: Shape) -> str:
        return "+".join(str(shape[0]) for shape in shapes)

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        import torch

        return torch.cat(values, dim=1)

    def call(self, module: str, *names: str) -> str:
        return f"torch.cat([{', '.join(names)}], dim=1)"
