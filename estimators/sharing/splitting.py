"""Splitting a supernet (few-shot, Zhao et al. 2021) along the choice whose options pull the shared weights apart.

Options whose gradients on the shared tensors point the same way may share them; those that conflict get supernets of
their own, which begin with the weights they had together (Hu et al. 2022, section 3.2: gradient matching).

Notation
    option      a value of one choice of the space
    similarity  cosine of the gradients of two options, on the tensors that both use, averaged over batches and designs
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from estimators.mix import Labels
from estimators.sharing.candidate import Candidate
from estimators.sharing.leaf import borrowed, leaf_of
from estimators.sharing.paths import decoded
from estimators.sharing.weights import SharedWeights
from search_spaces.architecture import SearchSpace
from search_spaces.configuration import Configuration, Value
from search_spaces.decks import Decks
from search_spaces.space import Choice, Space

PREFIX = "architecture."
TOLD = 100  # draws by which it is seen whether a choice always makes a difference
MOST_OPTIONS = 8  # of a choice that is looked at: partitions are tried one by one


@dataclass(frozen=True)
class Split:
    """The parameter at ``path`` and its options in two ``groups``; ``similarity`` is that across the groups."""

    path: str
    groups: tuple[tuple[Value, ...], tuple[Value, ...]]
    similarity: float

    def group(self, config: Mapping[str, Value]) -> int:
        """Return which group the design of ``config`` is of; the first one where the parameter is inactive."""
        return int(config.get(self.path) in self.groups[1] and self.path in config)

    def row(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "path": self.path,
            "groups": [list(group) for group in self.groups],
            "similarity": self.similarity,
        }

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Split":
        """Return the split of a ``row``."""
        first, second = (tuple(group) for group in row["groups"])
        return cls(row["path"], (first, second), row["similarity"])


def splits(similarities: Mapping[str, Mapping[tuple[Value, Value], float]], space: Space) -> list[Split]:
    """Return the splits of ``space`` by ``similarities`` (by path and pair of options), least alike groups first."""
    found = [
        _partition(path, pairs, space.parameter(path).values) for path, pairs in similarities.items() if pairs
    ]
    return sorted(found, key=lambda split: (split.similarity, split.path))


def _partition(path: str, pairs: Mapping[tuple[Value, Value], float], values: Sequence[Value]) -> Split:
    """Return the options in two groups, as even as may be, with the least mean similarity across them.

    Those of ``values`` that are in no pair, since they seldom fit, are of the first.
    """
    options = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
    half = len(options) // 2
    best: Split | None = None
    for chosen in itertools.combinations(options, half):
        other = tuple(option for option in values if option not in chosen)
        across = [value for (a, b), value in pairs.items() if (a in chosen) != (b in chosen)]
        if not across:
            continue
        split = Split(path, (other, chosen), float(np.mean(across)))
        best = split if best is None or split.similarity < best.similarity else best
    assert best is not None
    return best


def always_told(space: SearchSpace, path: str, rng: np.random.Generator) -> bool:
    """Return whether other options of ``path`` make other networks, wherever it is active in ``TOLD`` draws.

    Where they do not (an edge of a cell that leads nowhere), equal networks would be of different halves.
    """
    decks = Decks(space.space, rng)
    for _ in range(TOLD):
        base = decks.draw()
        keys = []
        for option in space.space.parameter(path).values if path in base else ():
            design = decoded(space, space.space.complete({**base, path: option}, rng))
            if design is not None and design.graph is not None and design.config.get(path) == option:
                keys.append(design.graph.key())
        if len(set(keys)) < len(keys):
            return False
    return True


def similarities(
    space: SearchSpace,
    shared: SharedWeights,
    batches: Iterable[tuple[Tensor, Labels]],
    *,
    rng: np.random.Generator,
    designs: int = 4,
    macs: float | None = None,
) -> dict[str, dict[tuple[Value, Value], float]]:
    """Return, for each choice of the architecture, the similarity of each pair of its options.

    Each is the mean over ``designs`` draws that differ in this option alone, each on one of ``batches`` (z, labels).
    """
    paths = [
        slot.path
        for slot in space.space.slots
        if slot.path.startswith(PREFIX)
        and isinstance(slot.parameter, Choice)
        and 2 <= len(slot.parameter.options) <= MOST_OPTIONS
    ]
    found: dict[str, dict[tuple[Value, Value], list[float]]] = {path: {} for path in paths}
    feed = list(batches)
    for path, turn in itertools.product(paths, range(designs)):
        z, labels = feed[turn % len(feed)]
        gradients = _by_option(space, shared, path, z, labels, rng, macs)
        for a, b in itertools.combinations(gradients, 2):
            if (value := cosine(gradients[a], gradients[b])) is not None:
                found[path].setdefault((a, b), []).append(value)
    return {
        path: {pair: float(np.mean(values)) for pair, values in pairs.items()}
        for path, pairs in found.items()
    }


def _by_option(
    space: SearchSpace,
    shared: SharedWeights,
    path: str,
    z: Tensor,
    labels: Labels,
    rng: np.random.Generator,
    macs: float | None,
) -> dict[Value, dict[str, Tensor]]:
    """Return the gradients of one design under each option of ``path``; options that it cannot take are left out."""
    base = Decks(space.space, rng).draw()
    parameter = space.space.parameter(path)
    candidates: dict[Value, Candidate] = {}  # all are made before the first gradient: tensors may grow
    for option in parameter.values if path in base else ():
        config = space.space.complete({**base, path: option}, rng, fixed={path: option})
        design = decoded(space, Configuration(config))
        if design is not None and (macs is None or design.macs <= macs):
            candidates[option] = Candidate(design, shared)
    return {option: gradients_of(one, shared, z, labels) for option, one in candidates.items()}


def gradients_of(candidate: Candidate, shared: SharedWeights, z: Tensor, labels: Labels) -> dict[str, Tensor]:
    """Return the gradient of the loss on a batch, by stored tensor, at the tensor's size: zero where it is not used."""
    whole = {name: shared.tensors[name] for cut in candidate.cuts for name in (cut.name, *cut.transforms)}
    leaves = {
        name: leaf_of(tensor, {tuple((0, size) for size in tensor.shape)}) for name, tensor in whole.items()
    }
    candidate.train()
    loss = labels.loss(candidate.forward(z, borrowed(candidate, shared, leaves)))
    names = list(leaves)
    grads = torch.autograd.grad(loss, [leaves[name].tensor for name in names], allow_unused=True)
    return {name: grad for name, grad in zip(names, grads, strict=True) if grad is not None}


def cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float | None:
    """Return the cosine of two gradients on the tensors of both; None where there are none, or one is zero."""
    shared: Sequence[str] = [name for name in a if name in b]
    if not shared:
        return None
    dot = sum(float((a[name] * b[name]).sum()) for name in shared)
    norms = [sum(float(g[name].square().sum()) for name in shared) ** 0.5 for g in (a, b)]
    return dot / (norms[0] * norms[1]) if min(norms) > 0 else None
