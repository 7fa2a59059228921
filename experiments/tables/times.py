"""Milliseconds of ask, tell and open in 8 mixed dimensions, on one core, beside Optuna's in turn in the same run.

Studies are filled with random trials of ``mixed`` in a file, opened by another strategy, and asked: one ask that is
not counted, since it fits what a running search has fitted before, then the mean of the next ones.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from experiments.record import ROOT
from experiments.tables.behaviour import walk
from experiments.tables.functions import mixed, mixed_space
from nas.strategy import strategies
from nas.study import Study

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}

SIZES = (100, 500, 1_000, 10_000)
THEIRS = {"gpsampler": SIZES[:2], "optuna-tpe": SIZES}


def named(strategy: str) -> Callable[..., Any]:
    """Return a maker of ``strategy`` under a name that all share, so that one may go on with another's study."""

    def timed(problem: Any, *, seed: int = 0) -> Any:
        return strategies.get(strategy)(problem, seed=seed)

    return timed


def opened(path: Path, strategy: str, *, durable: bool = False) -> Study:
    """Return the study in the file at ``path``, to go on with ``strategy``."""
    return Study(mixed_space(), strategy=named(strategy), storage=path, durable=durable)


def fill(folder: Path, counts: tuple[int, ...]) -> dict[int, Path]:
    """Return files that hold studies of ``counts`` random trials."""
    path, paths = folder / "filling.log", {}
    for count in sorted(counts):
        with opened(path, "random") as study:
            walk(study, count - len(study.trials))
        paths[count] = folder / f"{count}.log"
        shutil.copy(path, paths[count])
    return paths


def ask(path: Path, strategy: str, asks: int) -> float:
    """Return the mean milliseconds of processor time of ``asks`` asks after the trials in ``path``."""
    copy, spent = path.with_suffix(".asked"), []
    shutil.copy(path, copy)
    with threadpool_limits(1), opened(copy, strategy) as study:
        for _ in range(asks + 1):
            began = time.process_time()
            trial = study.ask()
            spent.append(1e3 * (time.process_time() - began))
            study.tell(trial, mixed(trial.config))
    return float(np.mean(spent[1:]))


def tell(folder: Path, durable: bool, tells: int = 300) -> float:
    """Return the median milliseconds of wall time of a tell into a file; ``durable`` syncs it to the disk."""
    spent = []
    with opened(folder / f"tell-{durable}.log", "random", durable=durable) as study:
        for _ in range(tells):
            trial = study.ask()
            loss, began = mixed(trial.config), time.perf_counter()
            study.tell(trial, loss)
            spent.append(1e3 * (time.perf_counter() - began))
    return float(np.median(spent))


def open_seconds(path: Path) -> float:
    """Return the least of three times that opening the study in ``path`` takes, in seconds of processor time."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        opened(path, "auto").close()
        spent.append(time.process_time() - began)
    return min(spent)


def rival_ask(path: Path, sampler: str, asks: int, python: Path) -> float:
    """Return the same as ``ask`` for one of Optuna's samplers, in the environment of ``python``."""
    sampler = sampler.removeprefix("optuna-")
    command = [python, "-m", "experiments.tables.rivals.times", sampler, path.stem, str(asks)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, check=True, capture_output=True, text=True
    )
    return float(json.loads(done.stdout))


def asks_of(count: int) -> int:
    """Return how many asks are timed after ``count`` trials."""
    return 20 if count <= 100 else 5


def plan(
    ours: Mapping[str, tuple[int, ...]], most: int, python: Path | None
) -> list[tuple[str, int, Callable[..., float]]]:
    """Return (name, trials, how to time an ask), ours and Optuna's in turn at each size up to ``most``."""
    jobs: list[tuple[str, int, Callable[..., float]]] = []
    for count in (count for count in SIZES if count <= most):
        jobs += [
            (name, count, partial(ask, strategy=name)) for name, counts in ours.items() if count in counts
        ]
        if python is not None:
            samplers = [sampler for sampler, counts in THEIRS.items() if count in counts]
            jobs += [(name, count, partial(rival_ask, sampler=name, python=python)) for name in samplers]
    return jobs
