"""Stochastic depth (Huang et al. 2016): a branch that is left out for some images of a batch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("stochastic-depth")
@dataclass(frozen=True)
class StochasticDepth(Op):
    """Each image's value is zero with probability ``rate`` in [0, 1) in training, else divided by 1 - rate.

    ``Dropout1d`` of one channel that holds the whole flattened image is just that.
    """

    rate: float = 0.1

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("Dropout1d", self.rate),)

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        assert module is not None
        if not module.training:
            return values[0]
        one: Tensor = values[0].new_ones(len(values[0]), 1, 1)
        kept: Tensor = module(one).view(-1, *[1] * (values[0].ndim - 1))
        return values[0] * kept

    def call(self, module: str, *names: str) -> str:
        x = names[0]
        return f"{x} * {module}({x}.new_ones(len({x}), 1, 1)).view(-1, *[1] * ({x}.ndim - 1))"
