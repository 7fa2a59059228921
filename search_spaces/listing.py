"""A network as text, one line per node; ``python -m search_spaces.spaces.NAME`` prints a sampled one."""

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.block import walk
from search_spaces.graph import Graph
from search_spaces.op import Shape


def lines(graph: Graph, shape: Shape) -> list[str]:
    """Return a line per node of ``graph`` for images of ``shape``: parameters, MACs, output shape, op."""
    return [
        f"{node.name:16} {op.parameters(*inputs):9,} params {op.macs(*inputs):12,} MACs  "
        f"{'x'.join(map(str, out)):12} {op}"
        for node, op, inputs, out in walk(graph, shape)
    ]


def listing(family: type[Architecture], shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> str:
    """Return the text of a network drawn from ``family``."""
    one = family(shape, classes)
    return "\n".join(lines(one.decode(one.space.sample(np.random.default_rng()), shape), shape))
