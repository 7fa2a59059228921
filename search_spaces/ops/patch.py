"""Patches: a convolution whose windows do not overlap, as image to image."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("patch")
@dataclass(frozen=True)
class Patch(Op):
    """Each ``size`` x ``size`` window becomes one pixel of ``filters`` channels (Dosovitskiy et al. 2021, eq. 1)."""

    filters: int
    size: int = 2

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("Conv2d", shapes[0][0], self.filters, self.size, stride=self.size),)
