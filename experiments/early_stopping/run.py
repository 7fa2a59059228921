"""Whole searches, six minutes of Fashion-MNIST: the default scheduler, all designs to the end, one epoch then the best.

    python -m experiments.early_stopping.run [--quick] [--cores N]

A search is a process of its own, so that each pays for its imports, and a run folder in ``runs/``; one that is finished
is only read, one that was interrupted goes on. ``--quick`` is digits, two searches of a minute, and keeps nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

import nas
from experiments.record import ROOT, Record, code_hash

HERE = Path(__file__).parent
COMMAND = "python -m experiments.early_stopping.run"
AUTO = "auto"
LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Plan:
    """What is searched: the data, the budget of each search, its schedulers, and the seeds."""

    data: str
    budget: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]

    def turns(self) -> list[tuple[int, str]]:
        """Return (seed, scheduler) in the order of the searches: each seed begins with the next scheduler."""
        return [
            (seed, self.arms[(at + turn) % len(self.arms)])
            for at, seed in enumerate(self.seeds)
            for turn in range(len(self.arms))
        ]


WHOLE = Plan("fashion-mnist", "6m", (AUTO, "full", "one-epoch-top-k"), (0, 1, 2))
QUICK = Plan("digits", "1m", (AUTO, "full"), (0,))


def pin(cores: int) -> None:
    """Have this process, and what it starts, run on the first ``cores`` cores that it may use."""
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= cores <= len(allowed):
        raise ValueError(f"--cores {cores}: this process may use {len(allowed)}; give 1 to {len(allowed)}")
    os.sched_setaffinity(0, allowed[:cores])


def result_of(run: nas.Run) -> dict[str, Any]:
    """Return what is kept of a finished run."""
    status, history = run.status(), run.history
    return {
        "test": status["test"]["accuracy"],
        "validation": run.best.metrics["accuracy"],
        "parameters": run.best.metrics["params"],
        "seconds": status["seconds"],
        "finished": status["trials"]["finished"],
        "failed": status["trials"]["failed"],
        "started": history.starts,
        "ladder": run.settings.ladder,
        "finals": history.events["finals 1"],
        "scheduler": run.settings.scheduler,
        "seed": run.settings.seed,
        "cores": len(os.sched_getaffinity(0)),
    }


def call(*words: str) -> float:
    """Run the command ``nas`` with ``words`` on the cores of this process; return the CPU seconds that it had."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "nas.cli", *words], cwd=ROOT, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def searched(record: Record, runs: Path, plan: Plan, scheduler: str, seed: int) -> dict[str, Any]:
    """Return the result of one search: the kept one, or that of its folder in ``runs``, which goes on or begins."""
    name = f"{plan.data}, {plan.budget}, cores {len(os.sched_getaffinity(0))}, {scheduler}, seed {seed}"
    if (found := record.run(name)) is None:
        folder = runs / code_hash() / name.replace(", ", "-").replace(" ", "")
        busy = None  # CPU seconds of the process that ended the search, by which a busy machine shows
        if not folder.exists():
            options = {"budget": plan.budget, "scheduler": scheduler, "seed": seed, "out": folder}
            busy = call("search", plan.data, *(f"--{option}={value}" for option, value in options.items()))
        elif nas.Run(folder).status()["state"] != "finished":
            busy = call("resume", str(folder))
        record.add(name, {**result_of(nas.Run(folder)), "cpu seconds": busy})
        found = record.run(name)
    print(f"{name}: test {found['test']:.4f}, {found['started']} started", flush=True)
    return dict(found)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the t interval of the mean of ``(seeds,)`` paired differences, two seeds or more."""
    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def show(record: Record, plan: Plan, tests: dict[str, np.ndarray], command: str) -> None:
    """Keep and print means with their spreads, and what the default scheduler has over each other one.

    ``tests`` are ``(seeds,)`` test accuracies by scheduler, in the order of the plan's seeds.
    """
    where = f"{plan.data}, {plan.budget}, cores {len(os.sched_getaffinity(0))}, seeds {len(plan.seeds)}"

    def keep(claim: str, value: float, bar: str, holds: bool = True) -> None:
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:.4f}, bar {bar}", flush=True)
        record.show(claim, value, bar, holds, seeds=list(plan.seeds), command=command)

    for scheduler, values in tests.items():
        spread = f"reported; {values.min():.4f} to {values.max():.4f}"
        keep(f"{where}: mean test accuracy with the scheduler {scheduler}", float(values.mean()), spread)
    for scheduler in plan.arms:
        if scheduler == AUTO or len(plan.seeds) < 2:
            continue
        gains = tests[AUTO] - tests[scheduler]
        low, high = interval(gains)
        bar = f"not significantly below 0; {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}"
        keep(f"{where}: test accuracy, {AUTO} - {scheduler}, paired", float(gains.mean()), bar, high >= 0)


def execute(plan: Plan, folder: Path, command: str) -> None:
    """Search what ``plan`` says with the results in ``folder``, and show it."""
    record, runs = Record(str(folder / "run.py")), folder / "runs"
    found = {turn: searched(record, runs, plan, turn[1], turn[0])["test"] for turn in plan.turns()}
    tests = {arm: np.array([found[seed, arm] for seed in plan.seeds]) for arm in plan.arms}
    show(record, plan, tests, command)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="digits, a minute, one seed; keeps nothing")
    parser.add_argument("--cores", type=int, help="cores of this process; all that it may use by default")
    options = parser.parse_args()
    if options.cores is not None:
        pin(options.cores)
    command = COMMAND + (f" --cores {options.cores}" if options.cores else "")
    if options.quick:
        with tempfile.TemporaryDirectory(prefix="nas-") as place:
            execute(QUICK, Path(place), f"{command} --quick")
    else:
        execute(WHOLE, HERE, command)


if __name__ == "__main__":
    main()
