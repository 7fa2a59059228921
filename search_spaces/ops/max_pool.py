"""Maximum pooling."""

from dataclasses import dataclass

from search_spaces.op import Layer, Op, Shape, ops


@ops.register("max-pool")
@dataclass(frozen=True)
class MaxPool(Op):
    """The maximum of ``kernel`` x ``kernel`` pixels, every ``stride`` pixels."""

    kernel: int = 2
    stride: int = 2
    padding: int = 0

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return (Layer.make("MaxPool2d", self.kernel, stride=self.stride, padding=self.padding or None),)
