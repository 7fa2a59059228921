"""Average pooling."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("average-pool")
@dataclass(frozen=True)
class AveragePool(Op):
    """The mean of ``kernel`` x ``kernel`` pixels, every ``stride`` pixels; padding does not count."""

    kernel: int = 2
    stride: int = 2
    padding: int = 0

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        inside = False if self.padding else None
        pad = self.padding or None
        return (
            Layer.make("AvgPool2d", self.kernel, stride=self.stride, padding=pad, count_include_pad=inside),
        )
