"""Whether a low fidelity tells the truth: how each rung of a ladder ranks trials against a dearer one.

Notation
    n       trials told at both rungs        x, y   (n,) scores at the cheap and the dear rung, more is better
    m       trials told at the cheap one     w      (R, n) how often each trial is in a resample
    u       deviation of the cheap rung's normal scores over the m, over that of the n

Who is promoted was chosen by x, so the n are a narrow range of it, and tau over them is nearer to 0 than over the m
(n of m are always shown). Two things are done about it. A trial's curve tells of the fewer epochs it has passed, so
trials that skip a rung are compared without any choice. And ``whole`` is what tau would be over the m if scores were
jointly normal: r = sin(pi tau / 2) and r' = r u / sqrt(1 + r^2 (u^2 - 1)) (Thorndike 1949, case 2), an increasing map
that keeps 0 where it is: whether an interval lies above 0 does not depend on it. Trials that failed at the dear rung
are in neither.

Unlike a proxy, a low fidelity is believed until shown useless: it loses its say when at least ``LEAST`` pairs were
seen, the interval of tau does not lie above 0, and that of ``whole`` lies below ``USEFUL``: fewer or more narrowly
chosen pairs could not have told a useful rung from a useless one. It gets it back by the same rule. The newest pairs
count: what matters is how a rung ranks what is proposed now.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from estimators.estimator import Fidelity
from nas.trial import Metrics, Problem, Step, Trial
from nas.trust import interval, resamples, taus

LEAST = 12  # pairs before which no rung has lost its say
USEFUL = 0.5  # a tau that has to be ruled out before a rung loses its say
COVERED = 0.95
MOST = 200  # pairs compared, the newest
TOP = 3  # tau is also that of the best one in so many
OFTEN = 8  # the share by which what was looked at has to grow
LEAST_TOP = 7  # pairs from which the top third is more than a pair


def next_look(count: int) -> int:
    """Return how many there must be, at least, for another look after one at ``count``: an eighth more, or one.

    A look costs as much as there are trials; so, all looks together cost no more than a few of the last.
    """
    return count + max(1, count // OFTEN)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """How ``below`` ranks against ``above``: Kendall's ``tau`` over ``n`` trials, of ``of`` told at ``below``.

    ``whole`` is tau corrected for the choice of the n, ``top`` tau in the best third by ``above`` (None for few pairs).
    ``regret`` is by how much the best at ``above`` beats the pick of ``below``, in units of the objective: 0 or more,
    None with several objectives.
    """

    below: Fidelity
    above: Fidelity
    tau: Estimate
    whole: Estimate
    top: Estimate | None
    regret: Estimate | None
    n: int
    of: int

    @property
    def earned(self) -> bool:
        """Whether ``below`` may decide who goes on."""
        return self.n < LEAST or self.tau.low > 0 or self.whole.high >= USEFUL

    @property
    def scalars(self) -> dict[str, float]:
        """What trackers draw, by name."""
        found = {"tau": self.tau, "tau in the top third": self.top, "regret": self.regret}
        pair = f"fidelity/{said(self.below)} to {said(self.above)}"
        return {
            f"{pair}/{name}{end}": value
            for name, one in found.items()
            if one is not None
            for end, value in (("", one.value), (" low", one.low), (" high", one.high))
        }


def said(rung: Fidelity) -> str:
    """Return a rung in words, shares only where they are not 1."""
    text = f"{rung.epochs} epoch{'s' * (rung.epochs != 1)}"
    text += f" on {rung.data:.3g} of the data" * (rung.data != 1)
    return text + f" at {rung.side:.3g} of the side" * (rung.side != 1)


def told_at(trial: Trial, rung: Fidelity) -> Metrics:
    """Return the metrics that ``trial`` had at exactly ``rung``, by a step or by the curve of one that passed it.

    Empty if it was not there. A curve counts where it has one point for each epoch of its step, and for what its
    points hold: what was measured at the end alone is not known there.
    """
    for step in trial.steps:
        if step.error is None and (found := _metrics(step, rung)):
            return {**trial.free, **found}
    return {}


def _metrics(step: Step, rung: Fidelity) -> Metrics:
    end = step.fidelity
    if end == rung:
        return step.metrics
    if (end.data, end.side) != (rung.data, rung.side) or len(step.curve) not in (
        end.epochs,  # trained anew: its checkpoint was gone
        end.epochs - step.start,
    ):
        return {}
    place = rung.epochs - 1 - (end.epochs - len(step.curve))
    if not 0 <= place < len(step.curve):
        return {}
    return step.curve[place]  # and nothing of the step's end, which would agree with itself


def rankings(trials: Iterable[Trial], problem: Problem, ladder: Sequence[Fidelity]) -> list[Ranking]:
    """Return how each rung but the last of ``ladder`` ranks against the next dearer one that has its say.

    From the cheapest on; a rung that fewer than two trials have in common with that one is left out.
    """
    first = [trial for trial in trials if trial.replicate == 0 and trial.parent is None]
    found, judge = list[Ranking](), ladder[-1]
    for rung in reversed(ladder[:-1]):
        one = ranking(first, problem, rung, judge)
        if one is not None:
            found.append(one)
        if one is None or one.earned:
            judge = rung
    return found[::-1]


def earned(trials: Iterable[Trial], problem: Problem, ladder: Sequence[Fidelity]) -> tuple[bool, ...]:
    """Return for each rung of ``ladder`` whether it has its say; the last one always has.

    A function of ``trials`` alone.
    """
    lost = {one.below for one in rankings(trials, problem, ladder) if not one.earned}
    return tuple(rung not in lost for rung in ladder)


def ranking(trials: Iterable[Trial], problem: Problem, below: Fidelity, above: Fidelity) -> Ranking | None:
    """Return how ``below`` ranks against ``above``; None with fewer than two trials that were told at both."""
    told = [(trial, told_at(trial, below)) for trial in trials]
    pairs = [(one, told_at(trial, above)) for trial, one in told if _complete(problem, one)]
    both = [place for place, (_, two) in enumerate(pairs) if _complete(problem, two)][-MOST:]
    if len(both) < 2:
        return None
    cheap = _scores(problem, [one for one, _ in pairs])
    ys = [pairs[place][1] for place in both]
    x, y, w = cheap[both], _scores(problem, ys), resamples(len(both))
    tau = Estimate(*interval(taus(x, y, w), COVERED))
    u = _spread(cheap, both)
    whole = Estimate(*(_widened(one, u) for one in (tau.value, tau.low, tau.high)))
    top = Estimate(*interval(taus(x, y, _best(y, w)), COVERED)) if len(both) >= LEAST_TOP else None
    regret = None
    if len(problem.objectives) == 1:
        regret = Estimate(*interval(_regrets(x, _gains(problem, ys), w), COVERED))
    return Ranking(below, above, tau, whole, top, regret, len(both), len(pairs))


def _complete(problem: Problem, metrics: Metrics) -> bool:
    """Return whether ``metrics`` have what is searched, as numbers."""
    return all(math.isfinite(metrics.get(name, math.nan)) for name in problem.needed)


def _scores(problem: Problem, metrics: Sequence[Metrics]) -> np.ndarray:
    """Return (n,) ranks, more is better, equal for what no rung would tell apart.

    One objective is compared by its value, several by the sum of the ranks in each; ties by the validation loss. What
    breaks a constraint comes last, by how far.
    """
    losses = np.array([problem.losses(one) for one in metrics])
    if losses.shape[1] > 1:
        ranks = [np.unique(column, return_inverse=True)[1] for column in losses.T]
        losses = np.sum(ranks, axis=0)[:, None]
    broken = [problem.violation(one) for one in metrics]
    ties = [one.get("loss", 0.0) for one in metrics]
    keys = np.column_stack([broken, losses, ties])
    return -np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(float)


def _gains(problem: Problem, metrics: Sequence[Metrics]) -> np.ndarray:
    """Return (n,) the objective, more is better; what breaks a constraint has the worst value of what does not."""
    gains = -np.array([problem.losses(one)[0] for one in metrics])
    feasible = np.array([not problem.violation(one) for one in metrics])
    return np.where(feasible, gains, gains[feasible].min(initial=gains.max()))


def _spread(scores: np.ndarray, chosen: Sequence[int]) -> float:
    """Return u: how much wider the normal scores of all of ``scores`` (m,) spread than those of the ``chosen``."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    middles = (np.cumsum(count) - count / 2) / len(scores)
    normal = np.array([NormalDist().inv_cdf(middle) for middle in middles])[place]
    narrow = normal[list(chosen)].std()
    return max(1.0, float(normal.std() / narrow)) if narrow > 0 else 1.0


def _widened(tau: float, u: float) -> float:
    r = math.sin(math.pi * tau / 2)
    return 2 / math.pi * math.asin(min(1.0, max(-1.0, r * u / math.sqrt(1 + r * r * (u * u - 1)))))


def _best(y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the part of ``w`` (R, n) that is the best third of each resample by ``y`` (n,)."""
    order = np.argsort(-y, kind="stable")
    above = np.cumsum(w[:, order], axis=1) - w[:, order]
    kept = np.zeros_like(w)
    kept[:, order] = np.clip(math.ceil(len(y) / TOP) - above, 0, w[:, order])
    return kept


def _regrets(x: np.ndarray, gains: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return (R,) by how much the best of ``gains`` (n,) in each resample beats what ``x`` has first, ties averaged."""
    there = w > 0
    first = there & (x == np.where(there, x, -np.inf).max(axis=1)[:, None])
    picked = (w * first * gains).sum(axis=1) / (w * first).sum(axis=1)
    return np.asarray(np.where(there, gains, -np.inf).max(axis=1) - picked)
