"""Whole searches of a budget of time in turns, each a process of its own, and what they come to.

Used by experiments that compare options of ``nas search``. A search is a run folder in ``runs/`` beside the results of
its experiment; one that is finished is only read, one that was interrupted goes on.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

import nas
from experiments.record import ROOT, Record, code_hash

LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Plan:
    """What is searched: the data, the budget of each search, its ``arms`` and the seeds.

    An arm is a name and its options of ``nas search``; the first one is compared with each other. ``what`` says what
    arms differ in.
    """

    data: str
    budget: str
    arms: Mapping[str, Mapping[str, str]]
    seeds: tuple[int, ...]
    what: str
    file: Path | None = None  # that holds the data, where ``data`` is no name of a set

    def turns(self) -> list[tuple[int, str]]:
        """Return (seed, arm) in the order of the searches: each seed begins with the next arm."""
        names = list(self.arms)
        return [
            (seed, names[(at + turn) % len(names)])
            for at, seed in enumerate(self.seeds)
            for turn in range(len(names))
        ]


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
        "estimator": run.settings.estimator,
        "seed": run.settings.seed,
        "cores": len(os.sched_getaffinity(0)),
    }


def call(*words: str) -> float:
    """Run the command ``nas`` with ``words`` on the cores of this process; return the CPU seconds that it had."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "nas.cli", *words], cwd=ROOT, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def searched(record: Record, runs: Path, plan: Plan, arm: str, seed: int) -> dict[str, Any]:
    """Return the result of one search: the kept one, or that of its folder in ``runs``, which goes on or begins."""
    name = f"{plan.data}, {plan.budget}, cores {len(os.sched_getaffinity(0))}, {arm}, seed {seed}"
    if (found := record.run(name)) is None:
        folder = runs / code_hash() / name.replace(", ", "-").replace(" ", "")
        busy = None  # CPU seconds of the process that ended the search, by which a busy machine shows
        if not folder.exists():
            options = {"budget": plan.budget, **plan.arms[arm], "seed": seed, "out": folder}
            busy = call(
                "search",
                str(plan.file or plan.data),
                *(f"--{option}={value}" for option, value in options.items()),
            )
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


def show(
    record: Record, plan: Plan, found: Mapping[tuple[int, str], Mapping[str, Any]], command: str
) -> None:
    """Keep and print means with their spreads, and what the first arm has over each other one.

    ``found`` are the results by seed and arm.
    """
    where = f"{plan.data}, {plan.budget}, cores {len(os.sched_getaffinity(0))}, seeds {len(plan.seeds)}"

    def values(arm: str, what: str) -> np.ndarray:
        return np.array([found[seed, arm][what] for seed in plan.seeds])

    def keep(claim: str, value: float, bar: str, holds: bool = True) -> None:
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:.4f}, bar {bar}", flush=True)
        record.show(claim, value, bar, holds, seeds=list(plan.seeds), command=command)

    first = next(iter(plan.arms))
    for arm in plan.arms:
        for what, about in (("test", "mean test accuracy"), ("started", "mean of designs started")):
            own = values(arm, what)
            spread = f"reported; {own.min():.4g} to {own.max():.4g}"
            keep(f"{where}: {about} with {plan.what} {arm}", float(own.mean()), spread)
    for arm in plan.arms:
        if arm == first or len(plan.seeds) < 2:
            continue
        gains = values(first, "test") - values(arm, "test")
        low, high = interval(gains)
        bar = f"not significantly below 0; {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}"
        keep(f"{where}: test accuracy, {first} - {arm}, paired", float(gains.mean()), bar, high >= 0)


def execute(plan: Plan, folder: Path, command: str) -> None:
    """Search what ``plan`` says with the results in ``folder``, and show it."""
    record, runs = Record(str(folder / "run.py")), folder / "runs"
    found = {(seed, arm): searched(record, runs, plan, arm, seed) for seed, arm in plan.turns()}
    show(record, plan, found, command)


def main(
    about: str | None, folder: Path, whole: Plan, quick: Plan, small: Callable[[Path], Plan] | None = None
) -> None:
    """Do what the command line of an experiment in ``folder`` says: its ``whole`` plan, or the ``quick`` one.

    ``small`` returns a further plan, of data that it writes into a folder.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="digits, a minute, one seed; keeps nothing")
    parser.add_argument("--cores", type=int, help="cores of this process; all that it may use by default")
    if small is not None:
        which.add_argument("--small", action="store_true", help="the plan of small data")
    options = parser.parse_args()
    if options.cores is not None:
        pin(options.cores)
    command = f"python -m experiments.{folder.name}.run"
    command += f" --cores {options.cores}" if options.cores else ""
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        if options.quick:
            execute(quick, Path(place), f"{command} --quick")
        elif small is not None and options.small:
            execute(small(Path(place)), folder, f"{command} --small")
        else:
            execute(whole, folder, command)
