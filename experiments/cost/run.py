"""Predicted against measured: latency (batch 1 and 32) and seconds of a training, over random designs of four spaces.

    python -m experiments.cost.run [--quick] [--cifar FOLDER]

Two families are on grey images, two on coloured ones. Latency is predicted by a table of ops whose whole is
fitted on the first ``FITTED`` designs of a family, seconds by a model that has seen the default designs and the first
0, 5 or 20 results; both are judged on the other designs alone. Run it on a machine that does nothing else.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from estimators.cost.seconds import Work, fit
from estimators.cost.table import OpTable, Total
from estimators.cost.table import fit as fit_table
from estimators.dataset import Dataset, load, save
from estimators.estimator import Context, Fidelity
from estimators.split import Split
from estimators.train import TrainEstimator
from experiments.record import Record
from nas.executor import cores
from nas.joint import joint_space
from search_spaces.architecture import Design, SearchSpace

SPACES = {"fashion-mnist": ("chain", "residual"), "cifar": ("cell", "mobile")}
SEED, FITTED = 0, 8
BATCHES = (1, 32)
PASSES = {1: 30, 32: 12}  # that a network is measured for
SEEN = (0, 5, 20)
WORK = 2e10  # multiply-accumulates of an epoch that is timed, where that many images are between the next two
FEWEST, MOST = 256, 4096
VALIDATED = 256
COUNT, QUICK = 30, 12  # random designs of a family; quick: of one family
MEASURED = (
    "estimators/cost",
    "estimators/train.py",
    "estimators/loop.py",
    "search_spaces/ops",
    "search_spaces/spaces",
)


def dataset_of(name: str, folder: str) -> Dataset:
    """Return the images called ``name``, with a small validation part."""
    found = load(folder if name == "cifar" else name, seed=SEED)
    return replace(found, val=Split(found.val.x[:VALIDATED], found.val.y[:VALIDATED]))


def designs_of(space: SearchSpace, count: int) -> list[Design]:
    """Return the default design and ``count`` random ones."""
    rng, found = np.random.default_rng(SEED), [space.decode(space.space.default())]
    while len(found) <= count:
        try:
            design = space.decode(space.space.sample(rng))
            design.measure()
        except ValueError:
            continue
        found.append(design)
    return found


def trained(design: Design, data: Path, images: int) -> dict:
    """Return the work of an epoch and the seconds that it took."""
    count = int(np.clip(WORK / design.macs, FEWEST, min(MOST, images)))
    estimator = TrainEstimator(data, precision="float32")
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(seed=SEED, scratch=Path(scratch), threads=torch.get_num_threads(), horizon=1)
        result = estimator.evaluate(design, Fidelity(1, count / images), context)
    return {"images": count, "seconds": result.seconds, "error": result.error}


def measured(design: Design, tables: Mapping[int, OpTable], data: Path, images: int) -> dict:
    """Return what the model and the tables say of a design, and what it took."""
    latencies = {}
    for batch, table in tables.items():
        total, taken = table.total(design), table.measure(design, repeats=PASSES[batch])
        latencies[str(batch)] = [total.nodes, total.milliseconds, taken.p10, taken.median]
    return {"latency": latencies, **trained(design, data, images)}


def latency_errors(rows: Mapping[str, Sequence[dict]], batch: int) -> list[float]:
    """Return the relative errors on what no table was fitted on; ``rows`` are those of each family."""
    errors = []
    for found in rows.values():
        pairs = [row["latency"][str(batch)] for row in found]
        totals, times = [Total(int(n), ms) for n, ms, *_ in pairs], [taken for *_, taken in pairs]
        model = fit_table(totals[:FITTED], [quiet for _, _, quiet, _ in pairs[:FITTED]])
        errors += [
            abs(model.milliseconds(total) / taken - 1)
            for total, taken in zip(totals[FITTED:], times[FITTED:], strict=True)
        ]
    return errors


def seconds_errors(
    rows: Mapping[str, Sequence[tuple[Work, float]]], seen: int, most: int
) -> tuple[list[float], float]:
    """Return the relative errors after ``seen`` results beside the default design's, and how many intervals held.

    All models are judged on the same designs: those after the ``most`` results that any of them sees.
    """
    assert seen <= most
    errors, inside = [], []
    for found in rows.values():
        model = fit(found[: 1 + seen])
        for work, taken in found[1 + most :]:
            interval = model.predict(work)
            errors.append(abs(interval.median / taken - 1))
            inside.append(interval.low <= taken <= interval.high)
    return errors, float(np.mean(inside))


def collect(
    record: Record, count: int, families: Mapping[str, Sequence[str]], folder: str
) -> tuple[dict, dict]:
    """Measure what was not; return the rows of latency and those of seconds, each by family and images."""
    latency: dict[str, list[dict]] = {}
    seconds: dict[str, list[tuple[Work, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, of_name in families.items():
            dataset = dataset_of(name, folder)
            place = Path(scratch) / name
            save(dataset, place)
            images = len(dataset.train)
            for family in of_name:
                tables = {
                    b: OpTable(torch.device("cpu"), threads=torch.get_num_threads(), batch_size=b)
                    for b in BATCHES
                }
                for number, design in enumerate(designs_of(joint_space(dataset, family), count)):
                    key = f"{name} {family} {number}"
                    row = record.run(key)
                    if row is None:
                        if number == 0:  # data and libraries are loaded once, and are no part of a training
                            trained(design, place, images)
                        row = measured(design, tables, place, images)
                        record.add(key, row)
                        print(key, row, flush=True)
                    latency.setdefault(f"{name} {family}", []).append(row)
                    if row["error"] is None:
                        work = Work.of(design, epochs=1, images=row["images"], val=len(dataset.val))
                        seconds.setdefault(f"{name} {family}", []).append((work, row["seconds"]))
    return latency, seconds


def claims(rows: tuple[dict, dict], results: Sequence[int]) -> list[tuple[str, float, str, bool]]:
    """Return (claim, value, bar, whether it holds); seconds after so many ``results``."""
    latency, seconds = rows
    found = []
    for batch in BATCHES:
        errors = latency_errors(latency, batch)
        for name, quantile, bar in (("median", 0.5, 0.1), ("90th percentile", 0.9, 0.3)):
            value = float(np.quantile(errors, quantile))
            claim = f"latency of {len(errors)} designs, batch {batch}: {name} of the relative error"
            found.append((claim, value, f"<= {bar}", value <= bar))
    for seen in results:
        errors, covered = seconds_errors(seconds, seen, max(results))
        for name, quantile, bar in (("median", 0.5, 0.1), ("90th percentile", 0.9, 0.3)):
            value = float(np.quantile(errors, quantile))
            claim = f"seconds of {len(errors)} trainings after {seen} results: {name} of the relative error"
            found.append((claim, value, f"<= {bar}", value <= bar))
        claim = f"seconds of {len(errors)} trainings after {seen} results: share inside the 90 % interval"
        found.append((claim, covered, ">= 0.8", covered >= 0.8))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cifar", help="folder of CIFAR-10 as class folders; by default that of $NAS_DATA")
    options = parser.parse_args()
    folder = options.cifar or str(Path(os.environ.get("NAS_DATA", ".")) / "cifar10")
    torch.set_num_threads(cores())
    if options.quick:
        with tempfile.TemporaryDirectory() as scratch:
            record = Record(str(Path(scratch) / "run.py"), *MEASURED)
            rows = collect(record, QUICK, {"digits": ("chain",)}, folder)
            shown = claims(rows, SEEN[:-1])
    else:
        record = Record(__file__, *MEASURED)
        shown = claims(collect(record, COUNT, SPACES, folder), SEEN)
        for claim, value, bar, holds in shown:
            record.show(claim, value, bar, holds, seeds=[SEED], command="python -m experiments.cost.run")
    for claim, value, bar, holds in shown:
        print(f"{claim}: {value:.3f} ({bar}): {'holds' if holds else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main()
