"""Scaled dot-product attention of tokens among themselves (Vaswani et al. 2017, eq. 1)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.op import Layer, Op, Shape, ops

if TYPE_CHECKING:
    from torch import Tensor, nn


@ops.register("attend")
@dataclass(frozen=True)
class Attend(Op):
    """Queries, keys and values side by side, (T, 3 F), to (T, F), in ``heads`` of F / heads features each."""

    heads: int = 1

    def layers(self, *shapes: Shape) -> tuple[Layer, ...]:
        return ()

    def shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) != 2 or shapes[0][1] % (3 * self.heads):
            raise ValueError(
                f"{self!r} on shape {shapes[0]}: it takes tokens of 3 * F features, F a multiple of heads"
            )
        return (shapes[0][0], shapes[0][1] // 3)

    def macs(self, *shapes: Shape) -> int:
        tokens, features = self.shape(*shapes)
        return 2 * tokens * tokens * features

    def forward(self, module: "nn.Module | None", *values: "Tensor") -> "Tensor":
        from torch.nn.functional import scaled_dot_product_attention

        n, tokens, features = values[0].shape
        parts = values[0].reshape(n, tokens, 3, self.heads, features // (3 * self.heads))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    def call(self, module: str, *names: str) -> str:
        parts = f"*{names[0]}.unflatten(2, (3, {self.heads}, -1)).permute(2, 0, 3, 1, 4)"
        return f"F.scaled_dot_product_attention({parts}).transpose(1, 2).flatten(2)"
