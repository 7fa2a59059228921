"""All pixels of all channels as one vector."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("flatten")
@dataclass(frozen=True)
class Flatten(Op):
    """(C, H, W) to (C * H * W,)."""

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("Flatten"),)

    def arrangement(self, *shapes: Shape) -> str:
        return "x".join(map(str, shapes[0][1:]))
