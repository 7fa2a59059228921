"""How fronts are compared: what a search dominates of what its whole table does, at a simulated second.

Notation
    point    (validation error, logarithm of the parameters) of a design; less is better in both
    ended    one point per design that was trained to its last epoch, by its error there: what a user is given
    seen     one point per epoch of any training, by the error after it: what was observed on the way
    chosen   one point per design on the front of the last errors seen, by its error had it been trained to the end
    volume   what points dominate below a reference: the worst, or the median, of the table's final errors, and the
             parameters of its largest design
    share    the volume of a search, of that of the whole table: no scale of the axes matters
"""

from collections.abc import Sequence

import numpy as np

from experiments.fidelity.task import Task
from experiments.fidelity.trace import Piece, observed
from nas.hpo.pareto import hypervolume, nondominated

WAYS = ("ended", "seen", "chosen")
REFERENCES = ("worst", "median")


def points(task: Task, sizes: np.ndarray, pieces: Sequence[Piece], seconds: float, way: str) -> np.ndarray:
    """Return the ``(m, 2)`` points that ``pieces`` have by then; ``sizes`` ``(n,)`` are parameters by row."""
    seen = observed(task, pieces, seconds)
    known = np.isfinite(seen.losses) & ((seen.epochs == task.epochs) | (way != "ended"))
    rows, losses = seen.rows[known], seen.losses[known]
    if way == "chosen":
        rows = on_front(rows, losses, sizes)
        losses = task.losses[rows, -1]
        rows, losses = rows[np.isfinite(losses)], losses[np.isfinite(losses)]
    return np.stack([losses, np.log(sizes[rows])], axis=1)


def on_front(rows: np.ndarray, losses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the rows that no other one beats in size and in its last loss; ``rows`` are in the order of time."""
    last = dict(zip(rows.tolist(), losses.tolist(), strict=True))
    met = np.array(list(last), int)
    kept = nondominated(np.stack([list(last.values()), sizes[met]], axis=1)) if last else []
    return met[kept]


def everything(task: Task, sizes: np.ndarray, way: str) -> np.ndarray:
    """Return the ``(m, 2)`` points of the whole table."""
    losses = task.losses if way == "seen" else task.losses[:, -1:]
    rows, epochs = np.nonzero(np.isfinite(losses))
    return np.stack([losses[rows, epochs], np.log(sizes[rows])], axis=1)


def references(task: Task, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the ``(2,)`` references by name: below the worst every design counts, below the median the better half."""
    errors = {"worst": float(np.nanmax(task.losses[:, -1])), "median": task.final_bounds[1]}
    return {name: np.array([error, np.log(sizes.max())]) for name, error in errors.items()}


def shares(
    task: Task, sizes: np.ndarray, pieces: Sequence[Piece], seconds: Sequence[float], way: str, below: str
) -> list[float]:
    """Return the shares, in [0, 1], at simulated ``seconds``; ``below`` names the reference."""
    reference = references(task, sizes)[below]
    whole = hypervolume(everything(task, sizes, way), reference)
    assert whole > 0
    return [hypervolume(points(task, sizes, pieces, second, way), reference) / whole for second in seconds]
