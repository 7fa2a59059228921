"""A graph as a torch module. Weights are named after the nodes, as in the exported source."""

import torch
from torch import Tensor, nn

from search_spaces.graph import Graph
from search_spaces.op import Op, Shape, op_of


def shapes_of(graph: Graph, shape: Shape) -> dict[str, Shape]:
    """Return the output shape of every node for an input of ``shape`` (C, H, W); impossible is a ``ValueError``."""
    shapes: dict[str, Shape] = {}
    for node in graph.nodes:
        inputs = [shapes[source] for source in node.inputs]
        shapes[node.name] = op_of(node).shape(*inputs) if inputs else tuple(shape)
    return shapes


class Network(nn.Module):
    """The network of ``graph`` for images of ``shape`` (C, H, W); maps (n, C, H, W) float to (n, classes).

    Weights are drawn from a generator of ``seed``'s own: torch's global state stays as it was.
    """

    def __init__(self, graph: Graph, shape: Shape, *, seed: int = 0) -> None:
        super().__init__()
        shapes = shapes_of(graph, shape)
        self._joins: dict[str, Op] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for node in graph.nodes:
                inputs = [shapes[source] for source in node.inputs]
                op = op_of(node)
                if inputs and op.layers(*inputs):
                    self.add_module(node.name, op.build(*inputs))
                else:
                    self._joins[node.name] = op
            self.apply(_initialise)
        self._steps = tuple((node.name, node.inputs) for node in graph.nodes[1:])
        self._first, self._output = graph.nodes[0].name, graph.output

    def forward(self, x: Tensor) -> Tensor:
        """Return the value of the output node."""
        values = {self._first: x}
        for name, sources in self._steps:
            inputs = [values[source] for source in sources]
            join = self._joins.get(name)
            values[name] = join.join(*inputs) if join is not None else self._modules[name](*inputs)  # type: ignore[misc]
        return values[self._output]


def _initialise(module: nn.Module) -> None:
    """He et al. 2015, eq. 10, over the outputs of a convolution; linear maps keep torch's own."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
