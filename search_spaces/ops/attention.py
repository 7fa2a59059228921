"""Self-attention block: the first half of a transformer's layer, norm first (Xiong et al. 2020)."""

from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops
from search_spaces.ops.residual import joined


@ops.register("attention")
@dataclass(frozen=True)
class Attention(Block):
    """Layer norm, ``heads`` of attention, a linear map, added to the tokens (T, F); ``drop``: stochastic depth."""

    heads: int = 1
    drop: float = 0.0

    def body(self, shape: Shape) -> Graph:
        features = shape[-1]
        nodes = [
            Node.make("x", "input"),
            Node.make("norm", "norm", ["x"], kind="layer"),
            Node.make("qkv", "linear", ["norm"], units=3 * features, parts=3),
            Node.make("heads", "attend", ["qkv"], heads=self.heads),
            Node.make("project", "linear", ["heads"], units=features),
        ]
        return joined(nodes, "x", drop=self.drop)
