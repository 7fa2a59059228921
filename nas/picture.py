"""A network as a picture: one box per node, from the images at the top to the classes at the bottom."""

import dataclasses
import io
from collections.abc import Mapping

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from search_spaces.graph import Graph, Node
from search_spaces.network import shapes_of
from search_spaces.op import Shape, op_of

WIDE, HIGH = 4.2, 0.34  # inches of a box
GAP = 0.2
SHADES = ("#eef3f8", "#d5e4f1", "#b3cfe6", "#8ab4d6", "#639ac6")  # by share of the parameters


def picture(graph: Graph, shape: Shape, title: str = "") -> bytes:
    """Return a PNG of ``graph`` for images of ``shape`` (C, H, W): ops, attributes, output shapes, parameters."""
    shapes = shapes_of(graph, shape)
    depth = _depths(graph)
    columns: dict[int, list[Node]] = {}
    for node in graph.nodes:
        columns.setdefault(depth[node.name], []).append(node)
    across, down = max(map(len, columns.values())), len(columns)
    figure = Figure(figsize=(across * (WIDE + GAP) + 1.2, down * (HIGH + GAP) + 0.5), dpi=90)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.6, across * (WIDE + GAP) + 0.6)
    axes.set_ylim(-0.1, down * (HIGH + GAP) + 0.4)
    costs = {
        node.name: op_of(node).parameters(*(shapes[source] for source in node.inputs)) if node.inputs else 0
        for node in graph.nodes
    }
    places: dict[str, tuple[float, float]] = {}
    for level, nodes in columns.items():
        for column, node in enumerate(nodes):
            x = (across - len(nodes)) / 2 * (WIDE + GAP) + column * (WIDE + GAP)
            places[node.name] = (x, (down - 1 - level) * (HIGH + GAP))
            _box(axes, places[node.name], _label(node, shapes[node.name], costs), _shade(node, costs))
    for node in graph.nodes:
        for source in node.inputs:
            _arrow(axes, places[source], places[node.name], depth[node.name] - depth[source])
    total = sum(costs.values())
    axes.text(0, down * (HIGH + GAP) + 0.1, title or f"{total:,} parameters", fontsize=9, weight="bold")
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _depths(graph: Graph) -> dict[str, int]:
    """Return the length of the longest path from the input to each node."""
    depths: dict[str, int] = {}
    for node in graph.nodes:
        depths[node.name] = max((depths[source] + 1 for source in node.inputs), default=0)
    return depths


def _label(node: Node, shape: Shape, costs: Mapping[str, int]) -> str:
    """Return the op with its shape and parameters, and below them the attributes that differ from their defaults."""
    usual = {field.name: field.default for field in dataclasses.fields(op_of(node))}
    attrs = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in node.attrs
        if value != usual[name]
    )
    cost = f"  {costs[node.name]:,} p" if costs[node.name] else ""
    return f"{node.op}  {'x'.join(map(str, shape))}{cost}" + (f"\n{attrs}" if attrs else "")


def _shade(node: Node, costs: Mapping[str, int]) -> str:
    share = costs[node.name] / max(sum(costs.values()), 1)
    return SHADES[min(int(share * 2 * len(SHADES)), len(SHADES) - 1)] if costs[node.name] else "#ffffff"


def _box(axes: object, place: tuple[float, float], label: str, shade: str) -> None:
    patch = FancyBboxPatch(
        place,
        WIDE,
        HIGH,
        boxstyle="round,pad=0.0,rounding_size=0.06",
        facecolor=shade,
        edgecolor="#456",
        lw=0.8,
    )
    axes.add_patch(patch)  # type: ignore[attr-defined]
    x, y = place[0] + WIDE / 2, place[1] + HIGH / 2
    axes.text(x, y, label, fontsize=6.5, ha="center", va="center")  # type: ignore[attr-defined]


def _arrow(axes: object, source: tuple[float, float], target: tuple[float, float], levels: int) -> None:
    """Straight to the next level, curved around what lies between."""
    if levels == 1:
        begin, end, bend = (source[0] + WIDE / 2, source[1]), (target[0] + WIDE / 2, target[1] + HIGH), 0.0
    else:
        begin, end = (source[0] + WIDE, source[1] + HIGH / 2), (target[0] + WIDE, target[1] + HIGH / 2)
        bend = -0.35
    axes.add_patch(  # type: ignore[attr-defined]
        FancyArrowPatch(
            begin,
            end,
            arrowstyle="-|>",
            mutation_scale=7,
            lw=0.8,
            color="#456",
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
        )
    )
