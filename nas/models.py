"""The Gaussian processes of a search: one for each objective, for success, for each constraint, and for seconds.

Hyperparameters are fitted on the first m observations, m on a grid, and on those alone: whenever that is done, after a
resume too, it has the same outcome. A process is then conditioned on all observations, or on ``HELD`` of them.

Notation
    m        observations        y    (m,) standardised
    inputs   points as a process sees them, see ``nas.encoder``
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from nas.encoder import Graphs, View, Vocabulary
from nas.hpo.acquisition import log_probability_below_zero
from nas.hpo.gp import GaussianProcess, fit, squash
from nas.hpo.kernel import Inputs
from nas.observations import Observation, constrained, first_steps, losses, margins, observe, succeeded
from nas.rows import Rows
from nas.source import Source
from nas.trial import Problem, Trial

FITTED = 240  # observations that hyperparameters are fitted on
HELD = 400  # observations that a process is conditioned on
UNLIKELY = 0.01  # probability of success below which nothing is told apart
Target = Callable[[Sequence[Observation]], np.ndarray]
Chosen = Callable[[Sequence[Observation]], Sequence[Observation]]
Weight = Callable[[Inputs], np.ndarray]  # inputs (n) to (n,), to be added to the logarithm of an acquisition


class Models:
    """What ``observations`` of designs say, with numbers warped or not.

    ``graphs`` in its methods: whether features of graphs are looked at.
    """

    def __init__(self, problem: Problem, rows: Rows, *, warp: bool = False) -> None:
        self.problem, self.rows, self.warp = problem, rows, warp
        self.seen: list[Observation] = []
        self.source: Source | None = None
        self._designs: dict[int, np.ndarray] = {}
        self._graph = None if problem.features is None else Graphs(problem.features, rows)
        self._fits: dict[tuple[str, bool], tuple[int, GaussianProcess]] = {}
        self._views: dict[bool, tuple[int, bool, Vocabulary | None]] = {}

    def append(self, trial: Trial) -> None:
        """Take note of the newest step of ``trial``."""
        if (seen := observe(self.problem, trial)) is not None:
            self.seen.append(seen)
            self.design(trial)

    def hear(self, source: Source | None) -> None:
        """Have processes of the objectives that ``source`` speaks of hear it from now on; None: none any more."""
        self.source = source
        self._fits = {key: known for key, known in self._fits.items() if not key[0].startswith("objective ")}

    def design(self, trial: Trial) -> np.ndarray:
        """Return the row (S,) of a trial."""
        if trial.number not in self._designs:
            self._designs[trial.number] = self.rows.row(trial.config)
        return self._designs[trial.number]

    def designs(self, seen: Sequence[Observation]) -> np.ndarray:
        """Return the rows (m, S) of observations."""
        return np.array([self._designs[one.trial] for one in seen])

    def view(self, graphs: bool) -> View:
        """Return how processes see designs; groups change only where hyperparameters are fitted anew."""
        count = grid_point(len(self.seen))
        if self._views.get(graphs, (0, None))[0] != count:
            vocabulary = None
            if graphs and self._graph is not None:
                told = [one.trial for one in self.seen[max(count - FITTED, 0) : count]]
                vocabulary = Vocabulary.of([self._graph(self._designs[number]) for number in told])
            rungs = len({one.cost for one in self.seen[:count]}) > 1
            self._views[graphs] = count, rungs, vocabulary
        _, rungs, vocabulary = self._views[graphs]
        costs = [one.cost for one in self.seen]
        return View(
            self.rows,
            (min(costs), max(costs) if rungs else min(costs)),
            vocabulary,
            self._graph if graphs else None,
            self.warp,
            None if self.source is None else partial(self.source.at, graphs=graphs),
        )

    def leading(self, most: int) -> list[Observation]:
        """Return at most ``most`` feasible observations, in the order told: the best by the sum of their ranks."""
        good = [place for place, one in enumerate(self.seen) if one.feasible]
        if len(good) < 2:
            return self._nearest(most)
        if len(good) > most:
            ranks = losses(self.seen)[good].argsort(axis=0, kind="stable").argsort(axis=0).sum(axis=1)
            good = [good[at] for at in np.sort(np.argsort(ranks, kind="stable")[:most])]
        return [self.seen[place] for place in good]

    def _nearest(self, most: int) -> list[Observation]:
        """Return at most ``most`` observations that are nearest to being feasible, best first; failures last."""

        def excess(one: Observation) -> float:
            return math.inf if one.losses is None else sum(max(margin, 0.0) for margin in one.margins)

        return sorted(self.seen, key=excess)[:most]

    @property
    def feasible(self) -> int:
        """How many trials had a feasible step."""
        return len({one.trial for one in self.seen if one.feasible})

    def objectives(self, graphs: bool) -> list[GaussianProcess]:
        """Return a process for each objective, of squashed losses."""
        heard = frozenset() if self.source is None else self.source.objectives
        return [
            model
            for at, one in enumerate(self.problem.objectives)
            if (
                model := self._process(
                    f"objective {at}", graphs, list, partial(_column, at=at), hears=one.name in heard
                )
            )
        ]

    def success(self, graphs: bool) -> list[Weight]:
        """Return the log probability that a step succeeds, by a process on 1 and 0; nothing when none has failed."""
        if all(one.losses is not None for one in self.seen):
            return []
        model = self._process("success", graphs, list, succeeded)
        return (
            [] if model is None else [lambda inputs: np.log(np.clip(model.predict(inputs)[0], UNLIKELY, 1.0))]
        )

    def margins(self, graphs: bool) -> list[Weight]:
        """Return the log probability that each constraint holds (Gardner et al. 2014, eq. 4)."""
        weights: list[Weight] = []
        for at, constraint in enumerate(self.problem.constraints):
            known = partial(constrained, at=at)
            model = self._process(f"margin {constraint}", graphs, known, partial(margins, at=at))
            if model is not None:
                weights.append(partial(_log_inside, model))
        return weights

    def seconds(self, graphs: bool) -> list[Weight]:
        """Return minus the log of the seconds per unit of cost; nothing unless the budget is time."""
        if not self.problem.timed:
            return []
        firsts = first_steps(self.seen)
        rates = np.array([one.rate for one in firsts])
        shift, spread = float(rates.mean()), float(rates.std()) or 1.0
        model = self._process("seconds", graphs, first_steps, _rates)
        return [] if model is None else [lambda inputs: -shift - spread * model.predict(inputs)[0]]

    def _process(
        self, name: str, graphs: bool, chosen: Chosen, target: Target, *, hears: bool = False
    ) -> GaussianProcess | None:
        """Return the process on ``target`` of what is ``chosen`` of all that was seen; None where that is one or none.

        Its hyperparameters are those of what was chosen of the first observations on the grid, as ``view`` is.
        ``hears``: whether it hears the source.
        """
        view, count = self.view(graphs), grid_point(len(self.seen))
        if not hears:
            view = replace(view, source=None)
        if len(chosen(self.seen[:count])) < 2:
            return None
        if self._fits.get((name, graphs), (0, None))[0] != count:
            x, y = self._held(view, chosen(self.seen[:count]), target, FITTED)
            self._fits[name, graphs] = count, fit(x, y)
        return self._fits[name, graphs][1].given(*self._held(view, chosen(self.seen), target, HELD))

    def _held(
        self, view: View, seen: Sequence[Observation], target: Target, most: int
    ) -> tuple[Inputs, np.ndarray]:
        y = target(seen)
        kept = spread_over(y, most)
        return self._inputs(view, [seen[at] for at in kept]), y[kept]

    def _inputs(self, view: View, seen: Sequence[Observation]) -> Inputs:
        return view.inputs(self.designs(seen), np.array([one.cost for one in seen]))


def grid_point(m: int) -> int:
    """Return the count of told steps, at most ``m``, that hyperparameters are fitted on: all, then every tenth part."""
    if m <= 40:
        return m
    step = 5 if m <= 100 else 10 if m <= 200 else 20 if m <= 400 else 50 if m <= 1000 else m // 1000 * 100
    return m // step * step


def spread_over(y: np.ndarray, most: int) -> np.ndarray:
    """Return at most ``most`` places of ``y`` (m,), in order: the best half, and the rest evenly in the order told."""
    if len(y) <= most:
        return np.arange(len(y))
    order = np.argsort(y, kind="stable")
    rest = np.sort(order[most // 2 :])
    evenly = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return np.sort(np.concatenate([order[: most // 2], evenly]))


def _column(seen: Sequence[Observation], *, at: int) -> np.ndarray:
    return squash(losses(seen)[:, at])


def _log_inside(model: GaussianProcess, inputs: Inputs) -> np.ndarray:
    return log_probability_below_zero(*model.predict(inputs))


def _rates(seen: Sequence[Observation]) -> np.ndarray:
    """Return the log seconds per unit of cost (m,), standardised."""
    rates = np.array([one.rate for one in seen])
    return (rates - rates.mean()) / (float(rates.std()) or 1.0)
