"""Zero-cost proxies against trained networks: random cells of NAS-Bench-201, then designs of two spaces.

    python -m experiments.proxies.run --cifar FOLDER [--parts nb201,spaces] [--quick]

``FOLDER`` holds CIFAR-10 as train/ and test/ class folders; ``NAS_DATA`` names the folder of nb201_table.npz. Results
are kept one by one: a run that was ended goes on. ``--quick`` is 12 cells, 4 designs a space, and leaves the kept
results alone.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from scipy.stats import rankdata

from estimators import dataset as images
from estimators.proxy import proxies
from experiments.proxies import start
from experiments.proxies.cells import drawn, joined, scored
from experiments.proxies.published import MEMBERS, PUBLISHED
from experiments.proxies.ranks import columns, spearman
from experiments.proxies.surrogate import TOLD, gains, graphs
from experiments.proxies.trained import EPOCHS, IMAGES, accuracy_of, designs, saved
from experiments.record import ROOT, Record
from search_spaces.architecture import Design
from search_spaces.space import Configuration

MEASURED = (
    "estimators/proxies",
    "estimators/proxy.py",
    "estimators/untrained.py",
    "estimators/zero_cost.py",
    "search_spaces/spaces/cell.py",
    "search_spaces/network.py",
)
TRAINED = (  # what accuracies depend on
    "experiments/proxies/trained.py",
    "estimators/batches.py",
    "estimators/augment.py",
    "search_spaces/network.py",
    "search_spaces/ops",
    "search_spaces/spaces",
)
TABLE = Path(os.environ.get("NAS_DATA", ROOT / "../shared/data")) / "nb201_table.npz"
COMMAND = "python -m experiments.proxies.run"
CELLS, DESIGNS, SEED = 300, 32, 0
SPACES = ("mobile", "chain")
EARLY = [*MEMBERS, "jacob-cov"]
BARS = {"synflow": (0.65, 0.83), "jacob-cov": (0.64, 0.82), "vote": (0.78, 1.0)}


def part_nb201(record: Record, cifar: str, count: int) -> None:
    """Score ``count`` cells and compare with the table's accuracies; the cheap proxies of all of them come first."""
    names = proxies.names()
    cells = {row: (design, accuracy) for row, design, accuracy in drawn(TABLE, count, SEED)}
    rows: dict[int, dict] = {}
    about = f"{count} cells of NAS-Bench-201, CIFAR-10"
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        images.save(images.load(cifar, seed=SEED), Path(place) / "data")
        for some in (EARLY, [name for name in names if name not in EARLY]):
            for number, (row, (design, accuracy)) in enumerate(cells.items()):
                name = f"nb201 {row} {' '.join(some)}"
                if record.run(name) is None:
                    record.add(name, scored(design, accuracy, some, Path(place) / "data"))
                rows[row] = joined(rows.get(row), record.run(name))
                print(f"{number + 1} of {count}: row {row}, {accuracy:.2f} %", flush=True)
            if some is EARLY:
                show_ranks(record, about, list(rows.values()), EARLY, BARS)
                if count > max(TOLD):
                    show_gains(record, about, [design for design, _ in cells.values()], list(rows.values()))
    show_ranks(record, about, list(rows.values()), names, BARS)
    if count == CELLS:
        show_start(record, [(design.config, rows[row]) for row, (design, _) in cells.items()])


def show_start(record: Record, cells: Sequence[tuple[Configuration, dict]]) -> None:
    """Keep and print what picks among scored cells do to the regret of a search, a table at a time."""
    scored = [(config, row["macs"], finite(row["values"])) for config, row in cells]
    for name in start.TABLES:
        key = f"start {name}"
        if record.run(key) is None:
            pairs = [start.pair(name, scored, seed) for seed in range(start.SEEDS)]
            record.add(key, {"regrets at marks, without and with": pairs})
        pairs = record.run(key)["regrets at marks, without and with"]
        for one in start.ratios(pairs):
            claim = f"{name}: regret of auto with picks over without, at {one['mark']}"
            interval = f"90 % interval {one['low']:.2f} to {one['high']:.2f}"
            print(f"{claim}: {one['ratio']:.2f} ({interval})", flush=True)
            seeds = list(range(start.SEEDS))
            record.show(
                claim, one["ratio"], f"none, reported; {interval}", True, seeds=seeds, command=COMMAND
            )


def finite(values: dict[str, float | None]) -> dict[str, float]:
    """Return the ``values`` that are there."""
    return {name: value for name, value in values.items() if value is not None}


def show_gains(record: Record, about: str, found: list[Design], rows: list[dict]) -> None:
    """Keep and print what the early proxies add to the features that a surrogate has anyway."""
    scores = np.column_stack([rankdata(columns(rows, EARLY, MEMBERS)[name]) for name in EARLY])
    accuracy = np.array([row["accuracy"] for row in rows])
    for one in gains(graphs(found), scores, accuracy, SEED):
        claim = f"{about}: what proxies add to a forest's Spearman, {one['told']} cells told"
        about_it = f"{one['without']:.3f} to {one['with']:.3f}, standard error of the gain {one['error']:.3f}"
        print(f"{claim}: {one['gain']:.3f} ({about_it})", flush=True)
        record.show(claim, one["gain"], f"none, reported; {about_it}", True, seeds=[SEED], command=COMMAND)


def part_spaces(record: Record, count: int, quantity: int, epochs: int) -> None:
    """Score and train ``count`` designs of each space on Fashion-MNIST, and compare: all, and those of one band."""
    names, trainings = proxies.names(), Record(str(record.path), *TRAINED)
    trainings.data = record.data  # one file, and two hashes: what is scored anew need not be trained anew
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        data = saved(Path(place) / "data")
        for space in SPACES:
            rows = []
            for number, (kind, design) in enumerate(designs(space, data, count)):
                name = f"{space} {number}"
                if trainings.run(f"{name} trained") is None:
                    trainings.add(
                        f"{name} trained", accuracy_of(design, data, images=quantity, epochs=epochs)
                    )
                result = trainings.run(f"{name} trained")
                if record.run(name) is None:
                    record.add(name, {"kind": kind, **scored(design, result["accuracy"], names, data)})
                rows.append(record.run(name))
                print(f"{name} of {count}: {result['accuracy']:.3f}, {result['seconds']:.0f} s", flush=True)
            about = f"{space}, trained on {quantity:,} images of Fashion-MNIST"
            show_ranks(record, f"{count} designs of {about}", rows, names)
            band = [row for row in rows if row["kind"] == "band"]
            show_ranks(
                record, f"{len(band)} designs within 10 % of one number of MACs, of {about}", band, names
            )


def show_ranks(
    record: Record,
    about: str,
    rows: list[dict],
    names: list[str],
    bars: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> None:
    """Keep and print every signal's Spearman with the accuracies of ``rows``; without a bar it is reported."""
    accuracy = np.array([row["accuracy"] for row in rows])
    for name, values in columns(rows, names, MEMBERS).items():
        found = spearman(values, accuracy)
        least, most = bars.get(name, (-1.0, 1.0))
        bar = f"{least} to {most}" if name in bars else "none, reported"
        if bars and name in PUBLISHED:
            bar += f"; published {PUBLISHED[name]}"
        took = np.median([row["milliseconds"].get(name, 0.0) for row in rows])
        rho, holds = found["rho"], least <= found["rho"] <= most
        claim = f"{about}: Spearman of {name} with the accuracy"
        interval = f"{found['low']:.2f} to {found['high']:.2f}, {took:.0f} ms"
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {rho:.3f} ({interval}), bar {bar}", flush=True)
        record.show(claim, rho, f"{bar}; 95 % interval {interval}", holds, seeds=[SEED], command=COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", help="folder of CIFAR-10 as train/ and test/ class folders")
    parser.add_argument("--parts", default="nb201,spaces", help="of nb201, spaces (default both)")
    parser.add_argument("--quick", action="store_true", help="12 cells, 4 designs a space")
    options = parser.parse_args()
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        script = str(Path(scratch) / "run.py") if options.quick else __file__
        record = Record(script, *MEASURED)
        if "nb201" in parts:
            if options.cifar is None:
                parser.error("the part nb201 needs --cifar FOLDER")
            part_nb201(record, options.cifar, 12 if options.quick else CELLS)
        if "spaces" in parts:
            part_spaces(record, *((4, 300, 1) if options.quick else (DESIGNS, IMAGES, EPOCHS)))


if __name__ == "__main__":
    main()
