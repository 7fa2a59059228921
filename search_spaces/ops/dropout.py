"""Dropout (Srivastava et al. 2014)."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("dropout")
@dataclass(frozen=True)
class Dropout(Op):
    """Each value is zero with probability ``rate`` in [0, 1) during training."""

    rate: float = 0.1

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("Dropout", self.rate),)
