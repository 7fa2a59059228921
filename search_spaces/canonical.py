"""Canonical text of a labelled directed acyclic graph: equal for isomorphic graphs, and only for them. Plain data.

Nodes stand in topological order, the first is the source and the last the sink. The graph is cut at the nodes through
which every path runs; each block between two of them has a text of its own. Within a block nodes are coloured by
sweeps from either end until no colour splits; ties are broken by trying the members of one cell in turn, save those
that a known automorphism shows to be alike (McKay and Piperno 2014, sections 2.1 and 2.3).

Notation
    n        nodes of a block, its source counted
    link     (node, mark): an edge to or from ``node``; ``mark`` is an input's place, or how often it is summed
    colour   integer below n, equal for nodes that nothing has told apart yet; its order is canonical
    level    nodes of equal distance, along the longest path, from the source or from the sink
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

Links = tuple[tuple[int, int], ...]
Labels = tuple[str, ...]

KEPT = 4096  # texts of blocks kept: networks of one search share most of theirs


def canonical(labels: Sequence[str], edges: Sequence[Links]) -> str:
    """Return the text of the graph of ``labels`` whose node i reads ``edges[i]``, all of them from earlier nodes."""
    texts = [labels[0]]
    for _, own_labels, own_edges in _parts(labels, edges):
        if len(own_labels) == 2:
            texts.append(ascii((own_labels[1], sorted(own_edges[1]))))
        else:
            texts.append(least(own_labels, own_edges)[0])
    return "\n".join(texts)


def canonical_order(labels: Sequence[str], edges: Sequence[Links]) -> list[int]:
    """Return the nodes of the same graph in an order that is equal for isomorphic graphs, sources first.

    Nodes that an automorphism exchanges may stand in either order.
    """
    order = [0]
    for base, own_labels, own_edges in _parts(labels, edges):
        depth = [0] * len(own_labels)
        for node, links in enumerate(own_edges):
            depth[node] = max((depth[source] + 1 for source, _ in links), default=0)
        ranked = [node for node in least(own_labels, own_edges)[1] if node]
        order += [base + node for node in sorted(ranked, key=depth.__getitem__)]
    return order


def _parts(labels: Sequence[str], edges: Sequence[Links]) -> Iterator[tuple[int, Labels, tuple[Links, ...]]]:
    """Yield each block: the number of its source, its labels, of which the source's is empty, and its edges."""
    base = 0
    for cut in cuts(edges):
        own = tuple(
            tuple((source - base, mark) for source, mark in edges[i]) for i in range(base + 1, cut + 1)
        )
        yield base, ("", *labels[base + 1 : cut + 1]), ((), *own)
        base = cut


def cuts(edges: Sequence[Sequence[tuple[int, int]]]) -> list[int]:
    """Return the nodes after the first that no edge spans: every path from source to sink runs through them."""
    last = list(range(len(edges)))  # the last reader of each node
    for node, links in enumerate(edges):
        for source, _ in links:
            last[source] = node
    cuts, reach = [], 0
    for node, reader in enumerate(last):
        if node and reach <= node:
            cuts.append(node)
        reach = max(reach, reader)
    return cuts


@lru_cache(maxsize=KEPT)
def least(labels: Labels, edges: tuple[Links, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the text of one block and the order of its nodes: from its source, whose label is empty, to its sink."""
    return _Block(labels, edges).least()


class _Block:
    """The search for the least text of one block."""

    def __init__(self, labels: Labels, edges: tuple[Links, ...]) -> None:
        self.labels, self.into = labels, edges
        self.out: list[list[tuple[int, int]]] = [[] for _ in labels]
        for node, links in enumerate(edges):
            for source, mark in links:
                self.out[source].append((node, mark))
        count = len(labels)
        self.down = _levels(edges, range(count))
        self.up = _levels(self.out, range(count - 1, -1, -1))
        self.leaves: dict[str, tuple[tuple[int, ...], list[int]]] = {}  # text -> nodes tried, colours
        self.automorphisms: list[list[int]] = []

    def least(self) -> tuple[str, tuple[int, ...]]:
        """Return the least text of all orders of the nodes that agree with the colours, and its order."""
        ranks = {label: rank for rank, label in enumerate(sorted(set(self.labels)))}
        self._search([ranks[label] for label in self.labels], ())
        text = min(self.leaves)
        return text, tuple(self.leaves[text][1])

    def _refine(self, colours: list[int]) -> list[int]:
        """Split colours by those of sources and of readers until no colour splits any more."""
        before = 0
        while True:
            colours = _sweep(self.down, self.into, colours)
            colours = _sweep(self.up, self.out, colours)
            count = max(colours) + 1
            if count in (before, len(colours)):
                return colours
            before = count

    def _without_copies(self, colours: list[int]) -> list[int]:
        """Tell copies of a branch apart, in any order: to exchange two is an automorphism.

        A branch is a connected set of tied nodes, each of another colour: since colours no longer split, one that
        shares a colour with it is its copy. Twins (nodes of equal sources and readers) are branches of one node.
        """
        cells = Counter(colours)
        split = [colour * len(colours) for colour in colours]
        met: set[int] = set()
        for number, first in enumerate(colours):
            if number in met or cells[first] == 1:
                continue
            branch = {number}
            fresh = [number]
            while fresh:
                node = fresh.pop()
                for other, _ in (*self.into[node], *self.out[node]):
                    if cells[colours[other]] > 1 and other not in branch:
                        branch.add(other)
                        fresh.append(other)
            met |= branch
            if len({colours[node] for node in branch}) == len(branch):
                for node in branch:
                    split[node] += number
        return split

    def _search(self, colours: list[int], tried: tuple[int, ...]) -> int:
        """Visit the orders below ``tried``, the nodes told apart by choice; return the depth to go on from."""
        colours = self._refine(colours)
        if max(colours) + 1 < len(colours):
            colours = self._refine(self._without_copies(colours))
        cells: dict[int, list[int]] = {}
        for node, colour in enumerate(colours):
            cells.setdefault(colour, []).append(node)
        cell = next((cells[colour] for colour in range(len(cells)) if len(cells[colour]) > 1), None)
        if cell is None:
            return self._leaf(colours, tried)
        visited: list[int] = []
        for node in cell:
            if visited and self._alike(node, visited, tried):
                continue
            apart = [2 * colour for colour in colours]
            apart[node] -= 1
            depth = self._search(apart, (*tried, node))
            if depth < len(tried):
                return depth
            visited.append(node)
        return len(tried)

    def _leaf(self, colours: list[int], tried: tuple[int, ...]) -> int:
        """Keep the text of a full order. One met before gives an automorphism, and the branch it closes is left."""
        order = sorted(range(len(colours)), key=colours.__getitem__)
        rows = [
            (self.labels[node], sorted((colours[source], mark) for source, mark in self.into[node]))
            for node in order
        ]
        text = ascii(rows)
        if text not in self.leaves:
            self.leaves[text] = tried, order
            return len(tried)
        others, other = self.leaves[text]
        image = [0] * len(order)
        for node, twin in zip(other, order, strict=True):
            image[node] = twin
        self.automorphisms.append(image)
        return next(depth for depth, pair in enumerate(zip(tried, others, strict=True)) if pair[0] != pair[1])

    def _alike(self, node: int, visited: list[int], tried: tuple[int, ...]) -> bool:
        """Return whether known automorphisms that keep ``tried`` carry one of ``visited`` to ``node``."""
        known = [image for image in self.automorphisms if all(image[kept] == kept for kept in tried)]
        reached, fresh = set(visited), list(visited)
        while fresh:
            place = fresh.pop()
            for image in known:
                if image[place] not in reached:
                    reached.add(image[place])
                    fresh.append(image[place])
        return node in reached


def _levels(links: Sequence[Sequence[tuple[int, int]]], order: Iterable[int]) -> list[list[int]]:
    """Return the nodes by the length of their longest path along ``links``; linked nodes stand earlier in ``order``."""
    depth = [0] * len(links)
    levels: list[list[int]] = []
    for node in order:
        depth[node] = max((depth[other] for other, _ in links[node]), default=-1) + 1
        if depth[node] == len(levels):
            levels.append([])
        levels[depth[node]].append(node)
    return levels


def _sweep(
    levels: list[list[int]], links: Sequence[Sequence[tuple[int, int]]], colours: list[int]
) -> list[int]:
    """Return colours by level, then by old colour, then by the new colours of linked nodes."""
    fresh, count = [0] * len(colours), -1
    for level in levels:
        if len(level) == 1:
            count += 1
            fresh[level[0]] = count
            continue
        seen = None
        for key in sorted(
            (colours[node], sorted([(fresh[other], mark) for other, mark in links[node]]), node)
            for node in level
        ):
            if key[:2] != seen:
                seen = key[:2]
                count += 1
            fresh[key[2]] = count
    return fresh
