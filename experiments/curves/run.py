"""Record learning curves of random designs on Fashion-MNIST: 100 of `chain` and 50 of `mobile`, 15 epochs, two seeds.

    python -m experiments.curves.run [--quick] [--spaces chain,mobile]

Trainings are appended to ``table-SPACE.jsonl`` one by one: a killed run goes on, and spaces may run side by side.
``--quick`` trains two designs of each space for an epoch and keeps nothing.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from estimators.dataset import open_saved
from experiments.curves.record import DESIGNS, EPOCHS, SEEDS, SIDES, designs, images, read, train
from experiments.record import Record

HERE = Path(__file__).parent
COMMAND = "python -m experiments.curves.run"


def table(space: str, folder: Path = HERE) -> Path:
    """Return where the curves of ``space`` are kept."""
    return folder / f"table-{space}.jsonl"


def fill(space: str, folder: Path, data: Path, *, number: int, seeds: tuple[int, ...], epochs: int) -> None:
    """Append what the table of ``space`` lacks: first one training of every design, then those with the next seed."""
    path = table(space, folder)
    known = {(row["number"], row["seed"]) for row in read(path)}
    for seed in seeds:
        for one in designs(space, open_saved(data), number):
            if (one.number, seed) in known:
                continue
            row = train(one, data, seed=seed, epochs=epochs)
            with path.open("a") as file:
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
            last = row["error"] or f"{row['curve'][-1]['accuracy']:.4f}"
            spent = sum(point["seconds"] for point in row["curve"])
            print(f"{space} #{one.number} seed {seed}: {last} in {spent:.0f} s", flush=True)


def show(record: Record, space: str) -> None:
    """Keep how well the two seeds agree, and how well early epochs agree with the last one."""
    curves = defaultdict[int, dict[int, list[float]]](dict)
    for row in read(table(space)):
        if row["error"] is None:
            accuracies = [point["accuracy"] for point in row["curve"]]
            curves[row["number"]][row["seed"]] = accuracies + accuracies[-1:] * (EPOCHS - len(accuracies))
    both = np.array([[one[seed] for seed in SEEDS] for one in curves.values() if len(one) == len(SEEDS)])
    about = f"{space}, {len(both)} designs: Kendall's tau"
    pairs = {f"between two seeds after {EPOCHS} epochs": both[:, :, -1]}
    pairs |= {f"of epoch {epoch} with the last": both[:, 0, [epoch - 1, -1]] for epoch in (1, 3, 5, 9)}
    for what, values in pairs.items():
        tau = float(kendalltau(values[:, 0], values[:, 1]).statistic)
        record.show(f"{about} {what}", tau, "reported", True, seeds=list(SEEDS), command=COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--spaces", default=",".join(DESIGNS), help="of chain, mobile (default both)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        for space in options.spaces.split(","):
            data = images(Path(place) / space, SIDES[space])
            if options.quick:
                fill(space, Path(place), data, number=2, seeds=SEEDS[:1], epochs=1)
                assert len(read(table(space, Path(place)))) == 2
                continue
            fill(space, HERE, data, number=DESIGNS[space], seeds=SEEDS, epochs=EPOCHS)
            show(Record(__file__, "experiments/curves", "estimators", "search_spaces"), space)


if __name__ == "__main__":
    main()
