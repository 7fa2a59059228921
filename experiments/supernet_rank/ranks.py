"""How well scores rank trained designs: Kendall's tau, its differences, and of the best third, with intervals.

A score is compared with each seed of the truth by itself, as the seeds are with each other: with their mean, which is
less noisy, it would be measured by another yardstick than its ceiling.

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


def tau(score: np.ndarray, truth: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    """Return tau (R,) of ``score`` (n,) with a seed of ``truth`` (n, seeds), the mean over seeds, under resamples."""
    w = resamples(len(score)) if w is None else w
    return np.asarray(np.mean([taus(score, one, w) for one in truth.T], axis=0))


def ceiling(truth: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    """Return tau (R,) of one seed of ``truth`` (n, 2) with the other: of a score that is as good as a training."""
    return taus(truth[:, 0], truth[:, 1], resamples(len(truth)) if w is None else w)


def top(score: np.ndarray, truth: np.ndarray) -> tuple[Interval, Interval | None]:
    """Return tau of ``score`` within the best third by ``truth`` (n, seeds), and that of two seeds with each other.

    With two seeds each chooses the best, in each resample anew, and ``score`` and the chooser are compared with the
    other one; the mean of both turns counts. With one seed the best are chosen by what they are compared with.
    """
    if truth.shape[1] == 1:
        return interval(tau(score, truth, _best(truth[:, 0]))), None
    turns = [(truth[:, at], truth[:, 1 - at]) for at in (0, 1)]
    own = np.mean([taus(score, other, _best(chooser)) for chooser, other in turns], axis=0)
    between = np.mean([taus(chooser, other, _best(chooser)) for chooser, other in turns], axis=0)
    return interval(own), interval(between)


def _best(truth: np.ndarray) -> np.ndarray:
    """Return w (R, n) cut down to the best third of each resample by ``truth`` (n,)."""
    w = resamples(len(truth))
    order = np.argsort(-truth, kind="stable")
    ordered = w[:, order]
    left = max(3, round(TOP * len(truth))) - (ordered.cumsum(1) - ordered)
    best = np.zeros_like(w)
    best[:, order] = np.clip(left, 0, ordered)
    return best


def finite(score: np.ndarray) -> np.ndarray:
    """Return ``score`` (n,) with what is no number ranked last."""
    known = np.isfinite(score)
    if not known.any():
        return np.zeros_like(score)
    return np.where(known, score, score[known].min() - 1.0)
