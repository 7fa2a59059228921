"""Feed-forward block: the second half of a transformer's layer, norm first."""

from dataclasses import dataclass

from search_spaces.block import Block
from search_spaces.graph import Graph, Node
from search_spaces.op import Shape, ops
from search_spaces.ops.residual import joined
from search_spaces.space import Value


@ops.register("mlp")
@dataclass(frozen=True)
class MLP(Block):
    """Layer norm, linear to ``ratio`` times the features, activation, linear back, added to the tokens (T, F)."""

    ratio: float = 4.0
    activation: str = "gelu"
    drop: float = 0.0

    def body(self, shape: Shape) -> Graph:
        features = shape[-1]
        hidden: dict[str, Value] = {"units": round(features * self.ratio), "activation": self.activation}
        nodes = [
            Node.make("x", "input"),
            Node.make("norm", "norm", ["x"], kind="layer"),
            Node.make("hidden", "linear", ["norm"], **hidden),
            Node.make("project", "linear", ["hidden"], units=features),
        ]
        return joined(nodes, "x", drop=self.drop)
