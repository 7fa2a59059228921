"""Whole searches under early stopping on a truth that is fitted to trained designs, with a supernet as a source or not.

The worth of any design of the space is what a process fitted to the accuracies of the trained ones says of it, in
deviations over random designs; so the truth is smoother than a real one. A trial sees it with noise, the less the
further it is trained. The source is heard from start ``LATE`` on, when a search would have called for a supernet;
what that costs is not taken off.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from estimators.dataset import open_saved
from estimators.estimator import Fidelity
from experiments.supernet_rank.truth import DESIGNS, MOST, designs, space_of
from nas.draws import Draw, draw, features
from nas.rows import Rows
from nas.source import Source
from nas.strategies.auto import ENDED_EARLY, Auto
from nas.study import Study
from nas.trial import Objective, Problem, Trial
from search_spaces.architecture import SearchSpace
from search_spaces.space import Configuration

NOISE = {1: 1.0, 3: 0.5, 9: 0.25}  # deviations of what a rung says, in those of the worth of random designs
LADDER = tuple(Fidelity(epochs) for epochs in NOISE)
BUDGET = 270  # epochs: thirty trainings to the end
LATE = 24
SHARES = (0.5, 1.0)  # of the budget at which it is asked what was found
DRAWN, DRAWS = 99, 400  # seed and number of the random designs


class Turns(Auto):
    """``auto`` that asks ``gp`` every second time under early stopping, whether there is a source or not."""

    def _server_of(self, rng: np.random.Generator, index: int, pending: int) -> str:
        return "gp" if index >= ENDED_EARLY and index % 2 else super()._server_of(rng, index, pending)


@dataclass(frozen=True)
class Task:
    """A space within a ``bound``, what its designs are worth, and the ``scored`` ones of a supernet."""

    space: SearchSpace
    bound: str
    worth: Callable[[Configuration], float]
    scored: Sequence[tuple[Configuration, float]]


def task_of(name: str, data: Path, accuracy: Mapping[int, float], score: Mapping[int, float]) -> Task:
    """Return the task of the space ``name``, of ``accuracy`` and ``score`` by the numbers of its designs."""
    space = space_of(name, data)
    bound = MOST[name] * space.measure(space.space.default())["macs"]
    known = list(designs(name, open_saved(data), DESIGNS[name][0]))
    configs = [one.design.config for one in known]
    problem = Problem(space.space, (Objective("accuracy", maximize=True),), features=partial(features, space))
    fitted = Source(problem, configs, [accuracy[one.number] for one in known], ["accuracy"])
    rows = Rows(space.space)

    def said(config: Configuration) -> float:
        return -float(fitted.at(rows.row(config)[None], graphs=True)[0])

    drawn: list[float] = []
    number = 0
    while len(drawn) < DRAWS:
        one = draw(space, number, DRAWN)
        if isinstance(one, Draw) and one.design.macs <= bound:
            drawn.append(said(one.design.config))
        number += 1
    middle, deviation = float(np.mean(drawn)), float(np.std(drawn))
    scored = [(config, score[one.number]) for config, one in zip(configs, known, strict=True)]
    return Task(space, f"macs<={bound}", lambda config: (said(config) - middle) / deviation, scored)


def search(task: Task, strategy: str | type[Auto], seed: int, *, heard: bool) -> list[float]:
    """Return the worth of the best design trained to the end, by what the search saw, at each of ``SHARES``."""
    study = Study(
        task.space.space,
        objectives=["accuracy"],
        constraints=[task.bound],
        strategy=strategy,
        scheduler="asha",
        ladder=LADDER,
        seed=seed,
        key=task.space.key,
        measure=task.space.measure,
        features=partial(features, task.space),
    )
    rng, spent = np.random.default_rng((seed, DRAWN)), 0
    found: list[float] = []
    ended: list[tuple[float, float]] = [
        (-np.inf, 0.0)
    ]  # what was seen, what it is worth: 0 is a random design
    while len(found) < len(SHARES):
        if heard and study.history.starts == LATE and not study.strategy.source:
            study.hear(task.scored)
        trial: Trial = study.ask()
        assert trial.asked is not None
        epochs, worth = trial.asked.fidelity.epochs, task.worth(trial.config)
        seen = worth + NOISE[epochs] * rng.standard_normal()
        study.tell(trial, {"accuracy": seen})
        spent += epochs - trial.asked.start
        if epochs == LADDER[-1].epochs:
            ended.append((seen, worth))
        if spent >= SHARES[len(found)] * BUDGET:
            found.append(max(ended)[1])
    return found
