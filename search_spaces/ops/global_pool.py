"""Average over a fixed grid of regions, then flatten: what stands between images and the dense head."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("global-pool")
@dataclass(frozen=True)
class GlobalPool(Op):
    """The mean over ``grid`` x ``grid`` regions as a vector of C * grid**2; grid=1 is global average pooling."""

    grid: int = 1

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("AdaptiveAvgPool2d", self.grid), Layer.make("Flatten"))

    def arrangement(self, *shapes: Shape) -> str:
        return f"{self.grid}x{self.grid}" if self.grid > 1 else ""
