"""Memory exhausted for real: designs of which many take more than a child process may hold, searched all the same.

The limit is what the warm child holds, and ``ROOM`` more. Nothing is predicted here: the watch of the supervisor ends
what grows beyond the limit, and the strategies learn from failures alone.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from torch import nn

from estimators.dataset import Dataset, load, save
from estimators.estimator import Context, Fidelity
from estimators.split import Split
from estimators.train import TrainEstimator
from nas.executor import Limits, Task
from nas.executors.serial import Serial
from nas.shortage import resident
from nas.study import Study
from nas.trial import Budget, Constraint, Objective
from search_spaces.architecture import Opaque, SearchSpace
from search_spaces.space import Choice, Configuration, Float, Int, Space

SIDE, TRAINED, SCORED = 24, 512, 100
ROOM = 250_000_000  # bytes: three in ten random designs of the space need more


def digits() -> Dataset:
    """Return digits at three times their side, so that a layer's outputs are large beside its weights."""
    whole = load("digits")

    def part(split: Split, n: int) -> Split:
        return Split(np.kron(split.x[:n], np.ones((1, 1, 3, 3), np.uint8)), split.y[:n])

    train, val = part(whole.train, TRAINED), part(whole.val, SCORED)
    return dataclasses.replace(whole, train=train, val=val, test=part(whole.test, 50))


def build(config: Configuration) -> nn.Module:
    """Return a network of one wide layer and more of the same width on each pixel."""
    width, layers = int(config["width"]), [nn.Conv2d(1, int(config["width"]), 3, padding=1), nn.ReLU()]
    for _ in range(int(config["depth"]) - 1):
        layers += [nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


def space() -> SearchSpace:
    """Return widths, depths and batch sizes of which the largest need a hundred times the memory of the smallest."""
    network = Space(width=Int(8, 256, log=True, default=16), depth=Int(1, 4))
    recipe = Space(
        batch_size=Choice((16, 32, 64, 128, 256), ordered=True, default=32),
        lr=Float(1e-3, 1e-1, log=True, default=1e-2),
    )
    return SearchSpace(Opaque((1, SIDE, SIDE), 10, network, build), recipe)


def search(strategy: str, trials: int, seed: int, constraints: tuple[str, ...] = ()) -> dict:
    """Search ``trials`` designs; return the errors and the losses of the trials, and the limit."""
    family, executor = space(), Serial()
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        folder = Path(place)
        save(digits(), folder / "data")
        estimator = TrainEstimator(folder / "data", precision="float32")
        limit = warm(executor, family, estimator, folder) + ROOM
        study = Study(
            family.space,
            objectives=[Objective("loss")],
            strategy=strategy,
            seed=seed,
            key=family.key,
            constraints=[str(Constraint.parse(text)) for text in constraints],
        )
        try:
            study.run(
                estimator,
                family.decode,
                executor,
                Budget(trials),
                folder=folder / "runs",
                limits=lambda trial: Limits(memory=limit),
            )
        finally:
            executor.close()
        errors = [trial.steps[-1].error for trial in study.trials]
        losses = [trial.metrics.get("loss") for trial in study.trials]
    return {"limit": limit, "errors": errors, "losses": losses}


def warm(executor: Serial, family: SearchSpace, estimator: TrainEstimator, folder: Path) -> int:
    """Train the smallest design once; return the bytes that the child then holds."""
    design = family.decode(family.space.default())
    context = Context(seed=0, scratch=folder / "warm")
    result = executor.submit(Task(estimator, design, Fidelity(), context, Limits(memory=1 << 40))).result()
    assert result.error is None and executor._child is not None and executor._child._process is not None
    return resident(executor._child._process.pid)


def shares(errors: list[str | None]) -> tuple[float, float]:
    """Return the share of trials that ran out of memory in the first and in the last third."""
    failed = [error is not None and error.startswith("memory: ") for error in errors]
    third = len(failed) // 3
    return sum(failed[:third]) / third, sum(failed[-third:]) / third
