"""The engine at the size of a cluster: simulated evaluations, up to 100,000 trials by 1,000 workers at a time.

    python -m experiments.scale.run [--quick]

The engine is real (space, strategy, scheduler, store in a file, history); evaluations are a draw of a duration on a
simulated clock. At each size are reported: milliseconds of the engine for each trial of the last tenth, memory, size of
the store, seconds to open the study again, and seconds of ``nas show`` on a run folder with that store.
"""

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from heapq import heappop, heappush
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from estimators.dataset import load
from estimators.estimator import Fidelity, Result
from experiments.record import LOOP, Record
from nas.folder import Folder, Settings
from nas.joint import joint_space
from nas.study import Study
from nas.trial import Objective
from search_spaces.architecture import SearchSpace

COMMAND = "python -m experiments.scale.run"
SIZES = (1_000, 10_000, 30_000, 100_000)
WORKERS = 1_000
CASES = {
    "random x full": 100_000,
    "evolution x asha": 100_000,
    "auto x auto": 30_000,
}  # and their largest sizes
LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
LAST = 0.1  # of the trials of a size, over which the engine is timed


def opened(space: SearchSpace, path: Path, case: str) -> Study:
    """Return the study of ``case`` in the file ``path``."""
    strategy, scheduler = case.split(" x ")
    return Study(
        space.space,
        objectives=[Objective("accuracy")],
        strategy=strategy,
        scheduler=scheduler,
        ladder=LADDER if scheduler != "full" else LADDER[:1],
        key=space.key,
        measure=space.measure,
        timed=True,
        storage=path,
    )


class Cluster:
    """``workers`` that take a simulated time for each evaluation, log-normal about one second an epoch."""

    def __init__(self, study: Study, workers: int) -> None:
        self.study, self.workers = study, workers
        self._rng, self._now = np.random.default_rng(0), 0.0
        self._flights: list[tuple[float, int]] = []

    def run(self, starts: int) -> None:
        """Go on until so many trials were started; what is in flight then stays in flight."""
        study = self.study
        while study.history.starts < starts:
            while len(self._flights) < self.workers and study.history.starts < starts:
                trial = study.ask()
                assert trial.asked is not None
                epochs = trial.asked.fidelity.epochs - trial.asked.start
                heappush(self._flights, (self._now + epochs * self._rng.lognormal(), trial.number))
            self._land()

    def _land(self) -> None:
        self._now, number = heappop(self._flights)
        accuracy = float(self._rng.beta(8, 2))
        self.study.tell(
            number, Result(metrics={"accuracy": accuracy}, curve=({"accuracy": accuracy},), seconds=1.0)
        )


def shown(store: Path, folder: Path) -> float:
    """Return the seconds of ``nas show --json`` on a run folder with the rows of ``store``."""
    run = Folder(folder)
    run.path.mkdir()
    Settings("digits", trials=1).write(run.config)
    run.store.write_bytes(store.read_bytes())
    began = time.perf_counter()
    command = [sys.executable, "-m", "nas.cli", "show", str(run.path), "--json"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def apart(*arguments: Any) -> dict[str, dict[str, float]]:
    """Return what ``measured`` returns, from a process of its own: memory that another case freed is no measure."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, *arguments).result()


def measured(
    space: SearchSpace, case: str, sizes: tuple[int, ...], workers: int
) -> dict[str, dict[str, float]]:
    """Return what the engine of ``case`` takes at each of ``sizes``."""
    found: dict[str, dict[str, float]] = {}
    process = psutil.Process()
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        path = Path(place) / "study.log"
        gc.collect()
        before = process.memory_info().rss
        study = opened(space, path, case)
        cluster = Cluster(study, workers)
        for size in sizes:
            cluster.run(round((1 - LAST) * size))
            began, cpu = study.history.starts, time.process_time()
            cluster.run(size)
            each = (time.process_time() - cpu) / (study.history.starts - began)
            row = {
                "ms": 1000 * each,
                "memory": (process.memory_info().rss - before) / 1e6,
                "store": path.stat().st_size / 1e6,
                "show": shown(path, Path(place) / f"run-{size}"),
            }
            found[str(size)] = row
            print(case, size, {name: round(value, 2) for name, value in row.items()}, flush=True)
        study.close()
        began_at = time.perf_counter()
        opened(space, path, case).close()
        found[str(sizes[-1])]["open"] = time.perf_counter() - began_at
    return found


def show(record: Record, case: str, found: dict[str, dict[str, Any]]) -> None:
    """Keep what was measured as claims."""
    units = {
        "ms": "engine's CPU milliseconds a trial",
        "memory": "MB of memory",
        "store": "MB of the store",
        "open": "seconds to open",
        "show": "seconds of nas show",
    }
    for size, row in found.items():
        for name, value in row.items():
            claim = f"{case}, {int(size):,} trials, {WORKERS:,} workers: {units[name]}"
            record.show(claim, value, "reported", True, seeds=[0], command=COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2,000 trials by 100 workers; keeps nothing")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ", ".join(CASES))
    options = parser.parse_args()
    space = joint_space(load("digits", seed=0), "chain")
    if options.quick:
        for case in CASES:
            apart(space, case, (1_000, 2_000), 100)
        return
    record = Record(__file__, *LOOP, "experiments/scale")
    for case in options.cases.split(","):
        if (found := record.run(case)) is None:
            sizes = tuple(size for size in SIZES if size <= CASES[case])
            record.add(case, apart(space, case, sizes, WORKERS))
            found = record.run(case)
        show(record, case, {size: row for size, row in found.items() if size.isdigit()})


if __name__ == "__main__":
    main()
