"""Networks as plain data: a directed acyclic graph of ops, with a canonical key. No torch.

Two graphs are one network when they compute the same with the same weights, as far as that can be told without
knowing the ops: names, skips and the order and nesting of sums do not count, nor does what stands on no path from the
images to the output. Such parts are never built: a convolution that only zeros reach would add a constant at most.
A node used twice is never taken for two nodes with weights of their own, as hashing the unfolded tree would. A block is
one node with its attributes: its body written out (``search_spaces.block.expanded``) has another key.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search_spaces.canonical import Links, canonical
from search_spaces.space import Value

INPUT, SKIP, NONE, SUM = "input", "skip", "none", "sum"
RATES = frozenset({"rate", "drop"})  # attributes that are rates of leaving out, in [0, 1)


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

    @cached_property
    def label(self) -> str:
        """What the node does, as text: typed (True is not 1), and the same on every machine."""
        return ascii((self.op, self.attrs))


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
        """Return the graph that computes the same without skips, sums of one, and what is on no path to the output.

        What only zeros reach is zero, and zeros leave the sums they stand in. Those that an op of several inputs reads
        stay, since they give it a shape; so does a whole graph that no image passes.
        """
        return self._simplified[0]

    @cached_property
    def _simplified(self) -> tuple["Graph", bool]:
        """The simplified graph, and whether the images reach its output."""
        alias: dict[str, str] = {}
        zero: set[str] = set()
        kept: list[Node] = []
        for node in self.nodes:
            inputs = tuple([alias.get(source, source) for source in node.inputs])
            if node.op == NONE or (inputs and zero.issuperset(inputs)):
                zero.add(node.name)
            elif node.op == SUM:
                inputs = tuple([source for source in inputs if source not in zero])
            if node.op == SKIP or (node.op == SUM and len(inputs) == 1):
                alias[node.name] = inputs[0]
            else:
                kept.append(node if inputs == node.inputs else Node(node.name, node.op, inputs, node.attrs))
        output = alias.get(self.output, self.output)
        live = {output, self.nodes[0].name}
        for node in reversed(kept):
            if node.name in live:
                live.update(node.inputs)
        nodes = tuple([node for node in kept if node.name in live])
        return (self if nodes == self.nodes else Graph(nodes, output)), output not in zero

    @property
    def reached(self) -> bool:
        """Whether the images reach the output: else it is a constant."""
        return self._simplified[1]

    def key(self) -> str:
        """Hash that is equal for equal networks: sixteen hexadecimal digits, the same on every machine.

        Blocks are not looked into: one never equals its body.
        """
        return self._key

    @cached_property
    def _key(self) -> str:
        graph, reached = self._simplified
        text = canonical(*rows(graph)[:2]) if reached else NONE
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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


def rows(graph: Graph) -> tuple[list[str], list[Links], list[Node | None]]:
    """Return labels, links to what each reads, and nodes: sums of sums are one sum, and equal sums are one row.

    A link's mark is the input's place, or for a sum how often it is added. A sum has None for its node.
    """
    labels: list[str] = []
    edges: list[Links] = []
    nodes: list[Node | None] = []
    place: dict[str, int] = {}  # row of a node that is no sum
    added: dict[str, Counter[int]] = {}  # of a sum: how often each row is added
    sums: dict[Links, int] = {}

    def row(label: str, links: Links, node: Node | None = None) -> int:
        labels.append(label)
        edges.append(links)
        nodes.append(node)
        return len(labels) - 1

    def read(name: str) -> int:
        if name in place:
            return place[name]
        links = tuple(sorted(added[name].items()))
        if links not in sums:
            sums[links] = row(SUM, links)
        return sums[links]

    for node in graph.nodes:
        if node.op == SUM:
            added[node.name] = Counter()
            for source in node.inputs:
                added[node.name].update(added[source] if source in added else (place[source],))
        else:
            links = tuple([(read(source), at) for at, source in enumerate(node.inputs)])
            place[node.name] = row(node.label, links, node)
    read(graph.output)
    return labels, edges, nodes
