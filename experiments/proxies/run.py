"""Zero-cost proxies against trained networks: random cells of NAS-Bench-201, then designs of two spaces.

    python -m experiments.proxies.run --cifar FOLDER [--parts nb201,spaces] [--quick]

``FOLDER`` holds CIFAR-10 as train/ and test/ class folders; ``NAS_DATA`` names the folder of nb201_table.npz. Results
are kept one by one: a run that was ended goes on. ``--quick`` is 12 cells, 4 designs a space, and leaves the kept
results alone.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from estimators import dataset as images
from estimators.proxy import proxies
from experiments.proxies.cells import drawn, joined, scored
from experiments.proxies.published import MEMBERS, PUBLISHED
from experiments.proxies.ranks import columns, spearman
from experiments.record import ROOT, Record

MEASURED = (
    "estimators/proxies",
    "estimators/proxy.py",
    "estimators/untrained.py",
    "estimators/zero_cost.py",
    "search_spaces/spaces/cell.py",
    "search_spaces/network.py",
)
TABLE = Path(os.environ.get("NAS_DATA", ROOT / "../shared/data")) / "nb201_table.npz"
COMMAND = "python -m experiments.proxies.run"
CELLS, SEED = 300, 0
EARLY = [*MEMBERS, "jacob-cov"]
BARS = {"synflow": (0.65, 0.83), "jacob-cov": (0.64, 0.82), "vote": (0.78, 1.0)}


def part_nb201(record: Record, cifar: str, count: int) -> None:
    """Score ``count`` cells and compare with the table's accuracies; the cheap proxies of all of them come first."""
    names = proxies.names()
    cells = {row: (design, accuracy) for row, design, accuracy in drawn(TABLE, count, SEED)}
    rows: dict[int, dict] = {}
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
                show_ranks(record, list(rows.values()), EARLY, count)
    show_ranks(record, list(rows.values()), names, count)


def show_ranks(record: Record, rows: list[dict], names: list[str], count: int) -> None:
    """Keep and print every signal's Spearman with the accuracies, beside what was published."""
    accuracy = np.array([row["accuracy"] for row in rows])
    for name, values in columns(rows, names, MEMBERS).items():
        found = spearman(values, accuracy)
        took = np.median([row["milliseconds"].get(name, 0.0) for row in rows])
        least, most = BARS.get(name, (-1.0, 1.0))
        known = f"published {PUBLISHED[name]}" if name in PUBLISHED else "nothing published"
        bar = f"{least} to {most}" if name in BARS else f"none, {known}"
        claim = (
            f"NAS-Bench-201, {count} cells, CIFAR-10: Spearman of {name} with the test accuracy, "
            f"95 % interval {found['low']:.2f} to {found['high']:.2f}, {took:.0f} ms"
        )
        holds = least <= found["rho"] <= most
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {found['rho']:.3f}, bar {bar}", flush=True)
        record.show(claim, found["rho"], bar, holds, seeds=[SEED], command=COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", required=True, help="folder of CIFAR-10 as train/ and test/ class folders")
    parser.add_argument("--parts", default="nb201,spaces", help="of nb201, spaces (default both)")
    parser.add_argument("--quick", action="store_true", help="12 cells, 4 designs a space")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        script = str(Path(scratch) / "run.py") if options.quick else __file__
        record = Record(script, *MEASURED)
        if "nb201" in options.parts.split(","):
            part_nb201(record, options.cifar, 12 if options.quick else CELLS)


if __name__ == "__main__":
    main()
