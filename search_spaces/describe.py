"""What a network is like, as features for surrogates: size, depth, live ops, paths and neighbourhoods. No torch.

Paths follow White et al. 2021 (BANANAS, section 3.1), neighbourhoods the Weisfeiler-Lehman kernel of Ru et al. 2021
(NAS-BOWL, section 3.1). Both leave widths out: those show in the counts of ops, in parameters and in MACs. Rates of
dropping, being continuous, are in no label. A path is taken between two nodes through which all paths run, so that
twenty residual blocks in a row are twenty pairs of short paths and not a million long ones.
"""

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.canonical import cuts
from search_spaces.graph import INPUT, RATES, SUM, Graph, Node

WIDTHS = frozenset({"filters", "units"}) | RATES
ROUNDS = 2  # of Weisfeiler-Lehman beyond the ops themselves
NUMBERS = ("log_parameters", "log_macs", "depth", "log_paths")
MOST = 64  # different paths kept at a node: the most frequent ones


@dataclass(frozen=True)
class Description:
    """Features of one network.

    ``log_paths`` is the logarithm of the number of paths from input to output, ``depth`` the most ops on one of them
    (sums are none). ``counts`` maps labels to how often they occur: ``op:`` a live op with its attributes, ``path:``
    the ops along a path, ``wl1:`` and ``wl2:`` an op with what is one and two steps away.
    """

    log_parameters: float
    log_macs: float
    depth: int
    log_paths: float
    counts: Mapping[str, int]

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """The dense features: log_parameters, log_macs, depth, log_paths."""
        return self.log_parameters, self.log_macs, float(self.depth), self.log_paths

    @property
    def features(self) -> dict[str, float]:
        """The numbers by name, and the counts: what a surrogate learns from."""
        return {**dict(zip(NUMBERS, self.numbers, strict=True)), **self.counts}

    def vector(self, width: int) -> np.ndarray:
        """Return ``(4 + width,)`` float64: the numbers, then the counts by signed hashing (Weinberger et al. 2009)."""
        row = np.zeros(4 + width)
        row[:4] = self.numbers
        for label, count in self.counts.items():
            code = zlib.crc32(label.encode())
            row[4 + (code >> 1) % width] += count if code & 1 else -count
        return row


def describe(graph: Graph, parameters: int, macs: int) -> Description:
    """Return the features of ``graph``, which has so many parameters and multiply-accumulates."""
    graph = graph.simplified()
    place = {node.name: at for at, node in enumerate(graph.nodes)}
    reads = [[place[source] for source in node.inputs] for node in graph.nodes]
    labels = [_label(node) for node in graph.nodes]
    depths, ways = [0], [1]
    for node, sources in zip(graph.nodes[1:], reads[1:], strict=True):
        depths.append(max([depths[source] for source in sources], default=0) + (node.op != SUM))
        ways.append(sum([ways[source] for source in sources]))
    counts = Counter([f"op:{_text(node, RATES)}" for node in graph.nodes if node.op != INPUT])
    counts.update(_paths(labels, reads))
    counts.update(_neighbourhoods(labels, reads))
    return Description(
        math.log1p(parameters), math.log1p(macs), depths[-1], math.log(max(ways[-1], 1)), counts
    )


def _text(node: Node, without: frozenset[str]) -> str:
    texts = [f"{name}={value}" for name, value in node.attrs if name not in without]
    return f"{node.op}({','.join(texts)})" if texts else node.op


def _label(node: Node) -> str:
    """Return the op without its widths; nothing for what only joins."""
    return "" if node.op in (INPUT, SUM) else _text(node, WIDTHS)


def _paths(labels: Sequence[str], reads: Sequence[Sequence[int]]) -> Counter[str]:
    """Count the paths between nodes that all paths share; what stands in a row is one path."""
    found: Counter[str] = Counter()
    row: list[str] = []
    base = 0
    for cut in cuts([[(source, 0) for source in sources] for sources in reads]):
        if reads[cut] == [cut - 1]:
            row.append(labels[cut])
        else:
            found.update(_between(labels, reads, base, cut))
            if row:
                found["path:" + ">".join(row)] += 1
            row = []
        base = cut
    if row:
        found["path:" + ">".join(row)] += 1
    return found


def _between(labels: Sequence[str], reads: Sequence[Sequence[int]], base: int, cut: int) -> Counter[str]:
    """Count the paths from ``base`` to ``cut`` by their labels; a path without ops is ``path:``."""
    ends: dict[int, dict[str, int]] = {base: {"": 1}}
    for node in range(base + 1, cut + 1):
        own: dict[str, int] = {}
        for source in reads[node]:
            for path, count in ends[source].items():
                longer = f"{path}>{labels[node]}" if path and labels[node] else path or labels[node]
                own[longer] = own.get(longer, 0) + count
        if len(own) > MOST:
            own = dict(sorted(own.items(), key=lambda item: (-item[1], item[0]))[:MOST])
        ends[node] = own
    return Counter({"path:" + path: count for path, count in ends[cut].items()})


def _neighbourhoods(labels: Sequence[str], reads: Sequence[Sequence[int]]) -> Counter[str]:
    """Count the labels of rounds 1 to ROUNDS: each hashes a node's last one with those of sources and readers."""
    readers: list[list[int]] = [[] for _ in labels]
    for node, sources in enumerate(reads):
        for source in sources:
            readers[source].append(node)
    codes = [zlib.crc32(label.encode()) for label in labels]
    hashes: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {}
    found: Counter[str] = Counter()
    for number in range(1, ROUNDS + 1):
        around = [
            (code, tuple(sorted([codes[i] for i in sources])), tuple(sorted([codes[i] for i in after])))
            for code, sources, after in zip(codes, reads, readers, strict=True)
        ]
        for one in around:
            if one not in hashes:
                hashes[one] = zlib.crc32(repr(one).encode())
        codes = [hashes[one] for one in around]
        found.update({f"wl{number}:{code:08x}": count for code, count in Counter(codes).items()})
    return found
