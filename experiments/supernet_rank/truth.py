"""What a supernet is measured against: random networks, each trained by itself with one recipe.

Images are the first 6,000 of Fashion-MNIST at 14 pixels: at 28 a design of ``mobile`` would take minutes on one core.
Networks alone differ, so that what is ranked is what a supernet shares. The truth is the accuracy on all 10,000 test
images, which no score has seen: on 2,000 of validation designs of ``mobile`` lie within three deviations of the noise.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from estimators.dataset import Dataset, open_saved
from estimators.estimator import Context, Fidelity
from estimators.train import TrainEstimator, evaluate_split, standardisation, trained_weights
from nas.draws import Draw, draw
from nas.joint import joint_space
from nas.warm_start import with_default_recipe
from search_spaces.architecture import Design, SearchSpace

SIDE = 14
DESIGNS = {"mobile": (96, (0, 1)), "chain": (32, (0,)), "cell": (32, (0,))}  # how many, with which seeds
MOST = {"mobile": 2.0, "chain": 2.0, "cell": 1.0}  # times the default's multiply-accumulates
EPOCHS = 8
DRAWN = 11  # seed of the designs
TESTED = 10_000  # images


@dataclass(frozen=True)
class Known:
    """A design of the sample and the number of its draw."""

    number: int
    design: Design


def space_of(name: str, data: Path) -> SearchSpace:
    """Return the joint space of ``name`` on the images saved in ``data``."""
    return joint_space(open_saved(data), name)


def designs(name: str, data: Dataset, number: int) -> Iterator[Known]:
    """Yield the first ``number`` different networks of the space ``name`` that are not too large, with one recipe."""
    space = joint_space(data, name)
    limit = MOST[name] * space.measure(space.space.default())["macs"]
    met = set[str]()
    for i in count():
        one = draw(space, i, DRAWN)
        if not isinstance(one, Draw) or one.design.macs > limit:
            continue
        design = space.decode(with_default_recipe(space, one.design.config))
        if design.graph is None or not design.graph.reached or not design.macs or design.key in met:
            continue
        met.add(design.key)
        yield Known(i, design)
        if len(met) == number:
            return


def train(known: Known, data: Path, *, seed: int, epochs: int, inherit: Path | None = None) -> dict[str, Any]:
    """Return validation accuracies and CPU seconds by epoch of ``known`` trained with ``seed`` on one thread.

    At the end the accuracy on the test images is told too. With ``inherit`` it begins with the weights of the supernet
    in that file.
    """
    points: list[list[float]] = []
    began = time.process_time()

    def report(step: int, metrics: Any) -> None:
        points.append([round(metrics["accuracy"], 5), round(time.process_time() - began, 3)])

    with TemporaryDirectory(prefix="nas-") as scratch:
        context = Context(
            seed=seed, scratch=Path(scratch), epochs=epochs, horizon=epochs, threads=1, report=report
        )
        estimator = TrainEstimator(data, precision="float32", inherit=inherit)
        result = estimator.evaluate(known.design, Fidelity(epochs), context)
        tested = None
        if result.error is None:
            file = Path(scratch) / str(result.checkpoint)
            network, standardise = trained_weights(file), standardisation(file)
            tested = evaluate_split(known.design, network, open_saved(data).test, standardise)[0]["accuracy"]
    about = {
        "number": known.number,
        "seed": seed,
        "params": known.design.parameters,
        "macs": known.design.macs,
    }
    return {**about, "curve": points, "test": tested, "error": result.error}


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of trainings; a last one that was torn is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def fill(path: Path, name: str, data: Path, *, number: int, seeds: tuple[int, ...], epochs: int) -> None:
    """Append the trainings that the file lacks: all designs with one seed, then with the next."""
    done = {(row["number"], row["seed"]) for row in rows(path)}
    for seed in seeds:
        for known in designs(name, open_saved(data), number):
            if (known.number, seed) not in done:
                row = train(known, data, seed=seed, epochs=epochs)
                with path.open("a") as file:
                    file.write(json.dumps(row, separators=(",", ":")) + "\n")
                took = row["curve"][-1][1] if row["curve"] else None
                print(f"{name} #{known.number} seed {seed}: {row['test']}, {took} s", flush=True)
