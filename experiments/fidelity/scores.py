"""How searches are compared: regret against simulated seconds, and at what cost a regret is reached.

Notation
    regret   of the best loss observed so far after any epoch of any training (as in DyHPO, DPL and ifBO): 0 is the
             best of the table, 1 the median of its final losses; at least FLOOR, and 1 before anything was observed
    chosen   the design that would be recommended: the best of those trained furthest; its regret is that of its loss
             at the end of its training
"""

from collections.abc import Sequence

import numpy as np

from experiments.fidelity.task import Task
from experiments.fidelity.trace import Piece, observed
from experiments.tables.scores import FLOOR

UNREACHED = 2.0  # what counts, of the budget, where a regret is not reached


def regret(task: Task, losses: np.ndarray | float) -> np.ndarray:
    """Return the regret of observed ``losses``, at least FLOOR."""
    least, median = task.bounds
    return np.maximum((np.asarray(losses) - least) / (median - least), FLOOR)


def regrets(task: Task, pieces: Sequence[Piece], marks: np.ndarray) -> np.ndarray:
    """Return the ``(marks,)`` regrets at simulated seconds ``marks``, which rise."""
    seen = observed(task, pieces, float(marks[-1]))
    best = np.fmin.accumulate(np.concatenate([[np.nan], seen.losses]))
    best = best[np.searchsorted(seen.seconds, marks * (1 + 1e-9), side="right")]
    return np.where(np.isnan(best), 1.0, regret(task, best))


def reached(task: Task, pieces: Sequence[Piece], target: float, budget: float) -> float:
    """Return the simulated second at which the regret fell to ``target``, ``UNREACHED`` budgets where it did not."""
    seen = observed(task, pieces, budget)
    low = np.flatnonzero(regret(task, seen.losses) <= target * (1 + 1e-9))
    return float(seen.seconds[low[0]]) if len(low) else UNREACHED * budget


def chosen(task: Task, pieces: Sequence[Piece], budget: float) -> int:
    """Return the row that is recommended after ``budget``: the best of those that reached the most epochs."""
    seen = observed(task, pieces, budget)
    known = np.isfinite(seen.losses)
    dearest = known & (seen.epochs == seen.epochs[known].max())
    return int(seen.rows[dearest][seen.losses[dearest].argmin()])


def chosen_regret(task: Task, pieces: Sequence[Piece], budget: float) -> float:
    """Return the regret of the final loss of ``chosen``; one that would diverge counts as the worst that did not."""
    least, median = task.final_bounds
    final = task.losses[chosen(task, pieces, budget), -1]
    worst = np.nanmax(task.losses[:, -1])
    return max(float((np.nan_to_num(final, nan=worst) - least) / (median - least)), FLOOR)
