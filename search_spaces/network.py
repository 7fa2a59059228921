"""A graph as a torch module. Weights are named after the nodes, as in the exported source."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from search_spaces.block import expanded, walk
from search_spaces.graph import Graph
from search_spaces.op import Op, Shape, layers_of

Modules = Callable[[Op, tuple[Shape, ...]], nn.Module]


def shapes_of(graph: Graph, shape: Shape) -> dict[str, Shape]:
    """Return the output shape of every node for an input of ``shape`` (C, H, W); impossible is a ``ValueError``."""
    shapes: dict[str, Shape] = {graph.nodes[0].name: tuple(shape)}
    shapes |= {node.name: out for node, _, _, out in walk(graph, shape)}
    return shapes


class Network(nn.Module):
    """The network of ``graph`` for images of ``shape`` (C, H, W); maps (n, C, H, W) float to (n, classes).

    Weights are drawn from a generator of ``seed``'s own: torch's global state stays as it was. ``modules``, called
    with an op and the shapes of its inputs, gives its module in place of one with fresh weights.
    """

    def __init__(self, graph: Graph, shape: Shape, *, seed: int = 0, modules: Modules | None = None) -> None:
        super().__init__()
        graph = expanded(graph, shape)
        steps: list[tuple[str, Op, tuple[str, ...]]] = []
        with torch.random.fork_rng(devices=[], enabled=modules is None):
            if modules is None:
                torch.manual_seed(seed)
            for node, op, inputs, _ in walk(graph, shape):
                if layers_of(op, inputs):
                    self.add_module(node.name, modules(op, inputs) if modules else op.build(*inputs))
                steps.append((node.name, op, node.inputs))
            if modules is None:
                self.apply(initialise)
        self._steps, self._done = tuple(steps), _last_readings(steps, graph.output)
        self._first, self._output = graph.nodes[0].name, graph.output

    def forward(self, x: Tensor) -> Tensor:
        """Return the value of the output node."""
        values = {self._first: x}
        for (name, op, sources), done in zip(self._steps, self._done, strict=True):
            values[name] = op.forward(self._modules.get(name), *[values[source] for source in sources])
            for source in done:  # what nobody reads any more need not be held until the end
                del values[source]
        return values[self._output]


def _last_readings(steps: list[tuple[str, Op, tuple[str, ...]]], output: str) -> tuple[tuple[str, ...], ...]:
    """Return, for each step, the nodes whose values are read there for the last time."""
    last = {source: at for at, (_, _, sources) in enumerate(steps) for source in sources if source != output}
    return tuple(tuple(name for name in last if last[name] == at) for at in range(len(steps)))


def initialise(module: nn.Module) -> None:
    """He et al. 2015, eq. 10, over the outputs of a convolution; linear maps keep torch's own."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding):  # position encodings: Dosovitskiy et al. 2021, appendix D.4
        nn.init.normal_(module.weight, std=0.02)
