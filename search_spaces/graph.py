"""Networks as plain data: a directed acyclic graph of ops, with a canonical key. No torch.

Keys: nodes are coloured by what they are and by what stands before and behind them, refined until the partition is
stable, and ties are broken by trying each member of the first cell (McKay and Piperno 2014, section 2). So one node
used twice is never taken for two nodes with weights of their own, as hashing the unfolded tree would.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search_spaces.space import Value

INPUT, SKIP, NONE, SUM = "input", "skip", "none", "sum"
COMMUTATIVE = frozenset({SUM})  # ops whose inputs have no order


@dataclass(frozen=True)
class Node:
    """An op with its attributes, applied to the outputs of earlier nodes."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attrs: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def make(cls, name: str, op: str, inputs: Sequence[str] = (), **attrs: Value) -> "Node":
        """Return a node with its attributes in canonical order."""
        return cls(name, op, tuple(inputs), tuple(sorted(attrs.items())))


@dataclass(frozen=True)
class Graph:
    """Nodes, each after its inputs; the first is the input. ``output`` names the node whose value is returned."""

    nodes: tuple[Node, ...]
    output: str

    def __post_init__(self) -> None:
        known: set[str] = set()
        for node in self.nodes:
            if not node.name.isidentifier() or node.name in known:
                raise ValueError(
                    f"node {node.name!r}: names are identifiers, and each stands once; rename it"
                )
            for source in node.inputs:
                if source not in known:
                    raise ValueError(
                        f"node {node.name!r} reads {source!r}, which does not stand before it; reorder"
                    )
            known.add(node.name)
        if not self.nodes or self.nodes[0].op != INPUT:
            raise ValueError("a graph begins with a node of op 'input'; add one")
        if self.output not in known:
            raise ValueError(f"output {self.output!r} is no node; choose one of {sorted(known)}")

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def simplified(self) -> "Graph":
        """Return the graph that computes the same without dead nodes, skips, zeros in sums and sums of one."""
        alias: dict[str, str] = {}
        zero: set[str] = set()
        kept: list[Node] = []
        for node in self.nodes:
            inputs = tuple(alias.get(source, source) for source in node.inputs)
            if node.op == SUM:
                inputs = tuple(source for source in inputs if source not in zero) or inputs[:1]
            if node.op == SKIP or (node.op == SUM and len(inputs) == 1):
                alias[node.name] = inputs[0]
                continue
            if node.op == NONE:
                zero.add(node.name)
            kept.append(Node(node.name, node.op, inputs, node.attrs))
        output = alias.get(self.output, self.output)
        live = {output, self.nodes[0].name}
        for node in reversed(kept):
            if node.name in live:
                live.update(node.inputs)
        return Graph(tuple(node for node in kept if node.name in live), output)

    def key(self) -> str:
        """Hash that is equal for equal networks: names, dead nodes and the order of a sum's inputs do not count."""
        graph = self.simplified()
        return hashlib.sha256(_canonical(graph, _colours(graph)).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values that ``from_json`` reads."""
        nodes = [
            {"name": n.name, "op": n.op, "inputs": list(n.inputs), "attrs": dict(n.attrs)} for n in self.nodes
        ]
        return {"nodes": nodes, "output": self.output}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Graph":
        """Read what ``to_json`` wrote."""
        return cls(
            tuple(Node.make(n["name"], n["op"], n["inputs"], **n["attrs"]) for n in data["nodes"]),
            data["output"],
        )


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def _ordered(op: str, colours: list[str]) -> list[str]:
    return sorted(colours) if op in COMMUTATIVE else colours


def _colours(graph: Graph) -> dict[str, str]:
    start = {n.name: _digest((n.op, n.attrs, n.name == graph.output)) for n in graph.nodes}
    return _refine(graph, start)


def _refine(graph: Graph, colours: dict[str, str]) -> dict[str, str]:
    """Refine ``colours`` by those of inputs and consumers until no cell splits any more."""
    count = len(set(colours.values()))
    while True:
        consumers: dict[str, list[tuple[str, int]]] = {node.name: [] for node in graph.nodes}
        for node in graph.nodes:
            for place, source in enumerate(node.inputs):
                consumers[source].append((colours[node.name], 0 if node.op in COMMUTATIVE else place))
        colours = {
            n.name: _digest(
                (colours[n.name], _ordered(n.op, [colours[s] for s in n.inputs]), sorted(consumers[n.name]))
            )
            for n in graph.nodes
        }
        if len(set(colours.values())) == count:
            return colours
        count = len(set(colours.values()))


def _canonical(graph: Graph, colours: dict[str, str]) -> str:
    """Return the least text among those of all orders that agree with the colours."""
    cells: dict[str, list[Node]] = {}
    for node in graph.nodes:
        cells.setdefault(colours[node.name], []).append(node)
    tied = min((colour for colour, members in cells.items() if len(members) > 1), default=None)
    if tied is None:
        return _text(graph, colours)
    texts, tried = [], set()
    for node in cells[tied]:
        if (twins := _neighbours(graph, node)) in tried:
            continue  # same inputs, same consumers: exchanging the two is an automorphism
        tried.add(twins)
        texts.append(_canonical(graph, _refine(graph, {**colours, node.name: _digest((tied, "first"))})))
    return min(texts)


def _neighbours(graph: Graph, node: Node) -> tuple[object, ...]:
    inputs = tuple(_ordered(node.op, list(node.inputs)))
    consumers = tuple(
        (other.name, 0 if other.op in COMMUTATIVE else place)
        for other in graph.nodes
        for place, source in enumerate(other.inputs)
        if source == node.name
    )
    return inputs, consumers


def _text(graph: Graph, colours: dict[str, str]) -> str:
    order = sorted(graph.nodes, key=lambda node: colours[node.name])
    place = {node.name: i for i, node in enumerate(order)}
    rows = [
        (
            n.op,
            n.attrs,
            sorted(place[s] for s in n.inputs) if n.op in COMMUTATIVE else [place[s] for s in n.inputs],
        )
        for n in order
    ]
    return json.dumps([rows, place[graph.output]])
