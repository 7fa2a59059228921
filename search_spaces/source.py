"""A graph as readable PyTorch source: one line per node, weights named as in ``Network``."""

from search_spaces.graph import Graph
from search_spaces.network import shapes_of
from search_spaces.op import Shape, op_of


def source(graph: Graph, shape: Shape, *, name: str = "Model") -> str:
    """Return the text of ``class name(nn.Module)`` with its imports; runs without this project."""
    graph = graph.simplified()
    shapes = shapes_of(graph, shape)
    layers, steps = [], []
    for node in graph.nodes[1:]:
        inputs = [shapes[key] for key in node.inputs]
        op = op_of(node)
        values = ["x" if key == graph.nodes[0].name else key for key in node.inputs]
        expression = op.expression(*inputs)
        if expression:
            layers.append(f"        self.{node.name} = {expression}")
        call = f"self.{node.name}({values[0]})" if expression else op.call(*values)
        size = "x".join(map(str, shapes[node.name]))
        steps.append(f"        {node.name} = {call}  # {size}")
    output = "x" if graph.output == graph.nodes[0].name else graph.output
    return "\n".join(
        [
            "import torch",
            "from torch import nn",
            "",
            "",
            f"class {name}(nn.Module):",
            f'    """Maps images (n, {", ".join(map(str, shape))}) to logits (n, {shapes[graph.output][0]})."""',
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
