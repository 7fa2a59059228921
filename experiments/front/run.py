"""Error against parameters with early stopping and without, on our recorded curves, at equal simulated seconds.

    python -m experiments.front.run [--quick] [--tasks chain,mobile]

What was searched is kept, and a run goes on where it was. ``--quick`` is two seeds without the models, on what there is
of the tables, and keeps nothing.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from experiments.fidelity import curves, searches, suite
from experiments.fidelity.simulate import replay
from experiments.fidelity.task import Task
from experiments.front import scores
from experiments.record import Record
from experiments.tables.scores import FLOOR, ratio

COMMAND = "python -m experiments.front.run"
MEASURED = (
    *searches.MEASURED,
    "search_spaces/architecture.py",
    "search_spaces/block.py",
    "experiments/front/scores.py",
)
STOPPED, WHOLE = "auto", "full"  # schedulers: with early stopping and without
STRATEGIES = ("auto", "nsga2", "random")
OBJECTIVES = ("loss", "params")
MARKS = (0.25, 0.5, 1.0)
EACH = 8  # designs of a table for each full training of the budget: early stopping begins seven or so
SHOWN = (("ended", "worst", "< 1"), ("seen", "worst", "< 1"), ("chosen", "worst", "reported"))
SHOWN += (("ended", "median", "reported"),)
QUICK = ("nsga2", "random"), (0, 1), 8  # strategies, seeds, least trainings of a table

Found = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """Where results go, and how much is run."""

    record: Record
    command: str = COMMAND
    strategies: tuple[str, ...] = STRATEGIES
    seeds: tuple[int, ...] = tuple(range(suite.SEEDS))

    def show(self, claim: str, value: float, bar: str, holds: bool) -> None:
        """Keep a claim and print it."""
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:.3f}, bar {bar}", flush=True)
        self.record.show(claim, value, bar, holds, seeds=list(self.seeds), command=self.command)


def budget_of(task: Task) -> float:
    """Return the simulated seconds of a search: the task's, less where early stopping would begin all of the table."""
    return task.budget * min(1.0, len(task.configs) / EACH / task.fulls)


def search(name: str, scheduler: str, strategy: str, seed: int) -> dict[str, Any]:
    """Return the shares that one search of the task ``name`` has at MARKS, and how many designs it began and ended."""
    task, designs = curves.read(name, seed), curves.designs(name)
    sizes = np.array([designs.measure(config)["params"] for config in task.configs])
    budget = budget_of(task)
    about = {"objectives": OBJECTIVES, "measure": designs.measure}
    with threadpool_limits(1):
        pieces = replay(task, scheduler, strategy, seed, budget, **about)
    marks = [mark * budget for mark in MARKS]
    found = {
        f"{way}, {below}": scores.shares(task, sizes, pieces, marks, way, below)
        for way in scores.WAYS
        for below in scores.REFERENCES
    }
    return {
        **found,
        "designs": len(task.configs),
        "begun": len({piece.row for piece in pieces}),
        "ended": len(scores.points(task, sizes, pieces, budget, "ended")),
        "full trainings": budget / task.budget * task.fulls,
        "spent": max(piece.end(task) for piece in pieces) / budget,
    }


def searched(run: Run, name: str, scheduler: str, strategy: str) -> Found:
    """Return the searches of all seeds; those on the same table are read from the record."""
    found = []
    for seed in run.seeds:
        title = f"{name}, {scheduler} x {strategy}, seed {seed}"
        kept = run.record.run(title)
        if kept is None or kept["table"] != curves.digest(name):
            new = search(name, scheduler, strategy, seed)
            run.record.add(title, {**new, "table": curves.digest(name)})
            kept = run.record.run(title)
        found.append(kept)
    _print(f"{name:7} {scheduler:4} x {strategy:6}", found)
    return found


def _print(who: str, found: Found) -> None:
    def mean(what: str) -> str:
        return f"{np.mean([one[what] for one in found]):.3g}"

    print(
        f"{who} of {mean('designs')} designs {mean('begun')} begun, {mean('ended')} ended, for "
        f"{mean('full trainings')} full trainings, {mean('spent')} of it spent"
    )
    for below in scores.REFERENCES:
        by_way = [np.mean([one[f"{way}, {below}"] for one in found], axis=0) for way in scores.WAYS]
        texts = (" ".join(f"{share:.3f}" for share in shares) for shares in by_way)
        table = "   ".join(f"{way} {text}" for way, text in zip(scores.WAYS, texts, strict=True))
        print(f"    share below the {below:6}   {table}", flush=True)


def missing(found: Found, what: str) -> np.ndarray:
    """Return the ``(seeds,)`` logarithms of the missing shares at the end of the budget."""
    return np.log(1 - np.array([one[what][-1] for one in found]) + FLOOR)


def compare(run: Run, name: str) -> None:
    """Search the task ``name`` with early stopping and without, and show what of the volume each misses."""
    for strategy in run.strategies:
        stopped, whole = (searched(run, name, scheduler, strategy) for scheduler in (STOPPED, WHOLE))
        for way, below, bar in SHOWN:
            what = f"{way}, {below}"
            found = ratio([missing(stopped, what) - missing(whole, what)])
            interval = f"90 % interval {found.low:.2f} to {found.high:.2f}"
            claim = (
                f"{name} x {strategy}: missing hypervolume below the {below} ({way}), early stopping to none"
            )
            run.show(claim, found.mean, f"{bar}; {interval}", bar == "reported" or found.mean < 1)


def names_of(text: str, least: int) -> list[str]:
    """Read names of tables; one with fewer than ``least`` trainings is left out, and a ``ValueError`` if all are."""
    names = text.split(",")
    if unknown := [name for name in names if name not in suite.OURS]:
        raise ValueError(f"no table {unknown[0]!r} of our own; give some of {', '.join(suite.OURS)}")
    found = [name for name in names if len(curves.rows_of(curves.table(name))) >= least]
    if not found:
        raise ValueError(
            f"none of {text} has {least} trainings yet; record more by python -m experiments.curves.run"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two seeds without the models; keeps nothing")
    parser.add_argument("--tasks", default=",".join(suite.OURS), help="of chain, mobile (default both)")
    options = parser.parse_args()
    strategies, seeds, least = QUICK if options.quick else (STRATEGIES, range(suite.SEEDS), suite.LEAST)
    names = names_of(options.tasks, least)
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        script = str(Path(place) / "run.py") if options.quick else __file__
        command = COMMAND + (" --quick" if options.quick else "")
        run = Run(Record(script, *MEASURED), command, tuple(strategies), tuple(seeds))
        for name in names:
            compare(run, name)


if __name__ == "__main__":
    main()
