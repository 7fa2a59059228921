"""Sum of inputs of one shape: residual connections."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("sum")
@dataclass(frozen=True)
class Sum(Op):
    """``a + b + ...``; the order of its inputs does not count."""

    arity: ClassVar[tuple[int, int]] = (1, 1_000)

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        if len(set(shapes)) > 1:
            raise ValueError(
                f"sum of shapes {sorted(set(shapes))}: all must be equal; project the others first"
            )
        return shapes[0]

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def call(self, module: str, *names: str) -> str:
        return " + ".join(names)
