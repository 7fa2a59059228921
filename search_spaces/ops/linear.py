"""Linear map of a vector or of each token, with an activation."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops
from search_spaces.ops.activation import activation_layers


@ops.register("linear")
@dataclass(frozen=True)
class Linear(Op):
    """(F,) to (``units``,), or each token of (T, F) by itself; then the activation.

    The outputs are ``parts`` stretches of equal length, such as queries, keys and values: a supernet shares each of
    them for itself.
    """

    units: int
    activation: str = "none"
    parts: int = 1

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        if len(shapes[0]) == 3:
            raise ValueError(
                f"{self!r} on shape {shapes[0]}: it takes vectors; put global-pool, flatten or to-tokens before it"
            )
        return (Layer.make("Linear", shapes[0][-1], self.units), *activation_layers(self.activation))
