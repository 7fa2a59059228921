"""The images themselves."""

from dataclasses import dataclass
from typing import ClassVar

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("input")
@dataclass(frozen=True)
class Input(Op):
    """What the network is given. Its shape is that of the images."""

    arity: ClassVar[tuple[int, int]] = (0, 0)

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def call(self, module: str, *names: str) -> str:
        return "x"
