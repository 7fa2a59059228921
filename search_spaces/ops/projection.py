"""Linear map of the channels of each pixel: a shortcut that changes width (He et al. 2016, option B)."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("projection")
@dataclass(frozen=True)
class Projection(Op):
    """A 1x1 convolution to ``filters`` channels, with no bias and nothing after it."""

    filters: int

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("Conv2d", shapes[0][0], self.filters, 1, bias=False),)
