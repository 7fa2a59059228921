"""A supernet of NAS-Bench-201 in a small skeleton: how its scores rank cells by the table's accuracy after 200 epochs.

    python -m experiments.supernet_nb201.run --cifar FOLDER [--quick] [--variants centre,apart,split]
    python -m experiments.supernet_nb201.run --cifar FOLDER --whole --device cuda [--epochs 150]

``FOLDER`` holds CIFAR-10 as train/ and test/ class folders; ``NAS_DATA`` names the folder of nb201_table.npz. Published
one-shot supernets rank all cells at Kendall's tau 0.485, few-shot ones 0.551, and within the best tenth at -0.23 and
-0.08 (Zhao et al. 2021); counting MACs has 0.58. ``--whole`` is the benchmark's own skeleton at 32 pixels, for a GPU.
``--quick`` trains two epochs, scores twelve cells and keeps nothing.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from estimators import cache
from estimators.dataset import Dataset, load, save
from estimators.device import keep_memory
from estimators.estimator import Context, Fidelity
from estimators.preprocess import to_shape
from estimators.sharing.inherited import joined, open_supernet
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
SEED = 0
ALONE, ALONE_EPOCHS = 30, 12  # of the random cells, trained by themselves
ALL, BEST = 300, 100  # random cells, and random ones of the best tenth of the table
SPLIT = "split"  # half of the epochs together, a quarter for each half of the options that conflict most


@dataclass(frozen=True)
class Setting:
    """In what a cell is repeated, and how a supernet of it is trained."""

    side: int
    skeleton: Skeleton
    epochs: int
    device: str = "cpu"
    batch_size: int = 64

    @property
    def name(self) -> str:
        """What results are kept under, beside the variant."""
        return f"{self.skeleton.width} filters, {self.skeleton.cells} cells a stage, {self.side} pixels"


SMALL = Setting(16, Skeleton(width=8, cells=1, stages=3, reduction="residual", dropout=0.0), 60)
WHOLE = Setting(
    32, Skeleton(width=16, cells=5, stages=3, reduction="residual", dropout=0.0), 150, "cuda", 256
)


def resized_to(side: int, folder: str, place: Path) -> Path:
    """Save the images of ``folder`` at ``side`` pixels in ``place``."""
    whole = load(folder, seed=SEED)

    def resized(split: Split) -> Split:
        x = to_shape(torch.from_numpy(np.array(split.x)), (3, side, side))
        return Split(x.numpy(), split.y)

    parts = {name: resized(getattr(whole, name)) for name in ("train", "val", "test")}
    reduced: Dataset = replace(whole, **parts, saved_in=None)
    return save(reduced, place)


def space(setting: Setting) -> SearchSpace:
    """Return the space of cells in the skeleton of ``setting``."""
    shape = (3, setting.side, setting.side)
    family = Cell(shape, 10, operations=NAS_BENCH_201, skeleton=setting.skeleton)
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
    joint: SearchSpace, data: Path, folder: Path, variant: str, setting: Setting
) -> tuple[Path, float]:
    """Return the file of the supernet, trained, and the CPU seconds of what was trained now."""
    about = f"{setting.name} {setting.epochs}".replace(" ", "-").replace(",", "")
    file = folder / f"nb201-{variant}-{about}-{code_hash(*MEASURED)}.safetensors"
    kernels = "centre" if variant == SPLIT else variant
    plan = Plan(setting.epochs, Paths(), recipe={"batch_size": setting.batch_size}, kernels=kernels)
    options: dict[str, Any] = {"seed": SEED, "device": setting.device, "precision": "float32"}
    began = time.process_time()

    def train(file: Path, plan: Plan, **more: Any) -> Supernet:
        net = Supernet(joint, data, plan, file, **options, **more)
        net.train(
            report=lambda epoch, metrics: print(
                f"{file.name}: epoch {epoch}, loss {metrics['train_loss']:.3f}", flush=True
            )
        )
        return net

    if variant != SPLIT:
        train(file, plan)
    elif not file.exists():
        together, halves = file.with_suffix(".whole"), (file.with_suffix(".0"), file.with_suffix(".1"))
        split = train(together, replace(plan, epochs=max(1, plan.epochs // 2))).split()
        assert split is not None
        print(f"split by {split.path}: {split.groups}, cosine {split.similarity:.3f}", flush=True)
        for group, half in zip(split.groups, halves, strict=True):
            paths = replace(plan.paths, only=(split.path, group))
            train(half, replace(plan, epochs=max(1, plan.epochs // 4), paths=paths), parent=together)
        joined(file, halves, split)
    return file, time.process_time() - began


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
            [one["loss"][p] for p in at],
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


def found_of(
    joint: SearchSpace, data: Path, file: Path, setting: Setting, counts: tuple[int, int]
) -> dict[str, Any]:
    """Return by kind of sample the table's accuracies, the supernet's scores, and what is free."""
    found = dict[str, Any]()
    for kind, rows in sampled(joint, counts).items():
        scores = [
            open_supernet(file, data, design, setting.device).score(design, noise=True)
            for _, design, _ in rows
        ]
        found[kind] = {
            "rows": [row for row, _, _ in rows],
            "truth": [accuracy for _, _, accuracy in rows],
            "accuracy": [one["accuracy"] for one in scores],
            "loss": [-one["loss"] for one in scores],
            "MACs": [design.macs for _, design, _ in rows],
        }
    return found


def show(
    record: Record, about: str, samples: Mapping[str, Mapping[str, Sequence[float]]], command: str
) -> None:
    """Keep tau of the supernet and of MACs in each sample, beside what was published."""
    published = {"all": "published 0.485 one-shot, 0.551 few-shot", "best tenth": "published -0.23, -0.08"}
    for kind, one in samples.items():
        for what in ("loss", "accuracy", "MACs"):
            value = tau(one[what], one["truth"])
            claim = f"{about}: {len(one['truth'])} cells of {kind}: tau of {what}"
            bar = f"reported; {published[kind]}; 90 % {value.low:.2f} to {value.high:.2f}"
            print(f"{claim}: {value}", flush=True)
            record.show(claim, value.value, bar, True, seeds=[SEED], command=command)


def quick(cifar: str, place: Path) -> None:
    """Do all of it at a small size."""
    setting = replace(SMALL, epochs=2)
    joint, data = space(setting), resized_to(setting.side, cifar, place / "data")
    file, seconds = trained(joint, data, place, "centre", setting)
    for kind, one in found_of(joint, data, file, setting, (12, 6)).items():
        print(f"{kind}: tau {tau(one['loss'], one['truth'])} after two epochs, {seconds:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", required=True, help="folder of CIFAR-10 as train/ and test/ class folders")
    parser.add_argument("--variants", default=f"centre,apart,{SPLIT}")
    parser.add_argument("--whole", action="store_true", help="in the skeleton of the benchmark itself")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default the CPU, with --whole a GPU")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        if options.quick:
            quick(options.cifar, Path(place))
            return
        setting = WHOLE if options.whole else SMALL
        setting = replace(
            setting, epochs=options.epochs or setting.epochs, device=options.device or setting.device
        )
        command = COMMAND + (f" --whole --epochs {setting.epochs}" if options.whole else "")
        joint, data = space(setting), resized_to(setting.side, options.cifar, Path(place) / "data")
        record, folder = Record(__file__, *MEASURED), cache.place() / "supernet_nb201"
        folder.mkdir(parents=True, exist_ok=True)
        for variant in options.variants.split(","):
            about = f"{setting.name}, {variant}, {setting.epochs} epochs"
            if record.run(about) is None:
                file, seconds = trained(joint, data, folder, variant, setting)
                samples = found_of(joint, data, file, setting, (ALL, BEST))
                card = torch.cuda.get_device_name() if setting.device.startswith("cuda") else None
                record.add(about, {"samples": samples, "seconds": seconds, "device": card})
            show(record, about, record.run(about)["samples"], command)
        if not options.whole:
            own = alone(record, data, sampled(joint, (ALL, BEST))["all"][:ALONE])
            first = f"{setting.name}, {options.variants.split(',')[0]}, {setting.epochs} epochs"
            show_alone(record, own, record.run(first)["samples"])


if __name__ == "__main__":
    main()
