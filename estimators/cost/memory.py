"""The peak of memory that training a design needs, predicted from its ops before anything is trained.

The forward pass is played through node by node, then the backward pass in reverse: what autograd keeps, the values that
a later node still needs, gradients under way, gradients of weights as they come, and what an op needs while it runs
(``estimators.cost.liveness``). Beside that there are the optimizer's and the average's tensors, the copy that a stop
falls back to, the batch, and a validation batch without gradients. What torch allocates is met to a few per cent in
float32 (``tests/test_memory.py``); what stays resident on a CPU is more by a measured factor, far less certain.

Notation
    n       images in a batch, or in a piece of one
    root    the node whose value's memory a node shares: itself, unless its op only looks at its input in another way
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

import torch
from rich.filesize import decimal

from estimators.cost.liveness import Held, held, held_by
from search_spaces.block import expanded, walk
from search_spaces.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.architecture import Design
    from search_spaces.graph import Graph
    from search_spaces.op import Shape

SCORED = 128  # images of a validation batch that is not cut: more would need more than training does
# resident over allocated, median of 8 designs of four spaces (1.2 to 4.6): glibc 2.36 fills no hole that an aligned
# block left with a block of the same size (two cores of an AMD EPYC, torch 2.13)
FRAGMENTED = 2.7
LOW, HIGH = 0.5, 2.0  # measured over predicted, 5th and 95th percentile of 100 designs (`experiments/memory`)
KEPT = 1 << 10  # opaque networks whose needs are remembered
IMAGES = 9  # bytes of a batch for each value of an image: uint8, and float32 before and after mixing


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of training, beside the process and the data set: by part, ``total``, and an interval.

    weights      parameters and buffers             gradients   of parameters
    optimizer    moments                            average     of weights, where the recipe has one
    copy         of all these but gradients, which a stop falls back to
    batch        images, standardised and mixed     activations what a piece holds at its peak, or a validation batch
    fragments    what a CPU's allocator holds besides, of blocks that come and go
    """

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """The most probable peak."""
        return sum(self.parts.values())

    @property
    def low(self) -> float:
        """What hardly any design stays under."""
        return LOW * self.total

    @property
    def high(self) -> float:
        """What hardly any design exceeds."""
        return HIGH * self.total


@dataclass(frozen=True)
class Node:
    """A node at work: what its op holds, the places of its inputs (-1: the images), the bytes of its weights."""

    held: Held
    inputs: tuple[int, ...]
    weights: float


def predict_memory(
    design: "Design", *, dtype: torch.dtype = torch.float32, device: str = "cpu", pieces: int = 1
) -> Memory:
    """Return the peak of training ``design`` with its recipe when the forward pass runs in ``dtype``.

    Each batch is taken in ``pieces``. ``device`` is a type, "cpu" or "cuda": resident memory, or allocated. An opaque
    design is run once on two images; others take some ms the first time, by arithmetic on ops that were run on two
    images, and less later.
    """
    recipe = Recipe.parse(design.recipe)
    training, scoring = _nodes(design, dtype), _nodes(design, torch.float32)
    n = math.ceil(recipe.batch_size / pieces)
    parameters, values = 4.0 * design.parameters, design.measure()["size"]
    state = values + recipe.moments * parameters + (values if recipe.ema else 0.0)
    step, gradients = _peak_of_step(training, n)
    images = scored_at_once(pieces)
    scored = _peak_of_scoring(scoring, images) + (4 + 4) * images * prod(design.shape)
    batch = float(IMAGES * recipe.batch_size * prod(design.shape))
    passing = {
        "gradients": parameters if pieces > 1 else gradients,
        "batch": batch,
        "activations": max(step, scored - batch),
    }
    return Memory(
        {
            "weights": values,
            "optimizer": recipe.moments * parameters,
            "average": values if recipe.ema else 0.0,
            "copy": state,
            **passing,
            "fragments": (FRAGMENTED - 1) * sum(passing.values()) if device == "cpu" else 0.0,
        }
    )


def scored_at_once(pieces: int) -> int:
    """Return the images of a validation batch where training batches are cut into ``pieces``: it is cut as well."""
    return max(SCORED // pieces, 1)


def pieces_within(design: "Design", limit: float, *, dtype: torch.dtype = torch.float32) -> int:
    """Return into how many pieces a batch is cut so that training keeps below ``limit`` bytes: a power of two.

    It depends on the design and ``limit`` alone: batch norm sees the pieces. One is enough unless the low end of the
    prediction is beyond the limit; then the prediction itself has to fit. A ``MemoryError`` says that not even
    pieces of two images do, of which batch norm needs as many.
    """
    whole = predict_memory(design, dtype=dtype)
    if whole.low <= limit:
        return 1
    pieces, found = 1, whole
    while 4 * pieces <= Recipe.parse(design.recipe).batch_size:
        pieces *= 2
        found = predict_memory(design, dtype=dtype, pieces=pieces)
        if found.total <= limit:
            return pieces
    raise MemoryError(
        f"predicted {_units(whole.total)}, cut into {pieces} pieces {_units(found.total)}, limit {_units(limit)}; "
        f"search smaller designs by a constraint such as 'memory<={limit:.1g}'"
    )


def _units(count: float) -> str:
    return decimal(round(count))


def _nodes(design: "Design", dtype: torch.dtype) -> tuple[Node, ...]:
    if design.graph is not None:
        return _of_graph(design.graph, design.shape, dtype)
    return (_of_whole(design, dtype),)


@lru_cache(maxsize=1 << 10)
def _of_graph(graph: "Graph", shape: "Shape", dtype: torch.dtype) -> tuple[Node, ...]:
    graph = expanded(graph.simplified(), shape)
    places = {graph.nodes[0].name: -1}
    dtypes, nodes = {graph.nodes[0].name: torch.float32}, list[Node]()
    for node, op, shapes, _ in walk(graph, shape):
        kept = held_by(op, shapes, tuple(dtypes[source] for source in node.inputs), dtype)
        places[node.name], dtypes[node.name] = len(nodes), kept.dtype
        nodes.append(
            Node(kept, tuple(places[source] for source in node.inputs), 4.0 * op.parameters(*shapes))
        )
    return tuple(nodes)


# (id of the function, architecture, shape, type) -> the function, kept so that its id stays its own, and what was seen
_wholes: dict[tuple[int, str, "Shape", torch.dtype], tuple[object, Node]] = {}


def _of_whole(design: "Design", dtype: torch.dtype) -> Node:
    """Return an opaque design as one node; it is run once for each architecture, whatever the recipe."""
    key = id(design.build), design.config.part("architecture").id, design.shape, dtype
    if key not in _wholes:
        network = design.network(0)
        with torch.random.fork_rng(devices=[]):
            kept = held(network, network, [design.shape], [torch.float32], dtype)
        _wholes[key] = design.build, Node(kept, (-1,), 4.0 * design.parameters)
        if len(_wholes) > KEPT:
            del _wholes[next(iter(_wholes))]
    return _wholes[key][1]


def _roots(nodes: tuple[Node, ...]) -> list[int]:
    roots: list[int] = []
    for at, node in enumerate(nodes):
        alias = node.held.alias
        source = at if alias is None else node.inputs[alias]
        roots.append(source if source in (at, -1) else roots[source])
    return roots


def _last_uses(nodes: tuple[Node, ...], roots: list[int]) -> dict[int, int]:
    """Return the last node that reads each value, by root."""
    last = {root: at for at, root in enumerate(roots)}
    for at, node in enumerate(nodes):
        last |= {roots[source]: at for source in node.inputs if source >= 0}
    last[roots[-1]] = len(nodes)
    return last


def _peak_of_scoring(nodes: tuple[Node, ...], n: int) -> float:
    """Return the most bytes that a forward pass of ``n`` images holds without gradients."""
    roots, live, peak = _roots(nodes), dict[int, float](), 0.0
    last = _last_uses(nodes, roots)
    for at, node in enumerate(nodes):
        one = node.held
        working = max(
            one.ahead[1] - one.inside[1], min(one.ahead[1], 2 * one.size)
        )  # a layer's input and output
        peak = max(peak, sum(live.values()) + n * working)
        if roots[at] == at:
            live[at] = n * one.size
        live = {root: size for root, size in live.items() if last[root] > at}
    return peak


def _peak_of_step(nodes: tuple[Node, ...], n: int) -> tuple[float, float]:
    """Return the most bytes held in a step of ``n`` images, split into activations and gradients of weights."""
    roots = _roots(nodes)
    saved, ahead = _forward(nodes, roots, n)
    inside = [node.held.inside[0] + n * node.held.inside[1] for node in nodes]
    kept = sum(inside) + sum(saved.values())
    pending = {roots[-1]: n * nodes[-1].held.size}
    weights, best = 0.0, (ahead, 0.0)
    for at in reversed(range(len(nodes))):
        node, root = nodes[at], roots[at]
        fixed, each = node.held.back
        held_now = kept + sum(pending.values()) + n * each + max(fixed - node.weights, 0.0)
        weights += node.weights
        if held_now + weights > sum(best):
            best = held_now, weights
        kept -= inside[at]
        if root == at:
            kept -= saved.pop(at, 0.0)
            gradient = pending.pop(at, 0.0)
            _hand_on(node, nodes, roots, pending, gradient, n)
    return best


def _hand_on(
    node: Node, nodes: tuple[Node, ...], roots: list[int], pending: dict[int, float], gradient: float, n: int
) -> None:
    """Add the gradients of the inputs of ``node``; those that are ``gradient`` itself live as long as the last."""
    sources = [roots[source] if source >= 0 else -1 for source in node.inputs]
    shared = [root for root, passed in zip(sources, node.held.passed, strict=True) if passed and root >= 0]
    for root, passed in zip(sources, node.held.passed, strict=True):
        if root >= 0 and not passed:
            pending[root] = n * nodes[root].held.size
    for root in shared:
        pending.setdefault(root, 0.0)
    if shared:
        pending[min(shared)] = max(pending[min(shared)], gradient)


def _forward(nodes: tuple[Node, ...], roots: list[int], n: int) -> tuple[dict[int, float], float]:
    """Return the values that autograd keeps, by root, and the most bytes that the forward pass holds."""
    last, wanted = _last_uses(nodes, roots), set[int]()
    for at, node in enumerate(nodes):
        if node.held.output:
            wanted.add(roots[at])
        wanted |= {roots[s] for s, kept in zip(node.inputs, node.held.inputs, strict=True) if kept and s >= 0}
    live, inside, peak = dict[int, float](), 0.0, 0.0
    for at, node in enumerate(nodes):
        one = node.held
        peak = max(peak, sum(live.values()) + inside + one.ahead[0] + n * one.ahead[1])
        inside += one.inside[0] + n * one.inside[1]
        if roots[at] == at:
            live[at] = n * one.size
        live = {root: size for root, size in live.items() if last[root] > at or root in wanted}
    return {root: size for root, size in live.items() if root in wanted}, peak
