"""Our default strategy against others' on 15 tables and 5 functions, and what it costs.

    python -m experiments.tables.run [--quick] [--parts development,untouched] [--rivals-python PATH] [--jobs 1]

``--rivals-python`` is the interpreter of the rivals' environment; without it Optuna's asks are not timed again. Rivals'
searches are read from the kept files.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from experiments.record import Record
from experiments.tables import behaviour, compare, fronts, ours, scores, times
from experiments.tables.suite import DEVELOPMENT, REPLICATES, SYNTHETIC, UNTOUCHED, length, table
from nas.strategy import strategies

COMMAND = "python -m experiments.tables.run"
AUTO = ours.Ours("auto")
EVERYONE = (*compare.RIVALS, "nevergrad", "deap", "smac")
QUICK = ("nb201-cifar10", "fcnet-protein", "mlp-car")
TIMED = {
    "auto": (100, 500, 1_000),
    "gp": (100, 500, 1_000),
    "tpe": (100, 500, 1_000, 10_000),
    "evolution": (100, 500, 1_000, 10_000),
}
MOST = {  # milliseconds per ask, issue 4
    "auto": {100: 30.0, 500: 100.0, 1_000: 200.0},
    "tpe": {1_000: 2.0, 10_000: 8.0},
    "evolution": {1_000: 2.0, 10_000: 8.0},
}


@dataclass(frozen=True)
class Run:
    """Where results go, and how much is run: ``quick`` is a taste, kept apart from the results."""

    record: Record
    quick: bool
    jobs: int
    python: Path | None

    @property
    def seeds(self) -> range:
        """The replicates that are run."""
        return range(2 if self.quick else REPLICATES)

    def show(self, claim: str, value: float, bar: str, holds: bool, seeds: Sequence[int] = (0,)) -> None:
        """Keep a claim and print it."""
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:,.4g}, bar {bar}", flush=True)
        command = COMMAND + (" --quick" if self.quick else "")
        self.record.show(claim, value, bar, holds, seeds=list(seeds), command=command)

    def searches(self, names: Sequence[str]) -> dict[str, compare.Searches]:
        """Return the searches of ``auto``, run where they are not kept; each table is recorded as it is done."""
        found: dict[str, compare.Searches] = {}
        for name in names:
            found.update(compare.run(AUTO, [name], self.seeds, self.jobs))
            searches = list(found[name].values())
            self.record.add(
                f"auto, {name}",
                {
                    "regrets": np.round(scores.regrets(table(name), searches), 5).tolist(),
                    "test regrets": np.round(scores.test_regrets(table(name), searches), 5).tolist(),
                    "distinct": [search.distinct for search in searches],
                    "seconds": [search.seconds for search in searches],
                },
            )
        return found


def show_ratio(
    run: Run, what: str, searches: Mapping[str, compare.Searches], rival: str, mark: str, most: float
) -> None:
    """Show the geometric mean of ratios of regret to ``rival`` at ``mark``, and the upper end of its interval."""
    by_table = compare.log_ratios(searches, compare.rival_searches(rival, list(searches)))
    at = compare.MARKS.index(mark)
    ratio = scores.ratio([values[:, at] for values in by_table.values()])
    seeds = sorted({seed for one in searches.values() for seed in one})
    claim = f"{what}: regret to that of {rival} at {mark}, geometric mean over {len(by_table)} tables"
    run.show(claim, ratio.mean, f"<= {most:g}", ratio.mean <= most, seeds)
    run.show(f"{claim}, upper end of 90 %", ratio.high, "< 1", ratio.high < 1, seeds)


def show_group(run: Run, what: str, searches: Mapping[str, compare.Searches]) -> None:
    """Show the ratios to all rivals, the cells by themselves, and the tables where others are significantly better."""
    for mark in ("50", "end"):
        show_ratio(run, what, searches, "gpsampler", mark, 0.65)
    for mark, most in (("25", 0.6), ("50", 0.4), ("end", 0.4)):
        show_ratio(run, what, searches, "tpe", mark, most)
    for rival in ("random", "evolution"):
        show_ratio(run, what, searches, rival, "end", 0.35)
    cells = {name: found for name, found in searches.items() if name.startswith("nb201")}
    for mark in ("50", "end"):
        show_ratio(run, f"{what}, cells", cells, "gpsampler", mark, 0.4)
    for rival in compare.TESTED:
        show_losses(run, what, searches, rival)
    record_standing(run, what, searches)


def show_losses(run: Run, what: str, searches: Mapping[str, compare.Searches], rival: str) -> None:
    """Show on how many tables ``rival`` is significantly better at some mark, and record which."""
    by_table = compare.log_ratios(searches, compare.rival_searches(rival, list(searches)))
    lost = {
        mark: scores.losses({name: values[:, at] for name, values in by_table.items()})
        for at, mark in enumerate(compare.MARKS)
    }
    run.record.add(f"{what}: significantly worse than {rival}", {"p by mark and table": lost})
    count = sum(map(len, lost.values()))
    claim = f"{what}: tables and marks where {rival} is significantly better (Wilcoxon, 5 %, Holm)"
    run.show(claim, count, "= 0", count == 0, run.seeds)


def record_standing(run: Run, what: str, searches: Mapping[str, compare.Searches]) -> None:
    """Record and print the geometric mean regret at each mark: ours, and of every rival over the seeds it has."""
    names = list(searches)
    found = {"auto": searches, **{rival: compare.rival_searches(rival, names) for rival in EVERYONE}}
    for who, by_table in found.items():
        logs = [
            np.log(scores.regrets(table(n), list(by_table[n].values()))).mean(0) for n in names if by_table[n]
        ]
        if len(logs) == len(names):
            means = np.exp(np.mean(logs, axis=0)).round(4).tolist()
            print(f"        {what}: geometric mean regret of {who} at 25, 50, end: {means}", flush=True)
            run.record.add(
                f"{what}: geometric mean regret, {who}", dict(zip(compare.MARKS, means, strict=True))
            )


def development(run: Run) -> None:
    """The tables that strategies were made on."""
    show_group(run, "development", run.searches(QUICK if run.quick else DEVELOPMENT))


def untouched(run: Run) -> None:
    """The tables that were kept aside, by themselves and with the others."""
    apart = run.searches(UNTOUCHED)
    show_group(run, "untouched", apart)
    show_group(run, "all", {**run.searches(DEVELOPMENT), **apart})


def functions(run: Run) -> None:
    """Functions with known minima: medians of the distance to the minimum."""
    found = run.searches(SYNTHETIC[:1] if run.quick else SYNTHETIC)
    for name, searches in found.items():
        mine = compare.median_distance(name, list(searches.values()))
        if name == "branin":
            run.show("branin: median regret after 50", mine, "<= 0.01", mine <= 0.01, run.seeds)
            continue
        theirs = compare.rival_searches("gpsampler", [name])[name]
        bar = compare.median_distance(name, [theirs[seed] for seed in run.seeds])
        claim = f"{name}: median regret after {length(name)}, and GPSampler's as the bar"
        run.show(claim, mine, f"<= {bar:.4g}", mine <= bar, run.seeds)


def conduct(run: Run) -> None:
    """Failures, spaces that end, trials in flight, resuming."""
    seeds = range(1 if run.quick else 5)
    worst = max(behaviour.failures("auto", 200, seed) for seed in seeds)
    run.show("a region of NaN beside the optimum: most of 200 trials in it", worst, "< 40", worst < 40, seeds)
    least = min(behaviour.distinct("auto", seed) for seed in seeds)
    run.show("80 points: least number of distinct trials of 80", least, "= 80", least == 80, seeds)
    least = min(behaviour.pending("auto", seed) for seed in seeds)
    run.show("eight trials in flight: least number that differ", least, "= 8", least == 8, seeds)
    names = ["auto"] if run.quick else [name for name in strategies.names() if name != "grid"]
    wrong = sum(not resumes(name) for name in names)
    run.show(f"15 + 15 trials unlike 30, of {len(names)} strategies", wrong, "= 0", wrong == 0)


def resumes(strategy: str) -> bool:
    """Return whether 15 + 15 trials are 30 trials."""
    with TemporaryDirectory() as whole, TemporaryDirectory() as halves:
        parts = behaviour.resumed(strategy, 0, Path(halves), (15, 15))
        return parts == behaviour.resumed(strategy, 0, Path(whole), (30,))


def latency(run: Run) -> None:
    """Milliseconds of ask, tell and open, beside Optuna's."""
    most = 100 if run.quick else 10_000
    timed = {name: tuple(count for count in counts if count <= most) for name, counts in TIMED.items()}
    with TemporaryDirectory() as folder:
        counts = tuple(sorted({count for sizes in timed.values() for count in sizes}))
        paths = times.fill(Path(folder), counts)
        for name, count, job in times.plan(timed, most, run.python):
            label = f"milliseconds per ask, {name} at {count}"
            if (kept := run.record.run(label)) is None:
                run.record.add(label, kept := {"mean": job(paths[count], asks=times.asks_of(count))})
            spent = kept["mean"]
            print(f"        ask, {name} at {count:,}: {spent:.2f} ms", flush=True)
            if (bar := MOST.get(name, {}).get(count)) is not None:
                claim = f"milliseconds per ask of {name} at {count:,}"
                run.show(claim, spent, f"<= {bar:g}", spent <= bar)
        show_store(run, Path(folder), paths[max(counts)], max(counts))


def show_store(run: Run, folder: Path, path: Path, count: int) -> None:
    """Tell and open."""
    spent = times.tell(folder, durable=False)
    run.show("milliseconds per tell into a file, median, safe from SIGKILL", spent, "< 1", spent < 1)
    run.record.add("milliseconds per tell, synced to the disk", {"median": times.tell(folder, durable=True)})
    seconds = times.open_seconds(path)
    run.show(f"seconds to open a study of {count:,} trials", seconds, "< 1", seconds < 1)


def show_fronts(run: Run) -> None:
    """Accuracy against latency: the missing share of the hypervolume, ours to others'."""
    mine = {
        device: np.log(1 - np.array([our_volume(run, device, seed) for seed in run.seeds]) + scores.FLOOR)
        for device in (fronts.DEVICES[:1] if run.quick else fronts.DEVICES)
    }
    for rival in ("nsga2", "random", "tpe"):
        logs = []
        for device, missing in mine.items():
            points = fronts.read(fronts.path_of(rival, device))
            theirs = np.array([fronts.volume(points[seed], device, seed) for seed in run.seeds])
            run.record.add(
                f"share of the hypervolume, {rival}, {device}", {"volumes": theirs.round(5).tolist()}
            )
            logs.append(missing - np.log(1 - theirs + scores.FLOOR))
        ratio = scores.ratio(logs)
        claim = (
            f"accuracy against latency, {len(logs)} devices: missing hypervolume at 100 to that of {rival}"
        )
        run.show(claim, ratio.mean, "<= 1", ratio.mean <= 1, run.seeds)
        run.show(f"{claim}, upper end of 90 %", ratio.high, "< 1", ratio.high < 1, run.seeds)


def our_volume(run: Run, device: str, seed: int) -> float:
    """Return the share of the hypervolume of one search of ``auto``, from the record if it is there."""
    name = f"share of the hypervolume, auto, {device}, replicate {seed}"
    if (kept := run.record.run(name)) is None:
        points = ours.front(AUTO, device, seed)
        kept = {"volume": fronts.volume(points, device, seed)}
        run.record.add(name, kept)
    return float(kept["volume"])


PARTS: dict[str, Callable[[Run], None]] = {
    "functions": functions,
    "conduct": conduct,
    "latency": latency,
    "fronts": show_fronts,
    "development": development,
    "untouched": untouched,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 seeds of a few tables, kept apart in runs/")
    parser.add_argument("--parts", help=f"of {', '.join(PARTS)}; all, and with --quick all but untouched")
    parser.add_argument("--rivals-python", type=Path, help="the interpreter of the rivals' environment")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    ours.RUNS.mkdir(exist_ok=True)
    script = str(ours.RUNS / "run.py") if options.quick else __file__
    run = Run(Record(script, *ours.MEASURED), options.quick, options.jobs, options.rivals_python)
    everything = [part for part in PARTS if not (options.quick and part == "untouched")]
    for part in options.parts.split(",") if options.parts else everything:
        PARTS[part](run)


if __name__ == "__main__":
    main()
