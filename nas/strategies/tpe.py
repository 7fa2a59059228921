"""Tree-structured Parzen estimator (Bergstra et al. 2011), all parameters jointly (Falkner et al. 2018).

The best trials told make the good mixture, all others, with failed and pending ones, the bad. Candidates are drawn from
the good mixture; the new one with the highest ratio of the two is proposed.

Notation
    s       axes, one per parameter        u, a    (k, s) units and activity of k points
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from nas.hpo.standing import Standing
from nas.hpo.tpe import Axes, Parzen
from nas.rows import Rows
from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Problem, Trial
from search_spaces.space import Choice, Configuration, Int, Parameter

GOOD, BAD = 40, 500  # most components of the mixtures; a quarter of the bad ones gave the same regrets
BINS = 64  # an Int of more values is continuous: a kernel is wider than its bins


@strategies.register("tpe")
class TPE(Strategy):
    """The first ``initial`` trials are random; the best ``gamma`` of what was told is good; ``candidates`` are drawn.

    Trials compare by violation of the constraints, then by the dearest fidelity they reached, then by loss. With
    several objectives they compare by how many trials dominate them (Fonseca and Fleming 1993), of equals the loneliest
    first; the extremes of the front lead, and get the largest weights (as in MOTPE; Ozaki et al. 2022, section 4).
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
        self._points = np.empty((16, 2 * len(slots)))  # units and activity of what was told
        self._waiting: dict[int, np.ndarray] = {}  # points of what was in flight at the last ask, by number
        self._standing = Standing(len(problem.objectives))

    def tell(self, trial: Trial) -> None:
        super().tell(trial)
        step = trial.last
        if step is None:
            return
        place = self._told.setdefault(trial.number, len(self._told))
        if place == len(self._points):
            self._points = np.concatenate([self._points, np.empty_like(self._points)])
        self._points[place] = self._encode(trial.config)
        failed = step.error is not None
        metrics = {**trial.free, **step.metrics}
        losses = [math.inf] * len(self.problem.objectives) if failed else self.problem.losses(metrics)
        violation = math.inf if failed else self.problem.violation(metrics)
        self._standing.put(place, np.array([*losses, -step.fidelity.cost, violation]))

    @cached_property
    def rows(self) -> Rows:
        """The space as columns."""
        return Rows(self.problem.space)

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        space = self.problem.space
        if index < self.initial or not self._standing.succeeded:
            return space.sample(rng)
        good, bad = self._mixtures(pending)
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

    def _mixtures(self, pending: Sequence[Trial]) -> tuple[Parzen, Parzen]:
        """Return the good mixture and the bad one."""
        told = len(self._told)
        count = min(math.ceil(self.gamma * told), GOOD, self._standing.succeeded)
        order = self._standing.order(count)
        rest = order[count :: math.ceil((told - count) / BAD) or 1]
        waiting = self._in_flight(pending)
        weights = math.log(count + 1) - np.log(np.arange(1, count + 1))
        good = self._mixture(self._points[order[:count]], weights / weights.mean())
        return good, self._mixture(
            np.vstack([self._points[rest], *waiting]), np.ones(len(rest) + len(waiting))
        )

    def _in_flight(self, pending: Sequence[Trial]) -> list[np.ndarray]:
        """Return the points of what is ``pending``: with a thousand workers nearly all of it was so at the last ask."""
        known = self._waiting
        self._waiting = {
            one.number: known[one.number] if one.number in known else np.array(self._encode(one.config))
            for one in pending
        }
        return list(self._waiting.values())

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
