"""Average over a fixed grid of regions; the image stays an image."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("adaptive-pool")
@dataclass(frozen=True)
class AdaptivePool(Op):
    """(C, H, W) to (C, grid, grid); grid=1 is the mean of each channel."""

    grid: int = 1

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("AdaptiveAvgPool2d", self.grid),)
