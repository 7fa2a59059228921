"""A supernet of NAS-Bench-201 in a small skeleton: how its scores rank cells by the table's accuracy after 200 epochs.

    python -m experiments.supernet_nb201.run --cifar FOLDER [--quick] [--kernels centre,apart]

``FOLDER`` holds CIFAR-10 as train/ and test/ class folders; ``NAS_DATA`` names the folder of nb201_table.npz. Published
one-shot supernets rank all cells at Kendall's tau 0.485, few-shot ones 0.551, and within the best tenth at -0.23 and
-0.08 (Zhao et al. 2021); counting MACs has 0.58. ``--quick`` trains two epochs, scores twelve cells and keeps nothing.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from estimators import cache
from estimators.dataset import Dataset, load, save
from estimators.device import keep_memory
from estimators.estimator import Context, Fidelity
from estimators.preprocess import to_shape
from estimators.sharing.paths import Paths
from estimators.sharing.supernet import Plan, Supernet
from estimators.split import Split
from estimators.train import TrainEstimator
from experiments.nb201.table import read
from experiments.record import ROOT, Record, code_hash
from experiments.supernet_rank.ranks import Interval, interval
from nas.trust import resamples, taus
from search_spaces.architecture import Design, SearchSpace
from search_spaces.configuration import Configuration
from search_spaces.recipe import recipe_space
from search_spaces.spaces.cell import NAS_BENCH_201, Cell, Skeleton

TABLE = Path(os.environ.get("NAS_DATA", ROOT / "../shared/data")) / "nb201_table.npz"
COMMAND = "python -m experiments.supernet_nb201.run --cifar FOLDER"
MEASURED = ("estimators", "search_spaces", "experiments/supernet_nb201/run.py")
SIDE, SKELETON = 16, Skeleton(width=8, cells=1, stages=3, reduction="residual", dropout=0.0)
EPOCHS, SEED = 60, 0
ALONE, ALONE_EPOCHS = 40, 20  # of the random cells, trained by themselves
ALL, BEST = 300, 100  # random cells, and random ones of the best tenth of the table


def small(folder: str, place: Path) -> Path:
    """Save the images of ``folder`` at ``SIDE`` pixels in ``place``."""
    whole = load(folder, seed=SEED)

    def resized(split: Split) -> Split:
        x = to_shape(torch.from_numpy(np.array(split.x)), (3, SIDE, SIDE))
        return Split(x.numpy(), split.y)

    parts = {name: resized(getattr(whole, name)) for name in ("train", "val", "test")}
    reduced: Dataset = replace(whole, **parts, saved_in=None)
    return save(reduced, place)


def space() -> SearchSpace:
    """Return the space of cells in the small skeleton."""
    shape = (3, SIDE, SIDE)
    family = Cell(shape, 10, operations=NAS_BENCH_201, skeleton=SKELETON)
    return SearchSpace(family, recipe_space(shape, 10, 9_000))


def sampled(joint: SearchSpace, counts: tuple[int, int]) -> dict[str, list[tuple[int, Design, float]]]:
    """Return rows, designs and CIFAR-10 test accuracies of random cells, of all and of the best tenth.

    No two of a list are one network, and each has images at its output.
    """
    configs, _ = read(TABLE)
    with np.load(TABLE) as data:
        accuracy = data["test_acc"][:, list(data["test_datasets"]).index("cifar10")].astype(float)
    bound = np.quantile(accuracy, 0.9)
    order = np.random.default_rng(SEED).permutation(len(configs))
    found: dict[str, list[tuple[int, Design, float]]] = {}
    for kind, count, low in (("all", counts[0], -np.inf), ("best tenth", counts[1], bound)):
        met: set[str] = set()
        rows: list[tuple[int, Design, float]] = []
        for row in order:
            design = designed(joint, configs[row])
            if accuracy[row] < low or design.graph is None or not design.graph.reached or design.key in met:
                continue
            met.add(design.key)
            rows.append((int(row), design, float(accuracy[row])))
            if len(rows) == count:
                break
        found[kind] = rows
    return found


def designed(joint: SearchSpace, cell: Mapping[str, Any]) -> Design:
    """Return the design of a cell of the table, with the default recipe."""
    default = joint.space.default()
    return joint.decode(Configuration({**default, **{f"architecture.{path}": v for path, v in cell.items()}}))


def trained(
    joint: SearchSpace, data: Path, folder: Path, kernels: str, epochs: int
) -> tuple[Supernet, float]:
    """Return the supernet, trained, and the CPU seconds of what was trained now."""
    file = folder / f"nb201-{kernels}-{epochs}-{code_hash(*MEASURED)}.safetensors"
    net = Supernet(joint, data, Plan(epochs, Paths(), kernels=kernels), file, seed=SEED, precision="float32")
    began = time.process_time()
    net.train(
        report=lambda epoch, metrics: print(
            f"{kernels}: epoch {epoch}, loss {metrics['train_loss']:.3f}", flush=True
        )
    )
    return net, time.process_time() - began


def alone(record: Record, data: Path, rows: Sequence[tuple[int, Design, float]]) -> dict[int, float]:
    """Return by row the validation accuracy of each design trained by itself in the small skeleton; kept one by one."""
    found = {}
    for row, design, _ in rows:
        if (known := record.run(f"alone {row}")) is None:
            with tempfile.TemporaryDirectory(prefix="nas-") as scratch:
                context = Context(
                    seed=SEED, scratch=Path(scratch), epochs=ALONE_EPOCHS, horizon=ALONE_EPOCHS, threads=1
                )
                estimator = TrainEstimator(data, precision="float32")
                result = estimator.evaluate(design, Fidelity(ALONE_EPOCHS), context)
            accuracy = float(result.metrics.get("accuracy", 0.0))  # one that diverged is the worst
            record.add(
                f"alone {row}", {"accuracy": accuracy, "seconds": result.seconds, "error": result.error}
            )
            known = record.run(f"alone {row}")
            print(f"cell {row} by itself: {accuracy:.3f} in {result.seconds:.0f} s", flush=True)
        found[row] = float(known["accuracy"])
    return found


def show_alone(
    record: Record, own: Mapping[int, float], samples: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    """Keep how the small skeleton itself follows the table, and how a supernet follows the small skeleton."""
    one = samples["all"]
    at = [place for place, row in enumerate(one["rows"]) if row in own]
    accuracy = [own[int(one["rows"][place])] for place in at]
    for text, score, truth in (
        (
            "cells trained by themselves in the small skeleton",
            accuracy,
            [one["truth"][place] for place in at],
        ),
        (
            "the supernet with the same cells trained by themselves",
            [one["accuracy"][p] for p in at],
            accuracy,
        ),
        ("MACs with the same cells trained by themselves", [one["MACs"][p] for p in at], accuracy),
    ):
        value = tau(score, truth)
        print(f"{len(at)} {text}: tau {value}", flush=True)
        bar = f"reported; 90 % {value.low:.2f} to {value.high:.2f}"
        record.show(f"{len(at)} cells: tau of {text}", value.value, bar, True, seeds=[SEED], command=COMMAND)


def tau(score: Sequence[float], truth: Sequence[float]) -> Interval:
    """Return Kendall's tau of two lists with its 90 % bootstrap interval."""
    return interval(taus(np.asarray(score, float), np.asarray(truth, float), resamples(len(score))))


def found_of(joint: SearchSpace, net: Supernet, counts: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Return by kind of sample the table's accuracies, the supernet's scores, and what is free."""
    scorer, found = net.scorer(), dict[str, Any]()
    for kind, rows in sampled(joint, counts).items():
        scores = [scorer.score(design) for _, design, _ in rows]
        found[kind] = {
            "rows": [row for row, _, _ in rows],
            "truth": [accuracy for _, _, accuracy in rows],
            "accuracy": [one["accuracy"] for one in scores],
            "loss": [-one["loss"] for one in scores],
            "MACs": [design.macs for _, design, _ in rows],
        }
    return {"samples": found, "seconds": seconds, "loss": net.curve[-1]}


def show(record: Record, kernels: str, samples: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Keep tau of the supernet and of MACs in each sample, beside what was published."""
    published = {"all": "published 0.485 one-shot, 0.551 few-shot", "best tenth": "published -0.23, -0.08"}
    for kind, one in samples.items():
        for what in ("accuracy", "loss", "MACs"):
            value = tau(one[what], one["truth"])
            about = f"{len(one['truth'])} cells of {kind}, kernels {kernels}: tau of {what}"
            bar = f"reported; {published[kind]}; 90 % {value.low:.2f} to {value.high:.2f}"
            print(f"{about}: {value}", flush=True)
            record.show(about, value.value, bar, True, seeds=[SEED], command=COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", required=True, help="folder of CIFAR-10 as train/ and test/ class folders")
    parser.add_argument("--kernels", default="centre,apart")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    joint = space()
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        data = small(options.cifar, Path(place) / "data")
        if options.quick:
            net, seconds = trained(joint, data, Path(place), "centre", 2)
            for kind, one in found_of(joint, net, (12, 6), seconds)["samples"].items():
                print(f"{kind}: tau {tau(one['accuracy'], one['truth'])} after two epochs, {seconds:.0f} s")
            return
        record, folder = Record(__file__, *MEASURED), cache.place() / "supernet_nb201"
        folder.mkdir(parents=True, exist_ok=True)
        for kernels in options.kernels.split(","):
            if record.run(kernels) is None:
                net, seconds = trained(joint, data, folder, kernels, EPOCHS)
                record.add(kernels, found_of(joint, net, (ALL, BEST), seconds))
            show(record, kernels, record.run(kernels)["samples"])
        own = alone(record, data, sampled(joint, (ALL, BEST))["all"][:ALONE])
        show_alone(record, own, record.run(options.kernels.split(",")[0])["samples"])


if __name__ == "__main__":
    main()
