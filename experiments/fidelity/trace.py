"""What a search trained, in order: enough to know at any simulated second what it had observed.

Notation
    piece    one training of a row from epoch ``start`` to epoch ``stop``, begun at a simulated second
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.fidelity.task import Task


class Piece(NamedTuple):
    """A training of ``row`` over epochs ``start`` + 1 to ``stop``: to that of its divergence, if there is one."""

    row: int
    start: int
    stop: int
    began: float

    def end(self, task: Task) -> float:
        """Return the simulated second at which it ends."""
        return self.began + float(task.seconds[self.row, self.start : self.stop].sum())


class Observations(NamedTuple):
    """All epochs that ended within a budget, in the order of their ends; each field is ``(m,)``."""

    seconds: np.ndarray
    losses: np.ndarray
    rows: np.ndarray
    epochs: np.ndarray


def observed(task: Task, pieces: Sequence[Piece], budget: float) -> Observations:
    """Return what ``pieces`` showed up to simulated second ``budget``; the epoch of a divergence shows NaN."""
    rows = np.concatenate([np.full(piece.stop - piece.start, piece.row) for piece in pieces])
    epochs = np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])
    ends = [p.began + np.cumsum(task.seconds[p.row, p.start : p.stop]) for p in pieces]
    seconds = np.concatenate(ends)
    order = np.argsort(seconds, kind="stable")
    order = order[seconds[order] <= budget * (1 + 1e-9)]
    rows, epochs = rows[order], epochs[order]
    return Observations(seconds[order], task.losses[rows, epochs], rows, epochs + 1)


def in_turn(task: Task, steps: Sequence[tuple[int, int]]) -> tuple[Piece, ...]:
    """Return the pieces of one worker that trained each of ``steps``, (row, epoch to reach), after the other.

    A row goes on from where it was; nothing is trained again.
    """
    pieces, reached, now = list[Piece](), dict[int, int](), 0.0
    for row, stop in steps:
        piece = Piece(row, reached.get(row, 0), stop, now)
        pieces.append(piece)
        reached[row], now = stop, piece.end(task)
    return tuple(pieces)
