"""Schedulers on 12 tasks of TaskSet and on our own curves, in simulated seconds, beside Optuna and DEHB.

    python -m experiments.fidelity.run [--quick] [--parts schedulers,strategies,workers,claims] [--tasks dev,untouched]

Rivals' searches are read from the kept files. What was searched is kept, and a run goes on where it was.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from experiments.fidelity import compare, searches, suite
from experiments.fidelity.scores import UNREACHED
from experiments.fidelity.searches import Ours, Searches
from experiments.record import Record

COMMAND = "python -m experiments.fidelity.run"
MODELLED = ("auto", "asha", "freeze-thaw")  # schedulers that are tried with strategies that learn
STRATEGIES = {"tpe": suite.SEEDS, "auto": suite.SEEDS}  # and with how many seeds
WORKERS = 4
BAR = 0.5


@dataclass(frozen=True)
class Run:
    """Where results go, and how much is run: ``quick`` is a taste, kept apart from the results."""

    record: Record
    quick: bool
    names: tuple[str, ...]

    def seeds(self, most: int = suite.SEEDS) -> range:
        """The seeds that are run, at most ``most``."""
        return range(2 if self.quick else most)

    def show(self, claim: str, value: float, bar: str, holds: bool, seeds: Sequence[int]) -> None:
        """Keep a claim and print it."""
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:,.4g}, bar {bar}", flush=True)
        command = COMMAND + (" --quick" if self.quick else "")
        self.record.show(claim, value, bar, holds, seeds=list(seeds), command=command)

    def standing(self, who: str, by_task: Mapping[str, Searches], workers: int = 1) -> None:
        """Record and print where ``who`` stands in each group of tasks that it has searched."""
        for group, names in self.groups().items():
            if not all(by_task[name] for name in names):
                continue
            found = compare.standing({name: by_task[name] for name in names}, workers)
            print(f"{group:12} {who:28} {found}", flush=True)
            self.record.add(f"{group}: {who}", {**asdict(found), "tasks": len(names)})

    def groups(self) -> dict[str, list[str]]:
        """Return the groups of the tasks that are run: TaskSet by the split, our own curves by themselves."""
        ours = [name for name in self.names if name in suite.OURS]
        found = {
            kind: [name for name in self.names if name in members and name not in suite.OURS]
            for kind, members in (("development", suite.DEVELOPMENT), ("untouched", suite.UNTOUCHED))
        }
        return {kind: names for kind, names in {**found, "our curves": ours}.items() if names}


def rivals_of(run: Run) -> dict[str, dict[str, Searches]]:
    """Return the searches of all rivals, of the tasks that each has searched."""
    return {who: searches.rival(who, run.names, run.seeds()) for who in searches.RIVALS}


def schedulers(run: Run) -> None:
    """All schedulers with random designs, and the rivals."""
    for who, found in rivals_of(run).items():
        run.standing(f"rival {who}", found)
    for name in searches.simulated():
        ours = Ours(name)
        run.standing(str(ours), searches.run(ours, run.names, run.seeds()))


def strategies(run: Run) -> None:
    """Schedulers with strategies that learn."""
    for strategy, most in STRATEGIES.items():
        for name in MODELLED:
            if (ours := Ours(name, strategy)).there and not (run.quick and strategy == "auto"):
                run.standing(str(ours), searches.run(ours, run.names, run.seeds(most)))


def workers(run: Run) -> None:
    """Four workers under the simulated clock, a quarter of the time each."""
    for name in searches.simulated():
        ours = Ours(name, workers=WORKERS)
        run.standing(str(ours), searches.run(ours, run.names, run.seeds()), WORKERS)


def claims(run: Run) -> None:
    """The cost of the best rival's final regret, and where one-epoch-top-k is better."""
    for strategy in ("random", *STRATEGIES):
        ours = Ours("auto", strategy)
        seeds = run.seeds(STRATEGIES.get(strategy, suite.SEEDS))
        if not ours.there or (run.quick and strategy == "auto"):
            continue
        by_task = searches.run(ours, run.names, seeds)
        for group, names in {**run.groups(), "all": list(run.names)}.items():
            show_cost(run, f"{group}, {ours}", {name: by_task[name] for name in names}, seeds)
            if len(seeds) >= compare.TESTED:
                show_worse(run, f"{group}, {ours}", {name: by_task[name] for name in names}, seeds)


def show_cost(run: Run, what: str, by_task: Mapping[str, Searches], seeds: range) -> None:
    """Show the share of the best rival's cost, the end of its interval, and record it by task."""
    goals = compare.targets(rivals_of(run), list(by_task))
    share = compare.cost_ratio(by_task, goals)
    claim = f"{what}: cost of the best rival's final regret to the rival's, geometric mean of {len(by_task)} tasks"
    run.show(claim, share.mean, f"<= {BAR:g}", share.mean <= BAR, seeds)
    run.show(f"{claim}, upper end of 90 %", share.high, "< 1", share.high < 1, seeds)
    logs = np.concatenate([compare.costs(name, found, goals[name][1]) for name, found in by_task.items()])
    never = float((logs >= np.log(UNREACHED) - 1e-9).mean())
    claim = f"{what}: share of searches that never have the best rival's final regret, counted as {UNREACHED:g} budgets"
    run.show(claim, never, "reported", True, seeds)
    by_name = {
        name: {
            "rival": goals[name][0],
            "its regret": round(goals[name][1], 5),
            "shares": np.exp(compare.costs(name, found, goals[name][1])).round(4).tolist(),
        }
        for name, found in by_task.items()
    }
    run.record.add(f"{what}: shares of the best rival's cost", by_name)


def show_worse(run: Run, what: str, by_task: Mapping[str, Searches], seeds: range) -> None:
    """Show on how many tasks the baseline that is hard to beat is significantly better."""
    lost = compare.worse(by_task, searches.rival("one-epoch-top-k", list(by_task), seeds))
    run.record.add(f"{what}: significantly worse than one-epoch-top-k", {"p by task": lost})
    claim = f"{what}: tasks where one-epoch-top-k is significantly better (Wilcoxon, 5 %, Holm)"
    run.show(claim, len(lost), "= 0", not lost, seeds)
    share = compare.final_ratio(by_task, searches.rival("one-epoch-top-k", list(by_task), seeds))
    claim = f"{what}: final regret to one-epoch-top-k's, upper end of 90 % of the geometric mean"
    run.show(claim, share.high, "< 1", share.high < 1, seeds)


PARTS: dict[str, Callable[[Run], None]] = {
    "schedulers": schedulers,
    "strategies": strategies,
    "workers": workers,
    "claims": claims,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 seeds of 2 tasks, kept apart in runs/")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--tasks", default="dev,untouched", help="names and groups")
    options = parser.parse_args()
    searches.RUNS.mkdir(exist_ok=True)
    script = str(searches.RUNS / "run.py") if options.quick else __file__
    names = suite.names_of(options.tasks)[: 2 if options.quick else None]
    run = Run(Record(script, *searches.MEASURED), options.quick, tuple(names))
    for part in options.parts.split(","):
        PARTS[part](run)


if __name__ == "__main__":
    main()
