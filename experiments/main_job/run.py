"""Whole runs of the main job: digits, Fashion-MNIST, CIFAR-10 with a bound on size, and random search beside it.

    python -m experiments.main_job.run [--quick] [--cifar FOLDER] [--runs FOLDER]

Each run is a run folder below ``--runs``; one that is finished is only read. ``--quick`` is digits alone, two minutes.
"""

import argparse
from pathlib import Path

import nas
from experiments.record import Record

HERE = Path(__file__).parent


def result_of(run: nas.Run) -> dict:
    status = run.status()
    return {
        "test": status["test"],
        "validation": run.best.metrics["accuracy"],
        "parameters": run.best.metrics["params"],
        "macs": run.best.metrics["macs"],
        "seconds": status["seconds"],
        "trials": status["trials"],
        "finals": run.history.events["finals 1"],
        "seed": run.settings.seed,
    }


def searched(record: Record, runs: Path, name: str, data: str, **options) -> dict:
    if (found := record.run(name)) is not None:
        return found
    if not (runs / name).exists():
        nas.search(data, out=runs / name, **options)
    run = nas.Run(runs / name)
    if run.status()["state"] != "finished":
        run = nas.resume(runs / name)
    record.add(name, result_of(run))
    return record.run(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cifar", help="folder of CIFAR-10 as train/ and test/ class folders")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    options = parser.parse_args()
    record, runs = Record(__file__), options.runs
    runs.mkdir(exist_ok=True)
    command = "python -m experiments.main_job.run"
    digits = searched(record, runs, "digits", "digits", budget="2m", seed=0)
    accuracy = digits["test"]["accuracy"]
    record.show(
        "test accuracy on digits, two minutes",
        accuracy,
        ">= 0.98",
        accuracy >= 0.98,
        seeds=[0],
        command=command,
    )
    if options.quick:
        return
    fashion = searched(record, runs, "fashion", "fashion-mnist", budget="20m", seed=0)
    accuracy, seconds = fashion["test"]["accuracy"], fashion["seconds"]
    record.show(
        "test accuracy on Fashion-MNIST, 20 minutes",
        accuracy,
        ">= 0.92",
        accuracy >= 0.92,
        seeds=[0],
        command=command,
    )
    record.show(
        "minutes of a 20-minute search, all in",
        seconds / 60,
        "<= 21",
        seconds <= 21 * 60,
        seeds=[0],
        command=command,
    )
    if options.cifar:
        bound = {"budget": "20m", "seed": 0, "constraints": ["params<=300000"]}
        own = searched(record, runs, "cifar", options.cifar, **bound)
        random = searched(record, runs, "cifar-random", options.cifar, strategy="random", **bound)
        for name, one in (("the default strategy", own), ("random search", random)):
            accuracy = one["test"]["accuracy"]
            record.show(
                f"test accuracy on CIFAR-10 (12,000 pictures), params<=300000, 20 minutes, {name}",
                accuracy,
                "> 0.57 (Optuna around a textbook loop, 10 minutes, 959,000 parameters)",
                accuracy > 0.57,
                seeds=[0],
                command=f"{command} --cifar FOLDER",
            )


if __name__ == "__main__":
    main()
