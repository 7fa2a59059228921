"""Designs as inputs of a Gaussian process: parameters, fidelity, and what their graphs have in common.

Notation
    F    features: one per number, one per option of an unordered choice (an option against another is at distance 1),
         one for the log cost of the fidelity, and those of the graph
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.hpo.kernel import Inputs
from nas.rows import Rows
from search_spaces.space import Configuration

Labels = Mapping[str, float]

APART = 1.0  # distance between two options of an unordered choice; a number's whole range is 1
MOST = 64  # values up to which a parameter's kernel is a table
KNOWN = 4096  # graphs of candidates that are remembered


def encoded(
    rows: Rows, designs: np.ndarray, costs: np.ndarray | None = None, *, warp: bool = False
) -> Inputs:
    """Return ``designs`` (n, S) as inputs; ``costs`` (n,), if any, are one more group.

    ``warp``: whether numbers and ordered choices of more than two values are to be warped. Inactive numbers stand in
    the middle: that they are inactive follows from the choices above them, which are groups as well.
    """
    units = rows.units(designs)
    parts, groups, codes, numbers = [], [], [], []
    movable = [at for at in range(units.shape[1]) if rows.counts[at] != 1] or [0]
    for group, at in enumerate(movable):
        column, count = units[:, at : at + 1], int(rows.counts[at])
        if rows.categorical[at]:
            column = APART * (column == np.arange(count)) / np.sqrt(2)
        elif warp and count != 2:
            numbers.append(group)
        parts.append(column)
        groups += [group] * column.shape[1]
        places = np.nan_to_num(designs[:, at], nan=count).astype(int)  # inactive is a value of its own
        codes.append(places if 0 < count <= MOST else np.full(len(designs), -1))
    if costs is not None:
        parts.append(costs[:, None])
        groups.append(len(codes))
        codes.append(np.full(len(designs), -1))
    return Inputs(np.hstack(parts), np.array(groups), np.column_stack(codes), tuple(numbers))


class Graphs:
    """The finite ``features`` of the graph of a row; none where it decodes to nothing. The last ones are remembered."""

    def __init__(self, features: Callable[[Configuration], Labels], rows: Rows) -> None:
        self.features, self.rows = features, rows
        self._known: dict[bytes, Labels] = {}

    def __call__(self, row: np.ndarray) -> Labels:
        if (name := row.tobytes()) not in self._known:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[name] = self._read(row)
        return self._known[name]

    def _read(self, row: np.ndarray) -> Labels:
        try:
            found = self.features(self.rows.config(row))
        except ValueError:
            return {}
        return {name: value for name, value in found.items() if math.isfinite(value)}


@dataclass(frozen=True)
class Vocabulary:
    """The numbers and labels of the graphs that a model was fitted on, and how they are scaled.

    Features without a colon in their name are numbers, each a group, scaled to [0, 1] over what was seen. The others
    are labels ``kind:label`` that a graph has; those of a kind are a group, in which graphs are 1 apart in the mean
    square. Labels not seen add their distance in a feature of their own, as if all of a graph were one.
    """

    numbers: Mapping[str, tuple[float, float]]
    labels: Mapping[str, int]
    kinds: Mapping[str, float]

    @classmethod
    def of(cls, graphs: Sequence[Labels]) -> "Vocabulary":
        """Return what ``graphs`` have in common; what is the same in all of them is left out."""
        numbers: dict[str, tuple[float, float]] = {}
        counts: dict[str, list[float]] = {}
        for place, graph in enumerate(graphs):
            for name, value in graph.items():
                if ":" in name:
                    counts.setdefault(name, [0.0] * len(graphs))[place] = _count(value)
                else:
                    low, high = numbers.get(name, (value, value))
                    numbers[name] = min(low, value), max(high, value)
        labels: dict[str, int] = {}
        spread: dict[str, float] = {}
        for name in sorted(counts):
            if (variance := float(np.var(counts[name]))) > 0:
                labels[name] = len(labels)
                kind = name.partition(":")[0]
                spread[kind] = spread.get(kind, 0.0) + 2 * variance
        kinds = {kind: total**-0.5 for kind, total in sorted(spread.items())}
        return cls({n: ends for n, ends in sorted(numbers.items()) if ends[1] > ends[0]}, labels, kinds)

    def extended(self, inputs: Inputs, graphs: Sequence[Labels]) -> Inputs:
        """Return ``inputs`` with the features of their ``graphs``."""
        kinds = list(self.kinds)
        place = {kind: at for at, kind in enumerate(kinds)}
        numbers = np.array(
            [
                [(g.get(n, low) - low) / (high - low) for n, (low, high) in self.numbers.items()]
                for g in graphs
            ]
        ).reshape(len(graphs), len(self.numbers))
        counts, strange = np.zeros((len(graphs), len(self.labels))), np.zeros((len(graphs), len(kinds)))
        for row, graph in enumerate(graphs):
            for name, value in graph.items():
                if (at := self.labels.get(name)) is not None:
                    counts[row, at] = _count(value)
                elif (kind := place.get(name.partition(":")[0])) is not None and ":" in name:
                    strange[row, kind] += _count(value) ** 2
        of_label = np.array([place[name.partition(":")[0]] for name in self.labels], int)
        scale = np.array(list(self.kinds.values()))
        first = inputs.codes.shape[1]
        after = first + len(self.numbers)
        own = [first + np.arange(len(self.numbers)), after + of_label, after + np.arange(len(kinds))]
        groups = np.concatenate([inputs.groups, *own]).astype(int)
        x = np.hstack([inputs.x, numbers, counts * scale[of_label], np.sqrt(strange) * scale])
        many = np.full((len(graphs), len(self.numbers) + len(kinds)), -1)
        return replace(inputs, x=x, groups=groups, codes=np.hstack([inputs.codes, many]))


@dataclass(frozen=True)
class View:
    """How a process sees designs: ``graph`` returns the features of the graph of a row, if the ``vocabulary`` is given.

    ``costs`` are the least and the greatest log cost among rungs; where they are equal, costs are not seen. ``warp``:
    whether numbers are to be warped. ``source`` returns what a cheaper source says of rows, where one is heard.
    """

    rows: Rows
    costs: tuple[float, float]
    vocabulary: "Vocabulary | None" = None
    graph: Callable[[np.ndarray], Labels] | None = None
    warp: bool = False
    source: Callable[[np.ndarray], np.ndarray] | None = None

    def inputs(self, designs: np.ndarray, costs: np.ndarray | None = None) -> Inputs:
        """Return ``designs`` (n, S) at log ``costs`` (n,), the greatest by default, as inputs."""
        low, high = self.costs
        scaled = None
        if high > low:
            scaled = np.ones(len(designs)) if costs is None else (costs - low) / (high - low)
        inputs = encoded(self.rows, designs, scaled, warp=self.warp)
        if self.source is not None and len(designs):
            inputs = replace(inputs, source=self.source(designs))
        if self.vocabulary is None or self.graph is None:
            return inputs
        return self.vocabulary.extended(inputs, [self.graph(design) for design in designs])


def _count(value: float) -> float:
    return float(value > 0)
