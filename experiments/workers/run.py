"""Five minutes of digits on two cores: two workers with a thread each against one with both.

    python -m experiments.workers.run [--quick] [--seeds 3]

A search is a process of its own, so that each pays for its imports, and a run folder in ``runs/``; one that is finished
is only read, one that was interrupted goes on. ``--quick`` is one seed of a minute, and keeps nothing.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nas
from experiments.record import Record, code_hash
from experiments.searches import call, interval, pin, result_of
from nas.storage import storages

HERE = Path(__file__).parent
COMMAND = "python -m experiments.workers.run"
CORES, WORKERS, SEEDS = 2, (1, 2), (0, 1, 2)
BUDGET = "5m"


def searched(record: Record, runs: Path, budget: str, workers: int, seed: int) -> dict[str, Any]:
    """Return the result of one search: the kept one, or that of its folder in ``runs``, which goes on or begins."""
    name = f"digits, {budget}, cores {CORES}, workers {workers}, seed {seed}"
    if (found := record.run(name)) is None:
        folder = runs / code_hash() / name.replace(", ", "-").replace(" ", "")
        if not folder.exists():
            options = {"budget": budget, "workers": workers, "seed": seed, "out": folder}
            call("search", "digits", *(f"--{option}={value}" for option, value in options.items()))
        elif nas.Run(folder).status()["state"] != "finished":
            call("resume", str(folder))
        record.add(name, {**result_of(nas.Run(folder)), "rate": rate(nas.Run(folder))})
        found = record.run(name)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    print(f"{name}: test {found['test']:.4f}, {found['rate']:.1f} designs a minute", flush=True)
    return dict(found)


def rate(run: nas.Run) -> float:
    """Return designs started for each minute of the search, from its first start to the last result before finals."""
    with storages.get("log")(run.folder.store, write=False) as store:
        rows = list(store.rows)
    decided = next(row["t"] for row in rows if row["kind"] == "event" and row["name"] == "finals 1")
    starts = [row["t"] for row in rows if row["kind"] == "start" and row["t"] < decided]
    results = [row["t"] for row in rows if row["kind"] == "result" and row["t"] < decided]
    return 60.0 * len(starts) / (max(results) - min(starts))


def show(record: Record, found: dict[int, Sequence[dict[str, Any]]], budget: str) -> None:
    """Keep and print what each number of workers came to, and what two have over one."""
    where, seeds = f"digits, {budget}, {CORES} cores", list(range(len(found[1])))

    def keep(claim: str, value: float, bar: str) -> None:
        print(f"{claim}: {value:.4f}, {bar}", flush=True)
        record.show(f"{where}: {claim}", value, bar, True, seeds=seeds, command=COMMAND)

    for name, what in (("rate", "designs a minute"), ("test", "test accuracy"), ("validation", "validation")):
        values = {workers: np.array([one[name] for one in runs]) for workers, runs in found.items()}
        for workers, each in values.items():
            keep(f"{what}, workers {workers}", each.mean(), f"reported; {each.min():.4f} to {each.max():.4f}")
        if len(seeds) > 1:
            low, high = interval(values[2] - values[1])
            spread = f"reported; 95 % interval {low:+.4f} to {high:+.4f}"
            keep(f"{what}, two workers - one, paired", float((values[2] - values[1]).mean()), spread)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed of a minute; keeps nothing")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many, from 0 (default all three)")
    options = parser.parse_args()
    quick = options.quick
    pin(CORES)
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        folder = Path(place) if quick else HERE
        budget, seeds = ("1m", SEEDS[:1]) if quick else (BUDGET, SEEDS[: options.seeds])
        record = Record(str(folder / "run.py"))
        found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in WORKERS}
        for seed in seeds:
            for workers in WORKERS if seed % 2 == 0 else WORKERS[::-1]:
                found[workers].append(searched(record, folder / "runs", budget, workers, seed))
        show(record, found, budget)


if __name__ == "__main__":
    main()
