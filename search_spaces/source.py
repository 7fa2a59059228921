"""A graph as readable PyTorch source: one line per node, weights named as in ``Network``."""

from search_spaces.block import expanded, walk
from search_spaces.graph import Graph
from search_spaces.op import Shape


def source(graph: Graph, shape: Shape, *, name: str = "Model") -> str:
    """Return the text of ``class name(nn.Module)`` with its imports; runs without this project."""
    graph = expanded(graph, shape)
    layers, steps, size = [], [], shape
    for node, op, inputs, out in walk(graph, shape):
        values = ["x" if key == graph.nodes[0].name else key for key in node.inputs]
        expression = op.expression(*inputs)
        if expression:
            layers.append(f"        self.{node.name} = {expression}")
        call = op.call(f"self.{node.name}" if expression else "", *values)
        steps.append(f"        {node.name} = {call}  # {'x'.join(map(str, out))}")
        size = out if node.name == graph.output else size
    output = "x" if graph.output == graph.nodes[0].name else graph.output
    return "\n".join(
        [
            "import torch",
            "from torch import nn",
            *(["from torch.nn import functional as F"] if any("F." in step for step in steps) else []),
            "",
            "",
            f"class {name}(nn.Module):",
            f'    """Maps images (n, {", ".join(map(str, shape))}) to logits (n, {size[0]})."""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *layers,
            "",
            "    def forward(self, x: torch.Tensor) -> torch.Tensor:",
            *steps,
            f"        return {output}",
            "",
        ]
    )
