"""Whether training in bfloat16 and in float16 with a loss scale reaches the accuracy of float32, on a CPU.

    python -m experiments.precision.run [--quick]

Every seed trains the same network in the three precisions from the same weights on the same batches, so that
differences are paired; scores are those of the float32 network, as everywhere.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

from estimators.dataset import Dataset, load, save
from estimators.device import PRECISIONS
from estimators.estimator import Context, Fidelity
from estimators.train import TrainEstimator
from experiments.record import Record
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.spaces.chain import Chain

SEEDS = range(5)
CODE = [f"estimators/{name}.py" for name in ("train", "loop", "batches", "average", "optimizer", "score")]


def trained(data: Dataset, precision: str, seed: int, epochs: int, scratch: Path) -> dict:
    """Train the default design; more than one thread gains nothing on 8 x 8 pixels."""
    joint = SearchSpace(Chain(data.shape, len(data.classes)), recipe_space(data.shape, 10, len(data.train)))
    estimator = TrainEstimator(save(data, scratch / f"{precision}-{seed}"), precision=precision)
    context = Context(seed=seed, scratch=scratch, threads=1, horizon=epochs)
    began = time.perf_counter()
    result = estimator.evaluate(joint.decode(joint.space.default()), Fidelity(epochs), context)
    assert result.error is None, result.error
    last = {name: result.metrics[name] for name in ("accuracy", "loss", "train_loss")}
    return {**last, "seconds": time.perf_counter() - began}


def accuracies(found: dict[str, dict], precision: str) -> list[float]:
    return [found[f"{precision} {seed}"]["accuracy"] for seed in SEEDS]


def claims(found: dict[str, dict]) -> list[tuple]:
    """Return (claim, value, bar, whether it holds): mean paired differences beside the spread of float32 over seeds."""
    spread = statistics.stdev(accuracies(found, "float32"))
    rows = []
    for precision in ("bfloat16", "float16"):
        pairs = zip(accuracies(found, precision), accuracies(found, "float32"), strict=True)
        differences = [half - full for half, full in pairs]
        mean, error = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(SEEDS))
        print(
            f"{precision} - float32: {mean:+.4f} (standard error {error:.4f}); seeds spread by {spread:.4f}"
        )
        claim = f"accuracy in {precision} less that in float32, mean of {len(SEEDS)} seeds"
        rows.append((claim, mean, f">= {-spread:.4f} (the deviation of float32 over seeds)", mean >= -spread))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one epoch; nothing is recorded")
    quick = parser.parse_args().quick
    epochs = 1 if quick else 20
    record, found, data = Record(__file__, *CODE), {}, load("digits")
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            for precision in PRECISIONS:
                name = f"{precision} {seed}"
                found[name] = (None if quick else record.run(name)) or trained(
                    data, precision, seed, epochs, Path(folder)
                )
                if not quick:
                    record.add(name, found[name])
                print(name, {key: round(value, 4) for key, value in found[name].items() if key != "code"})
    for claim, value, bar, holds in claims(found):
        print(f"{claim}: {value:+.4f} ({bar}): {'holds' if holds else 'DOES NOT HOLD'}")
        if not quick:
            command = "python -m experiments.precision.run"
            record.show(claim, value, bar, holds, seeds=list(SEEDS), command=command)


if __name__ == "__main__":
    main()
