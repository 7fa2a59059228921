"""What it costs to begin: a training that goes on warm or from its file, and a folder that was decoded before."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from estimators import train
from estimators.dataset import load, save
from estimators.estimator import Context, Fidelity
from estimators.train import TrainEstimator
from experiments.record import ROOT
from experiments.throughput.networks import design

IMAGES = 640  # of an epoch: so few that what is around it shows
START = """
import json, sys, tempfile, time
from pathlib import Path
from estimators.dataset import load, save
from estimators.resident import resident
began = time.perf_counter()
data = load(sys.argv[1])
loaded = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    saved = str(save(data, Path(folder) / "data"))
    began_open = time.perf_counter()
    images = resident(saved, "cpu", data.shape)
    opened = time.perf_counter() - began_open
print(json.dumps({"load": loaded - began, "open": opened, "images": sum(map(len, (data.train, data.val, data.test)))}))
"""


def continued(rounds: int) -> dict[str, list[float]]:
    """Return seconds of an evaluation that adds one epoch to a training, still warm and read from its file, in turn."""
    found: dict[str, list[float]] = {"warm": [], "cold": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder, data = Path(scratch), load("fashion-mnist")
        estimator = TrainEstimator(save(data, folder / "data"), precision="float32")
        share, one = IMAGES / len(data.train), design("middle", (1, 28, 28))
        for number in range(rounds + 1):
            for kind, seconds in found.items():
                context = Context(seed=number, scratch=folder, threads=2, horizon=4)
                first = estimator.evaluate(one, Fidelity(1, share), context)
                assert first.checkpoint is not None, first.error
                if kind == "cold":
                    train._warm.clear()
                following = replace(context, start=1, checkpoint=folder / first.checkpoint)
                began = time.perf_counter()
                assert estimator.evaluate(one, Fidelity(2, share), following).error is None
                if number:  # the first round warms the process up
                    seconds.append(time.perf_counter() - began)
    return found


def second_starts(folder: Path, rounds: int) -> list[dict]:
    """Return what so many starts on ``folder`` took, each in a fresh process, after one that decoded it.

    ``load`` and ``open`` are seconds of reading the data set and of mapping its images; ``process`` is all.
    """
    found = []
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NAS_CACHE": cache, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", START, str(folder)]
        for _ in range(rounds + 1):
            began = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found.append({**json.loads(done.stdout), "process": time.perf_counter() - began})
    return found[1:]


def middle(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
