"""Trainings of random designs, epoch by epoch: the table in which schedulers are compared without training anything.

Designs are drawn as a random search draws them, network and recipe together; the same numbers give the same designs.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from estimators.dataset import Dataset, load, open_saved, save
from estimators.estimator import Context, Fidelity
from estimators.preprocess import to_shape
from estimators.split import Split
from estimators.train import TrainEstimator, evaluate_split, standardisation, trained_weights
from nas.draws import Draw, draw
from nas.joint import joint_space

DESIGNS, SEEDS, EPOCHS = {"chain": 100, "mobile": 50}, (0, 1), 15
TRAINED, SCORED, TESTED = 6_000, 2_000, 5_000  # images
DRAWN = 7  # seed of the designs
SIDES = {"chain": 28, "mobile": 14}  # pixels: at 28 a training of `mobile` takes four minutes
MOST = {
    "chain": 0.75,
    "mobile": 2.0,
}  # times the default's multiply-accumulates: beyond it a design is not trained
DIGITS = 5  # significant ones that are kept


@dataclass(frozen=True)
class Drawn:
    """A design of the table: its space, the number of its draw, and the draw."""

    space: str
    number: int
    draw: Draw


def images(folder: Path, side: int, *, tested: int = TESTED) -> Path:
    """Save the first images of Fashion-MNIST at ``side`` pixels, in the order of its own split, into ``folder``."""
    whole = load("fashion-mnist", seed=0)

    def first(split: Split, n: int) -> Split:
        x = to_shape(torch.from_numpy(np.array(split.x[:n])), (1, side, side))
        return Split(x.numpy(), split.y[:n])

    parts = {
        "train": first(whole.train, TRAINED),
        "val": first(whole.val, SCORED),
        "test": first(whole.test, tested),
    }
    return save(replace(whole, **parts, saved_in=None), folder)


def designs(name: str, data: Dataset, number: int) -> Iterator[Drawn]:
    """Yield the first ``number`` different designs of the space ``name`` that are not larger than ``MOST`` says."""
    space = joint_space(data, name)
    limit = MOST[name] * space.measure(space.space.default())["macs"]
    met = set[str]()
    for i in count():
        one = draw(space, i, DRAWN)
        if isinstance(one, Draw) and one.design.macs <= limit and one.design.key not in met:
            met.add(one.design.key)
            yield Drawn(name, i, one)
        if len(met) == number:
            return


def train(one: Drawn, data: Path, *, seed: int, epochs: int) -> dict[str, Any]:
    """Return the line of the table that training ``one`` with ``seed`` makes; a diverged one has an ``error``.

    ``seconds`` are CPU seconds of one thread from the beginning of an epoch to the scores after it, so that other work
    on the machine does not count.
    """
    points, began = list[dict[str, float]](), [time.process_time()]

    def report(step: int, metrics: Mapping[str, float]) -> None:
        now = time.process_time()
        points.append(_short({**metrics, "seconds": now - began[0]}))
        began[0] = now

    with TemporaryDirectory(prefix="nas-") as scratch:
        context = Context(
            seed=seed, scratch=Path(scratch), epochs=epochs, horizon=epochs, threads=1, report=report
        )
        result = TrainEstimator(data, precision="float32").evaluate(
            one.draw.design, Fidelity(epochs), context
        )
        test = None
        if result.error is None:
            weights = Path(scratch) / str(result.checkpoint)
            held_out = open_saved(data).test
            found, _ = evaluate_split(
                one.draw.design, trained_weights(weights), held_out, standardisation(weights)
            )
            test = _short(found)["accuracy"]
    return {
        "space": one.space,
        "number": one.number,
        "seed": seed,
        "config": dict(one.draw.design.config),
        "params": one.draw.design.parameters,
        "macs": one.draw.design.macs,
        "curve": points,
        "test": test,
        "error": result.error,
    }


def _short(metrics: Mapping[str, float]) -> dict[str, float]:
    kept = ("accuracy", "loss", "train_loss", "seconds")
    return {name: float(f"{metrics[name]:.{DIGITS}g}") for name in kept if name in metrics}


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a table; a line that a kill tore is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for at, line in enumerate(lines):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            if at < len(lines) - 1:
                raise
    return found
