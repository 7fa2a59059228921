"""Tree-structured Parzen estimator (Bergstra et al. 2011), all parameters jointly (Falkner et al. 2018).

The best trials told make the good mixture, all others, with failed and pending ones, the bad. Candidates are drawn from
the good mixture; the new one with the highest ratio of the two is proposed.

Notation
    n, m    trials told, objectives        s    axes, one per parameter
    u, a    (n, s) units and activity      y    (n, m) losses, less is better
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from nas.hpo.tpe import Axes, Parzen
from nas.rows import Rows
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Choice, Configuration, Int, Parameter

GOOD, BAD = 40, 1_000  # most components of the mixtures
BINS = 64  # an Int of more values is continuous: a kernel is wider than its bins
RHO = 0.05  # weight of the sum in the augmented Tchebycheff norm (Knowles 2006, eq. 2)


@strategies.register("tpe")
class TPE(Strategy):
    """The first ``initial`` trials are random; the best ``gamma`` of what was told is good; ``candidates`` are drawn.

    Trials compare by violation of the constraints, then by the dearest fidelity they reached, then by loss. Several
    objectives are joined anew in each ask by random weights.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        initial: int = 10,
        gamma: float = 0.15,
        candidates: int = 24,
    ) -> None:
        if initial < 1 or not 0 < gamma < 1 or candidates < 1:
            raise ValueError(
                f"tpe: initial={initial}, gamma={gamma}, candidates={candidates}; "
                "needs initial >= 1, 0 < gamma < 1, candidates >= 1"
            )
        super().__init__(problem, seed=seed)
        self.initial, self.gamma, self.candidates = initial, gamma, candidates
        slots = problem.space.slots
        ordered = [not isinstance(s.parameter, Choice) or s.parameter.ordered for s in slots]
        self.axes = Axes([_edges(slot.parameter) for slot in slots], ordered)
        self._told: dict[int, int] = {}  # place in the table by number of the trial
        self._table = np.empty((16, 2 * len(slots) + len(problem.objectives) + 2))

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        step = trial.last
        if step is None:
            return
        place = self._told.setdefault(trial.number, len(self._told))
        if place == len(self._table):
            self._table = np.concatenate([self._table, np.empty_like(self._table)])
        failed = step.error is not None
        metrics = {**trial.free, **step.metrics}
        losses = [math.inf] * len(self.problem.objectives) if failed else self.problem.losses(metrics)
        violation = math.inf if failed else self.problem.violation(metrics)
        self._table[place] = [*self._encode(trial.config), *losses, -step.fidelity.cost, violation]

    @cached_property
    def rows(self) -> Rows:
        """The space as columns."""
        return Rows(self.problem.space)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        space = self.problem.space
        if index < self.initial or not np.isfinite(self._table[: len(self._told), -1]).any():
            return space.sample(rng)
        good, bad = self._mixtures(rng, pending)
        u = good.sample(rng, self.candidates)
        rows = self._rows(u)
        a = ~np.isnan(rows)
        ratio = np.where(self.rows.hold(rows), good.log_ratio(u, a) - bad.log_ratio(u, a), -np.inf)
        for place in np.argsort(-ratio, kind="stable"):
            if ratio[place] > -np.inf and self.accepts(config := self.rows.config(rows[place])):
                return config
        return space.sample(rng)

    def _encode(self, config: Configuration) -> list[float]:
        """Return units, then activity."""
        slots = self.problem.space.slots
        active = [slot.path in config for slot in slots]
        units = (s.parameter.unit(config[s.path]) if on else 0.5 for s, on in zip(slots, active, strict=True))
        return [*units, *active]

    def _rows(self, u: np.ndarray) -> np.ndarray:
        """Return points ``u`` (k, s) as rows, see ``nas.rows``: NaN where an axis is inactive."""
        rows = np.empty_like(u)
        for s, column in enumerate(self.rows.columns):
            rows[:, s] = np.where(column.active(rows), column.draw(u[:, s]), np.nan)
        return rows

    def _mixtures(self, rng: np.random.Generator, pending: Sequence[Trial]) -> tuple[Parzen, Parzen]:
        s = len(self.problem.space.slots)
        table = self._table[: len(self._told)]
        order = self._order(table[:, 2 * s :], rng)
        succeeded = int(np.isfinite(table[:, -1]).sum())
        count = min(math.ceil(self.gamma * len(table)), GOOD, succeeded)
        good, rest = order[:count], order[count:]
        rest = rest[:: math.ceil(len(rest) / BAD) or 1]
        waiting = [np.array(self._encode(trial.config)) for trial in pending]
        bad = np.vstack([table[rest, : 2 * s], *waiting])
        weights = math.log(count + 1) - np.log(np.arange(1, count + 1))
        return self._mixture(table[good, : 2 * s], weights / weights.mean()), self._mixture(
            bad, np.ones(len(bad))
        )

    def _order(self, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the places of trials, best first; ``scores`` (n, m + 2) are losses, negated cost, violation."""
        y = scores[:, :-2]
        if y.shape[1] > 1:
            finite = np.isfinite(y).all(axis=1)
            low, high = y[finite].min(axis=0), y[finite].max(axis=0)
            scaled = rng.dirichlet(np.ones(y.shape[1])) * (y - low) / np.where(high > low, high - low, 1.0)
            y = (scaled.max(axis=1) + RHO * scaled.sum(axis=1))[:, None]
        return np.lexsort((y[:, 0], scores[:, -2], scores[:, -1]))

    def _mixture(self, rows: np.ndarray, weights: np.ndarray) -> Parzen:
        u, a = np.hsplit(rows, 2)
        a = a.astype(bool)
        w = np.append(weights, 1.0)
        return Parzen(self.axes, u, a, w / w.sum(), self.axes.bandwidths(u, a))


def _edges(parameter: Parameter) -> np.ndarray | None:
    """Return where the bins of ``parameter`` end in [0, 1]; None for a continuous one."""
    if parameter.size == 1:
        return np.array([0.0, 1.0])
    if isinstance(parameter, Choice):
        weights = np.array(parameter.weights or [1.0] * len(parameter.options))
        return np.append(0.0, np.cumsum(weights) / weights.sum())
    if isinstance(parameter, Int) and parameter.size <= BINS:
        values = range(parameter.low, parameter.high, parameter.step)
        return np.array([0.0, *(parameter.unit(value + 0.5 * parameter.step) for value in values), 1.0])
    return None
