"""Leaves: what a step optimizes of the stored tensors, and how its candidates' parameters come from them.

A leaf is the least box that holds what the candidates of a step use of one tensor. It is a view: what an optimizer does
to it is done to the stored tensor, and what lies outside of it cannot move.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.sharing.candidate import Candidate
from estimators.sharing.weights import Box, SharedWeights, inside, laid_out


@dataclass(frozen=True)
class Leaf:
    """What a step optimizes of one stored tensor: ``tensor`` is a view of it, ``box`` says of what.

    ``outside`` (like the tensor) is true where no candidate of the step uses it; None where all is used. A leaf is
    ``decayed`` if the parameters that are cut from it have more than one axis.
    """

    tensor: Tensor
    box: Box
    outside: Tensor | None = None
    decayed: bool = False


def borrowed(candidate: Candidate, shared: SharedWeights, leaves: Mapping[str, Leaf]) -> dict[str, Tensor]:
    """Return the parameters of ``candidate`` as functions of the ``leaves`` of a step."""
    matrices = {name: leaf.tensor for name, leaf in leaves.items()}
    found = {}
    for cut in candidate.cuts:
        leaf = leaves[cut.name]
        within = tuple(
            (start - low, stop - low)
            for (start, stop), (low, _) in zip(shared.box(cut), leaf.box, strict=True)
        )
        found[cut.parameter] = laid_out(cut.of(inside(leaf.tensor, within), matrices))
    return found


def leaf_of(stored: Tensor, boxes: set[Box], *, decayed: bool = False) -> Leaf:
    """Return the leaf of the tensor ``stored`` of which candidates use ``boxes``."""
    box = tuple((min(b[at][0] for b in boxes), max(b[at][1] for b in boxes)) for at in range(stored.ndim))
    view = inside(stored, box).detach().requires_grad_()
    if len(boxes) == 1 or box in boxes:
        return Leaf(view, box, decayed=decayed)
    outside = torch.ones(view.shape, dtype=torch.bool, device=view.device)
    for used in boxes:
        within = tuple((start - low, stop - low) for (start, stop), (low, _) in zip(used, box, strict=True))
        inside(outside, within).fill_(False)
    return Leaf(view, box, outside if bool(outside.any()) else None, decayed)
