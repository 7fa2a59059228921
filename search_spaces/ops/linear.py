"""Linear map of a vector, with an activation."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops
from search_spaces.ops.activation import activation_layers


@ops.register("linear")
@dataclass(frozen=True)
class Linear(Op):
    """(F,) to (``units``,), then the activation."""

    units: int
    activation: str = "none"

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        if len(shapes[0]) != 1:
            raise ValueError(
                f"{self!r} on shape {shapes[0]}: it takes a vector; put global-pool or flatten before it"
            )
        return (Layer.make("Linear", shapes[0][0], self.units), *activation_layers(self.activation))
