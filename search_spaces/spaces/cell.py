"""Cells: one small searched graph, repeated over stages of doubling width.

A cell has nodes 0 (its input) to n - 1 (its output). Each node adds up the edges that come from earlier ones, and each
edge is an op of its own, "none" and "skip" among them: so the topology is searched. A cell whose edges lead nowhere
hands its input on. What the cell is repeated in is searched too, or fixed: ``Cell.nas_bench_201`` is the space of Dong
and Yang 2020 (section 2), with its 15,625 cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from search_spaces.architecture import Architecture, spaces
from search_spaces.graph import Graph, Node
from search_spaces.listing import listing
from search_spaces.space import Choice, Configuration, Float, Int, Parameter, Space, Value
from search_spaces.spaces.stem import most_stages, stem_halvings

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "separable3x3", "average3x3", "max3x3")
NAS_BENCH_201 = ("none", "skip", "conv1x1", "conv3x3", "average3x3")  # in the order of the benchmark
REDUCTIONS = ("residual", "conv", "max-pool", "average-pool")
WIDTHS = (8, 16, 24, 32, 48, 64)


@dataclass(frozen=True)
class Skeleton:
    """What a cell is repeated in.

    ``cells`` of them per stage; ``width`` filters in the first stage, twice as many in each next one, at half the
    side; ``reduction`` is what stands between stages; ``dropout`` is the rate before the classifier.
    """

    width: int
    cells: int
    stages: int
    reduction: str
    dropout: float


@spaces.register("cell")
class Cell(Architecture):
    """A repeated cell of ``nodes`` nodes with one of ``operations`` on each edge; a given ``skeleton`` is fixed."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        nodes: int = 4,
        operations: tuple[str, ...] = OPERATIONS,
        skeleton: Skeleton | None = None,
    ) -> None:
        super().__init__(shape, classes)
        if nodes < 2:
            raise ValueError(f"nodes={nodes}: a cell has at least its input and its output; give 2 or more")
        self.nodes, self.operations, self.skeleton = nodes, operations, skeleton

    @classmethod
    def nas_bench_201(cls, shape: tuple[int, int, int], classes: int) -> "Cell":
        """Return the space of NAS-Bench-201: three stages of five cells, 16 filters, residual reductions.

        There a cell whose edges lead nowhere is zero, as in the benchmark.
        """
        skeleton = Skeleton(width=16, cells=5, stages=3, reduction="residual", dropout=0.0)
        return cls(shape, classes, operations=NAS_BENCH_201, skeleton=skeleton)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges (from, to) of a cell, in the order of NAS-Bench-201."""
        return tuple((a, b) for b in range(1, self.nodes) for a in range(b))

    @cached_property
    def space(self) -> Space:
        """The op of each edge; width, cells, stages, reduction and dropout, unless they are fixed."""
        last = self.nodes - 1
        block = {(0, 1): "conv3x3", (1, last): "conv3x3", (0, last): "skip"}  # a residual block
        edges: dict[str, Parameter | Space] = {
            f"edge{a}_{b}": Choice(self.operations, default=block.get((a, b), "none")) for a, b in self.edges
        }
        if self.skeleton is not None:
            return Space(**edges)  # type: ignore[arg-type]
        most = most_stages(min(self.shape[1:]))
        return Space(
            **edges,  # type: ignore[arg-type]
            width=Choice(WIDTHS, ordered=True, default=16),
            cells=Int(1, 4, default=2),
            stages=Int(max(1, most - 2), most, default=min(most, 3)),
            reduction=Choice(REDUCTIONS),
            dropout=Float(0.0, 0.5, default=0.1),
        )

    def decode(self, config: Configuration, shape: tuple[int, int, int]) -> Graph:
        skeleton = self.skeleton or _searched(config)
        choices: Mapping[str, Value] = config
        if self.skeleton is None and not _connected(config, self.edges):
            choices = {**config, f"edge0_{self.nodes - 1}": "skip"}
        halvings = stem_halvings(min(self.shape[1:]))
        nodes = [Node.make("image", "input"), *_stem(skeleton.width, halvings)]
        for stage in range(skeleton.stages):
            filters = skeleton.width << stage
            if stage:
                even = all(-(-side >> halvings + stage - 1) % 2 == 0 for side in shape[1:])
                nodes += _reduction(f"reduce{stage}", nodes[-1].name, filters, skeleton.reduction, even)
            for cell in range(1, skeleton.cells + 1):
                name = f"cell{stage * skeleton.cells + cell}"
                nodes += cell_nodes(name, nodes[-1].name, choices, self.edges, filters)
        return self._headed(nodes, skeleton.dropout)

    def _headed(self, nodes: list[Node], dropout: float) -> Graph:
        nodes = [
            *nodes,
            Node.make("norm", "norm", [nodes[-1].name]),
            Node.make("relu", "activation", ["norm"], kind="relu"),
            Node.make("pool", "global-pool", ["relu"]),
        ]
        if dropout:
            nodes.append(Node.make("dropout", "dropout", ["pool"], rate=dropout))
        nodes.append(Node.make("classifier", "linear", [nodes[-1].name], units=self.classes))
        return Graph(tuple(nodes), "classifier")


def _searched(config: Configuration) -> Skeleton:
    names = ("width", "cells", "stages", "reduction", "dropout")
    return Skeleton(**{name: config[name] for name in names})  # type: ignore[arg-type]


def _connected(config: Mapping[str, Value], edges: tuple[tuple[int, int], ...]) -> bool:
    reached = {0}
    for a, b in edges:
        if a in reached and config[f"edge{a}_{b}"] != "none":
            reached.add(b)
    return edges[-1][1] in reached


def _conv(name: str, source: str, filters: int, kernel: int, stride: int = 1) -> Node:
    return Node.make(name, "conv", [source], filters=filters, kernel=kernel, stride=stride, activation="none")


def _relu_conv(name: str, source: str, filters: int, kernel: int, stride: int = 1) -> list[Node]:
    relu = Node.make(f"{name}_relu", "activation", [source], kind="relu")
    return [relu, _conv(name, relu.name, filters, kernel, stride)]


def _stem(width: int, halvings: int) -> list[Node]:
    if not halvings:
        return [_conv("stem", "image", width, 3)]
    nodes = [_conv("stem1", "image", width, 5, stride=2)]
    for number in range(2, halvings + 1):
        nodes += _relu_conv(f"stem{number}", nodes[-1].name, width, 3, stride=2)
    return nodes


def _reduction(name: str, source: str, filters: int, kind: str, even: bool) -> list[Node]:
    """Return what halves the side, odd ones upwards, and widens to ``filters``; its last node is called ``name``.

    A residual one is NAS-Bench-201's; its 2x2 mean takes ``even`` sides, and is a padded 3x3 one on odd sides.
    """
    if kind == "conv":
        return _relu_conv(name, source, filters, 3, stride=2)
    if kind != "residual":
        pooled = Node.make(f"{name}_pool", kind, [source], kernel=3, stride=2, padding=1)
        return [pooled, _conv(name, pooled.name, filters, 1)]
    size = {"kernel": 2} if even else {"kernel": 3, "padding": 1}
    return [
        *_relu_conv(f"{name}_conv1", source, filters, 3, stride=2),
        *_relu_conv(f"{name}_conv2", f"{name}_conv1", filters, 3),
        Node.make(f"{name}_pool", "average-pool", [source], stride=2, **size),
        Node.make(f"{name}_shortcut", "projection", [f"{name}_pool"], filters=filters),
        Node.make(name, "sum", [f"{name}_shortcut", f"{name}_conv2"]),
    ]


def cell_nodes(
    name: str, source: str, config: Mapping[str, Value], edges: tuple[tuple[int, int], ...], filters: int
) -> list[Node]:
    """Return the nodes of one cell that reads ``source``, called ``name_...``; the last one is its output."""
    nodes: list[Node] = []
    for node in range(1, edges[-1][1] + 1):
        inputs = [source, *(f"{name}_node{earlier}" for earlier in range(1, node))]
        for a, read in enumerate(inputs):
            nodes += _edge(f"{name}_edge{a}_{node}", read, str(config[f"edge{a}_{node}"]), filters)
        nodes.append(Node.make(f"{name}_node{node}", "sum", [f"{name}_edge{a}_{node}" for a in range(node)]))
    return nodes


def _edge(name: str, source: str, operation: str, filters: int) -> list[Node]:
    if operation in ("none", "skip"):
        return [Node.make(name, operation, [source])]
    if operation in ("conv1x1", "conv3x3"):
        return _relu_conv(name, source, filters, int(operation[-1]))
    if operation == "separable3x3":
        relu = Node.make(f"{name}_relu", "activation", [source], kind="relu")
        return [relu, Node.make(name, "separable", [relu.name], filters=filters, activation="none")]
    kind = {"average3x3": "average-pool", "max3x3": "max-pool"}[operation]
    return [Node.make(name, kind, [source], kernel=3, stride=1, padding=1)]


if __name__ == "__main__":
    print(listing(Cell))
