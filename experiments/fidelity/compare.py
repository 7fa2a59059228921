"""Ours beside the rivals: at what cost the best rival's final regret is reached, and where a rival is better.

Notation
    marks    shares of the budget at which regrets are compared
    costs    ``(seeds,)`` logarithms of (simulated second at which ours has the target / the budget); the target of a
             task is the geometric mean over seeds of the final regret of the rival that is best there by it
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.fidelity import scores
from experiments.fidelity.searches import Searches
from experiments.fidelity.suite import task
from experiments.tables.scores import FLOOR, Ratio, losses, ratio

MARKS = (0.1, 0.25, 0.5, 1.0)
TESTED = 9  # seeds below which no paired difference can be significant after correction over twelve tasks


@dataclass(frozen=True)
class Standing:
    """Geometric means over tasks and seeds: regrets observed at MARKS, and the regret of the design chosen."""

    regrets: tuple[float, ...]
    chosen: float
    seeds: int

    def __str__(self) -> str:
        return "  ".join(f"{one:7.4f}" for one in (*self.regrets, self.chosen)) + f"   ({self.seeds} seeds)"


def final_logs(name: str, searches: Searches, workers: int = 1) -> np.ndarray:
    """Return the ``(seeds, marks + 1)`` logarithms of regrets on the task ``name``: observed at MARKS, and chosen."""
    rows = []
    for seed, pieces in sorted(searches.items()):
        one = task(name, seed)
        budget = one.budget / workers
        observed = scores.regrets(one, pieces, budget * np.array(MARKS))
        rows.append([*observed, scores.chosen_regret(one, pieces, budget)])
    return np.log(np.array(rows))


def standing(by_task: Mapping[str, Searches], workers: int = 1) -> Standing:
    """Return where searches of several tasks stand; tasks count alike."""
    means = [final_logs(name, found, workers).mean(0) for name, found in by_task.items()]
    *observed, chosen = np.exp(np.mean(means, axis=0)).round(5).tolist()
    return Standing(tuple(observed), chosen, min(map(len, by_task.values())))


def targets(
    rivals: Mapping[str, Mapping[str, Searches]], names: Sequence[str]
) -> dict[str, tuple[str, float]]:
    """Return the best rival of each task and its final regret, the geometric mean over its seeds."""
    found = {}
    for name in names:
        finals = {
            who: float(np.exp(final_logs(name, by_task[name])[:, len(MARKS) - 1].mean()))
            for who, by_task in rivals.items()
            if by_task.get(name)
        }
        best = min(finals, key=finals.__getitem__)
        found[name] = best, max(finals[best], FLOOR)
    return found


def costs(name: str, searches: Searches, target: float) -> np.ndarray:
    """Return ``(seeds,)`` log shares of the budget at which ``searches`` of the task ``name`` have ``target``."""
    shares = []
    for seed, pieces in sorted(searches.items()):
        one = task(name, seed)
        shares.append(scores.reached(one, pieces, target, one.budget) / one.budget)
    return np.log(np.array(shares))


def cost_ratio(by_task: Mapping[str, Searches], goals: Mapping[str, tuple[str, float]]) -> Ratio:
    """Return the geometric mean share of the rival's cost, with its 90 % bootstrap interval."""
    return ratio([costs(name, found, goals[name][1]) for name, found in by_task.items()])


def worse(by_task: Mapping[str, Searches], others: Mapping[str, Searches]) -> dict[str, float]:
    """Return the tasks where the final observed regret is significantly above that of ``others``, with p (Holm).

    With ten seeds and twelve tasks only what loses nearly every seed is significant: ``final_ratio`` says more.
    """
    return losses(final_ratios(by_task, others))


def final_ratio(by_task: Mapping[str, Searches], others: Mapping[str, Searches]) -> Ratio:
    """Return the geometric mean ratio of the final observed regret to that of ``others``, over tasks and seeds."""
    return ratio(list(final_ratios(by_task, others).values()))


def final_ratios(by_task: Mapping[str, Searches], others: Mapping[str, Searches]) -> dict[str, np.ndarray]:
    """Return the ``(seeds,)`` log ratios of final observed regrets to those of ``others``, by task."""
    last = len(MARKS) - 1
    logs = {}
    for name, found in by_task.items():
        common = sorted(found.keys() & others[name].keys())
        mine, theirs = (
            final_logs(name, {s: one[s] for s in common})[:, last] for one in (found, others[name])
        )
        logs[name] = mine - theirs
    return logs
