"""Whether a cheap signal tells the truth: its rank correlation with trained results, as a search runs.

A cheap signal is never trusted unmeasured: published proxies rank one space well and another not at all, and seldom
better than counting parameters. A signal has earned its say when the interval of its tau lies above 0; a supernet,
which costs a share of the search, has to rank better than parameters, MACs and one proxy (``REFERENCE``) besides.

Notation
    n     trials compared       a, b   (n,) a signal and the results, more is better
    A     (n, n) signs of a_i - a_j, so B       w   (n,) how often each trial is in a resample

    tau-b = w^T (A B) w / sqrt(w^T A^2 w  w^T B^2 w)      (Kendall 1945, products by elements)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from estimators.proxy import vote
from nas.trial import Problem, Trial

VOTE = "vote"  # the signal of several proxies
SUPERNET = "supernet"  # the signal that stands under its own name: it is no vote of several
# the proxy that a supernet has to rank better than; named before any supernet was trained (experiments/proxies)
REFERENCE = "zico"
# events: how a supernet was split in two, and what that took
SPLIT, SPLIT_DONE = "supernet split", "supernet halves trained"
CALLED = "supernet called for"  # event: at which start one was, in the midst of a search, and why it came to nothing
SIGNALS = "signals"  # events "signals 7": what proxies say of trial 7
FREE = {"parameters": "params", "macs": "macs"}  # signals that are counted, by the metric they are
CHEAPER = (*FREE, REFERENCE)  # signals that a supernet has to rank better than
RESAMPLES = 1_000
COVERED = (
    0.99  # not 0.95: a search looks up to six times, and a signal of noise is to be believed in few of them
)
LEAST = 10  # trials before which no signal has earned anything
MOST = 200  # trials compared, the first ones


@dataclass(frozen=True)
class Trust:
    """Kendall's ``tau`` of ``signal`` with the results of ``n`` trials, and its 99 % bootstrap interval."""

    signal: str
    tau: float
    low: float
    high: float
    n: int

    @property
    def earned(self) -> bool:
        """Whether the signal may have a say: enough trials, and an interval above 0."""
        return self.n >= LEAST and self.low > 0

    @property
    def scalars(self) -> dict[str, float]:
        """What trackers draw, by name."""
        ends = {"tau": self.tau, "low": self.low, "high": self.high}
        return {f"signal/{self.signal}/{name}": value for name, value in ends.items()}


def trusts(
    trials: Iterable[Trial], problem: Problem, events: Mapping[str, object], members: Iterable[str] = ()
) -> list[Trust]:
    """Return how parameters, MACs and the vote of ``members`` rank the first results of ``trials``.

    The results are those of first steps, the next dearer signal. Of trials that failed nothing is known; repeats and
    forks do not count. A signal that fewer than two trials have, or that is the same for all, is left out.
    """
    told = [trial for trial in trials if trial.replicate == 0 and trial.parent is None and trial.steps]
    told = [trial for trial in told if trial.steps[0].error is None][:MOST]
    results = [-float(rank) for rank in problem.ranks([{**t.free, **t.steps[0].metrics} for t in told])]
    by_signal = {
        signal: {place: trial.free[name] for place, trial in enumerate(told) if name in trial.free}
        for signal, name in FREE.items()
    }
    scores = {place: events.get(f"{SIGNALS} {trial.number}") for place, trial in enumerate(told)}
    known = {p: one for p, one in scores.items() if isinstance(one, Mapping)}
    if any(SUPERNET in one for one in known.values()):
        shared = {p: one[SUPERNET] for p, one in known.items() if SUPERNET in one}
        both = {p: known[p][REFERENCE] for p in shared if REFERENCE in known[p]}
        if len(both) >= LEAST:  # of fewer its tau would say nothing
            by_signal[REFERENCE] = both
        # what a supernet has to be better than is told of the same trials
        same = by_signal.get(REFERENCE, shared)
        by_signal[SUPERNET] = shared
        by_signal = {signal: {p: v for p, v in own.items() if p in same} for signal, own in by_signal.items()}
    else:
        by_signal[VOTE] = _voted(known, members)
    found = []
    for signal, values in by_signal.items():
        if len(set(values.values())) > 1:
            a, b = np.array(list(values.values())), np.array([results[place] for place in values])
            found.append(Trust(signal, *kendall(a, b), len(a)))
    return found


def has_say(known: Sequence[Trust], signal: str) -> bool:
    """Return whether ``signal`` has earned its say; a supernet only if it ranks better than what is cheaper, too."""
    own = [one for one in known if one.signal == signal and one.earned]
    free = [one.tau for one in known if one.signal in CHEAPER]
    return bool(own) and (signal != SUPERNET or own[0].tau > max(free, default=-1.0))


def outranked(known: Sequence[Trust], signal: str) -> bool:
    """Return whether ``signal`` was compared often enough, and ranks no better than what is cheaper, or than chance."""
    own = [one for one in known if one.signal == signal and one.n >= LEAST]
    free = [one.tau for one in known if one.signal in CHEAPER]
    return bool(own) and own[0].tau <= max([0.0, *free])


def _voted(scores: Mapping[int, Mapping[str, float]], members: Iterable[str]) -> dict[int, float]:
    """Return the vote by place: of ``members``, or of whatever the scores hold."""
    names = list(members) or sorted({name for one in scores.values() for name in one})
    if not names or not scores:
        return {}
    columns = {name: [one.get(name, np.nan) for one in scores.values()] for name in names}
    return dict(zip(scores, vote(columns).tolist(), strict=True))


def kendall(a: np.ndarray, b: np.ndarray, covered: float = COVERED) -> tuple[float, float, float]:
    """Return tau-b of ``a`` and ``b`` (n,), and the ends of the percentile bootstrap's interval over the n.

    The resamples are the same for the same n.
    """
    return interval(taus(a, b, resamples(len(a))), covered)


@lru_cache(maxsize=4)  # a long search asks for the same n again and again
def resamples(n: int) -> np.ndarray:
    """Return w (1 + ``RESAMPLES``, n): how often each of n is in the sample itself, then in its resamples."""
    drawn = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    w = np.vstack([np.ones(n), drawn])
    w.flags.writeable = False
    return w


def taus(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return tau-b of ``a`` and ``b`` (n,) under each row of ``w`` (R, n).

    Where all values are equal it is 0: they say nothing.
    """
    first, second = (np.sign(values[:, None] - values[None, :]) for values in (a, b))
    both, one, other = (((w @ m) * w).sum(1) for m in (first * second, first**2, second**2))
    scale = np.sqrt(one * other)
    return np.asarray(np.where(scale > 0, both / np.where(scale > 0, scale, 1.0), 0.0))


def interval(values: np.ndarray, covered: float = COVERED) -> tuple[float, float, float]:
    """Return the first of ``values`` and the interval that holds ``covered`` of the others, the resampled ones."""
    low, high = np.quantile(values[1:], [(1 - covered) / 2, (1 + covered) / 2])
    return float(values[0]), float(low), float(high)
