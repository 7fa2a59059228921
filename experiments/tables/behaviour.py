"""What a search does with failures, with a space that ends, with trials in flight, and after a resume."""

import math
from collections.abc import Sequence
from pathlib import Path

from experiments.tables.functions import mixed, mixed_space
from nas.study import Finished, Study
from nas.trial import Trial
from search_spaces.space import Choice, Configuration, Float, Space

LAYERS = tuple(range(8))
WIDTHS = tuple(range(10))


def cliff(config: Configuration) -> float:
    """A loss that falls towards a region of NaN, 40 % of the space, and is least at its edge."""
    if config["x"] > 0.6:
        return math.nan
    return (0.6 - config["x"]) ** 2 + 0.5 * (config["y"] - 0.4) ** 2 + 0.2 * (config["z"] - 0.5) ** 2


def failures(strategy: str, trials: int, seed: int) -> int:
    """Return how many of ``trials`` lie where ``cliff`` fails."""
    space = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0), z=Float(0.0, 1.0))
    with Study(space, strategy=strategy, seed=seed) as study:
        for _ in range(trials):
            trial = study.ask()
            study.tell(trial, cliff(trial.config))
        return sum(trial.failed for trial in study.trials)


def small_space() -> Space:
    """Return a space of 80 points."""
    return Space(layers=Choice(LAYERS, ordered=True), width=Choice(WIDTHS, ordered=True))


def distinct(strategy: str, seed: int) -> int:
    """Return how many of all trials in a space of 80 points differ; it ends by itself."""
    with Study(small_space(), strategy=strategy, seed=seed) as study:
        try:
            while True:
                trial = study.ask()
                study.tell(trial, abs(trial.config["layers"] - 5.0) + abs(trial.config["width"] - 2.0))
        except Finished:
            assert len(study.trials) <= 80
        return len({trial.config for trial in study.trials})


def pending(strategy: str, seed: int) -> int:
    """Return how many of eight trials in flight differ, after 20 told ones."""
    with Study(mixed_space(), strategy=strategy, seed=seed) as study:
        walk(study, 20)
        return len({study.ask().config for _ in range(8)})


def walk(study: Study, trials: int) -> list[Trial]:
    """Tell ``trials`` more trials of ``mixed``; return all."""
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, mixed(trial.config))
    return study.trials


def resumed(strategy: str, seed: int, folder: Path, parts: Sequence[int]) -> list[Configuration]:
    """Return the configurations of a search that is closed and opened again after each of ``parts``."""
    trials: list[Trial] = []
    for part in parts:
        with Study(mixed_space(), strategy=strategy, seed=seed, storage=folder / "study.log") as study:
            trials = walk(study, part)
    return [trial.config for trial in trials]
