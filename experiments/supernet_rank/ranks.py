"""How well scores rank trained designs: Kendall's tau, its differences, and of the best third, with intervals.

Notation
    truth   (n, seeds) accuracies of trained designs      score   (n,) what a signal says of them, more is better
    w       (R, n) how often each design is in a resample, the sample itself first
"""

from dataclasses import dataclass

import numpy as np

from nas.trust import resamples, taus

COVERED = 0.9
TOP = 1 / 3


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its 90 % bootstrap interval over designs."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(values: np.ndarray) -> Interval:
    """Return the interval of ``values`` (R,), that of the sample itself first."""
    low, high = np.quantile(values[1:], [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return Interval(float(values[0]), float(low), float(high))


def tau(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return tau (R,) of ``score`` (n,) with the mean of ``truth`` (n, seeds) under resamples."""
    return taus(score, truth.mean(1), resamples(len(score)))


def ceiling(truth: np.ndarray) -> np.ndarray:
    """Return tau (R,) of one seed with the other: what a perfect score of a network would have with one seed.

    ``truth`` is (n, 2).
    """
    return taus(truth[:, 0], truth[:, 1], resamples(len(truth)))


def top(score: np.ndarray, truth: np.ndarray) -> tuple[Interval, Interval | None]:
    """Return tau of ``score`` within the best third by ``truth`` (n, seeds), and that of the seeds with each other.

    Who the best are is said by the mean over seeds, which flatters neither score nor seeds.
    """
    best = np.argsort(-truth.mean(1), kind="stable")[: max(3, round(TOP * len(score)))]
    own = interval(tau(score[best], truth[best]))
    return own, interval(ceiling(truth[best])) if truth.shape[1] == 2 else None
