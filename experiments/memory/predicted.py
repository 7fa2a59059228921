"""Predicted peaks of memory beside measured ones: random designs, each trained for a few steps in a warm child."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from estimators.cost.memory import predict_memory
from estimators.dataset import Dataset, save
from estimators.estimator import Context, Fidelity, Result
from estimators.split import Split
from estimators.train import TrainEstimator
from nas.draws import Draw, draw
from nas.executor import Task
from nas.executors.serial import Serial
from nas.joint import joint_space

SPACES = ("chain", "mobile", "cell", "residual")
SHAPE, CLASSES = (3, 32, 32), 10
TRAINED, SCORED = 768, 256  # images: three steps at the largest batch, two validation batches


def images(seed: int) -> Dataset:
    """Return random images; what they show does not count here."""
    rng = np.random.default_rng(seed)

    def part(n: int) -> Split:
        return Split(rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8), rng.integers(0, CLASSES, n))

    return Dataset("random", part(TRAINED), part(SCORED), part(50), tuple(map(str, range(CLASSES))))


@contextmanager
def child() -> Iterator[tuple[Serial, Path]]:
    """A warm child process, and a folder that holds the images."""
    executor = Serial()
    try:
        with tempfile.TemporaryDirectory(prefix="nas-") as place:
            save(images(0), Path(place) / "data")
            yield executor, Path(place)
    finally:
        executor.close()


def designs(space: str, count: int, seed: int) -> Iterator[Draw]:
    """Yield the first ``count`` valid draws of ``space``, of batches as a search of more than 5,000 images has them."""
    search_space, number, found = joint_space(images(0), space), 0, 0
    while found < count:
        one = draw(search_space, number, seed)
        number += 1
        if isinstance(one, Draw):
            found += 1
            yield one


def measure(executor: Serial, place: Path, one: Draw) -> Result:
    """Train ``one`` for three steps and score it, twice: from the second epoch on, a copy of the state is kept."""
    estimator = TrainEstimator(place / "data", metrics=["memory"], precision="float32")
    context = Context(seed=0, scratch=place / "scratch", epochs=2)
    fidelity = Fidelity(2, min(3 * one.design.recipe["batch_size"] / TRAINED, 1.0))
    return executor.submit(Task(estimator, one.design, fidelity, context)).result()


def compare(space: str, count: int, seed: int) -> list[dict]:
    """Return predicted and measured bytes of ``count`` designs of ``space``; the first training warms the child up."""
    rows = []
    with child() as (executor, place):
        measure(executor, place, next(designs(space, 1, seed + 1)))
        for one in designs(space, count, seed):
            predicted, result = predict_memory(one.design), measure(executor, place, one)
            if result.error is not None:
                raise RuntimeError(f"{space} #{one.number}: {result.error}")
            rows.append(
                {
                    "draw": one.number,
                    "batch": one.design.recipe["batch_size"],
                    "nodes": len(one.design.graph.nodes),
                    "parts": {name: round(value) for name, value in predicted.parts.items()},
                    "predicted": round(predicted.total),
                    "measured": round(result.metrics["memory"]),
                }
            )
    return rows


def errors(rows: list[dict]) -> np.ndarray:
    """Return |measured / predicted - 1| of each of ``rows``, sorted."""
    return np.sort([abs(row["measured"] / row["predicted"] - 1) for row in rows])
