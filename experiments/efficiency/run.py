"""How busy workers are kept: evaluations that sleep half a second, sixteen at a time, by strategy and executor.

    python -m experiments.efficiency.run [--quick]

Workers are started and warmed up before the clock starts; what that took is reported. The engine's time is the CPU time
of its process, supervision of the workers included; that of ``ask`` is counted apart.
"""

import argparse
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimators.estimator import Context, Estimator, Fidelity, Result
from experiments.record import LOOP, Record
from nas.executor import Executor, Limits, Task, executors
from nas.study import Study
from nas.trial import Budget
from search_spaces.space import Choice, Float, Int, Space

COMMAND = "python -m experiments.efficiency.run"
WORKERS, SLEEP = 16, 0.5
STRATEGIES = ("random", "tpe", "auto")
EXECUTORS: dict[str, dict[str, Any]] = {"process": {"oversubscribe": True}, "ray": {"cpus": 0.1}}
LEAST, MOST = 0.93, 5.0  # the bars: share of the ideal, milliseconds of the engine for each trial
SPACE = Space(
    **{f"x{at}": Float(-1.0, 1.0) for at in range(6)}, layers=Int(1, 8), kind=Choice(["a", "b", "c"])
)


@dataclass(frozen=True)
class Sleeping(Estimator):
    """Waits, as a worker does whose device is at work, and returns the loss of a bowl."""

    seconds: float

    def evaluate(self, design: Any, fidelity: Fidelity, context: Context) -> Result:
        time.sleep(self.seconds)
        loss = sum(value**2 for value in design.values() if isinstance(value, float)) + design["layers"] / 8
        return Result(metrics={"loss": loss})


def warmed(executor: Executor, folder: Path) -> None:
    """Have all workers evaluate something at the same time: then they are there."""
    design = SPACE.default()
    tasks = [
        Task(Sleeping(1.0), design, Fidelity(), Context(seed=0, scratch=folder / f"warm-{slot}"), Limits())
        for slot in range(executor.slots)
    ]
    for future in [executor.submit(task) for task in tasks]:
        assert future.result().error is None


class Asking:
    """Counts the CPU seconds of ``ask`` in the engine's thread, all of what decides what is evaluated next."""

    def __init__(self, study: Study) -> None:
        self.seconds, self._asks = 0.0, study._next
        study._next = self._counted  # type: ignore[method-assign]

    def _counted(self, may_start: bool) -> Any:
        began = time.thread_time()
        try:
            return self._asks(may_start)
        finally:
            self.seconds += time.thread_time() - began


def measured(executor_name: str, strategy: str, trials: int) -> dict[str, float]:
    """Return efficiency, seconds of the start, and milliseconds of CPU for each trial: of ``ask``, of the rest."""
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        began = time.monotonic()
        executor = executors.get(executor_name)(workers=WORKERS, **EXECUTORS[executor_name])
        try:
            warmed(executor, Path(place))
            start = time.monotonic() - began
            with Study(SPACE, strategy=strategy, seed=0, storage=Path(place) / "study.log") as study:
                asking, cpu, began = Asking(study), time.process_time(), time.monotonic()
                budget = Budget(trials)
                study.run(Sleeping(SLEEP), lambda config: config, executor, budget, folder=Path(place) / "c")
                seconds, used = time.monotonic() - began, time.process_time() - cpu
                assert len(study.trials) == trials and not any(trial.failed for trial in study.trials)
        finally:
            executor.close()
    ideal = math.ceil(trials / WORKERS) * SLEEP
    return {
        "efficiency": ideal / seconds,
        "start": start,
        "ask": 1000 * asking.seconds / trials,
        "engine": 1000 * (used - asking.seconds) / trials,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="160 trials by process; keeps nothing")
    parser.add_argument("--executors", default=",".join(EXECUTORS), help="of process, ray (default both)")
    options = parser.parse_args()
    record = Record(__file__, *LOOP, "experiments/efficiency")
    trials, names = (160, ["process"]) if options.quick else (1000, options.executors.split(","))
    for executor in names:
        for strategy in STRATEGIES:
            name = f"{executor}, {strategy}, {trials} trials"
            found = None if options.quick else record.run(name)
            if found is None:
                found = measured(executor, strategy, trials)
                if not options.quick:
                    record.add(name, found)
            print(name, {key: round(value, 3) for key, value in found.items() if key != "code"}, flush=True)
            if options.quick:
                continue
            about = f"{executor}, {WORKERS} workers, evaluations of {SLEEP} s, {strategy}"
            value = found["efficiency"]
            record.show(
                f"{about}: share of the ideal",
                value,
                f">= {LEAST}",
                value >= LEAST,
                seeds=[0],
                command=COMMAND,
            )
            value = found["engine"]
            record.show(
                f"{about}: engine's CPU milliseconds a trial outside ask",
                value,
                f"<= {MOST}",
                value <= MOST,
                seeds=[0],
                command=COMMAND,
            )
            for key, unit in (("ask", "CPU milliseconds of ask a trial"), ("start", "seconds of the start")):
                record.show(f"{about}: {unit}", found[key], "reported", True, seeds=[0], command=COMMAND)


if __name__ == "__main__":
    main()
