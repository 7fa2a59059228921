"""Identity."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("skip")
@dataclass(frozen=True)
class Skip(Op):
    """Hands its input on."""

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()
