"""What a zero-cost proxy is: a number from an untrained network and one batch, the higher the better. And their vote.

A proxy is a function ``proxy(network, images, labels, generator) -> float``. It looks at a copy: the network that is
passed in keeps its weights, buffers, gradients and mode. What it draws comes from ``generator`` alone. It raises
``Unscored`` where it has no finite value. Published orientations are turned so that more is better.

Notation
    images   (n, C, H, W) float32, standardised      labels   (n,) int64
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from search_spaces.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Proxy = Callable[[nn.Module, Tensor, Tensor, torch.Generator], float]

proxies: "Registry[Proxy]" = Registry("proxy", "estimators.proxies")


class Unscored(ValueError):
    """A proxy has no finite value for this network; the message says why."""


def vote(scores: Mapping[str, Sequence[float] | np.ndarray]) -> np.ndarray:
    """Return ``(n,)`` in [0, 1]: the mean over members of the share of the others that a design beats.

    ``scores`` holds ``(n,)`` values by member, the higher the better; a design that a member does not score (NaN) is
    beaten by all that it does. Ties share their places. A ``ValueError`` names a member of another length, or says that
    there is none. Only ranks count: a member's scale is nothing to the others (Abdelfattah et al. 2021, section 3.3,
    let proxies vote on pairs; the mean rank is the same order of preference, summed).
    """
    if not scores:
        raise ValueError("the vote got no member; name at least one, for example synflow")
    columns = {name: np.asarray(values, float) for name, values in scores.items()}
    n = len(next(iter(columns.values())))
    for name, column in columns.items():
        if column.shape != (n,):
            raise ValueError(
                f"member {name!r} has scores of shape {column.shape}, others ({n},); score the same"
            )
    shares = [_beaten(np.where(np.isnan(column), -np.inf, column)) for column in columns.values()]
    return np.asarray(np.mean(shares, axis=0))


def _beaten(values: np.ndarray) -> np.ndarray:
    """Return the share of the others that each value beats, half of a tie; 0.5 where there are no others."""
    order = np.sort(values)
    below, upto = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return np.asarray(0.5 * (below + upto - 1) / (len(values) - 1)) if len(values) > 1 else np.full(1, 0.5)
