"""Check and time everything that a GPU does differently, in under eight minutes: ``python -m experiments.gpu.run``.

Runs the tests marked ``gpu``, then times the training of one network in three precisions on generated images, in turn,
as a ratio to float32, and to the same loop on the CPU. Exit 1 if a test fails, 2 where there is no CUDA device.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from estimators.dataset import Dataset, save
from estimators.estimator import Context, Fidelity
from estimators.split import Split
from estimators.train import TrainEstimator
from experiments.record import ROOT, Record
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.spaces.chain import Chain

IMAGES, REPEATS = 20_000, 3
SHAPE = (3, 32, 32)


def generated(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    parts = [
        Split(rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8), np.arange(n) % 10) for n in (IMAGES, 500, 10)
    ]
    return save(Dataset("generated", *parts, tuple("0123456789")), folder / "data")


def images_per_second(data: Path, folder: Path, device: str, precision: str, share: float) -> float:
    joint = SearchSpace(Chain(SHAPE, 10), recipe_space(SHAPE, 10, IMAGES))
    design = joint.decode(joint.space.default())
    estimator = TrainEstimator(data, precision=precision)
    context = Context(seed=0, scratch=folder, device=device, threads=torch.get_num_threads(), horizon=9)
    began = time.perf_counter()
    result = estimator.evaluate(design, Fidelity(1, share), context)
    assert result.error is None, result.error
    return share * IMAGES / (time.perf_counter() - began)


def main() -> int:
    if not torch.cuda.is_available():
        print(
            "experiments.gpu: torch sees no CUDA device; run this on a machine that has one", file=sys.stderr
        )
        return 2
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"], cwd=ROOT, check=False
    )
    record = Record(__file__)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = generated(folder)
        cases = [
            ("cuda", "float32", 1.0),
            ("cuda", "bfloat16", 1.0),
            ("cuda", "float16", 1.0),
            ("cpu", "float32", 0.1),
        ]
        speeds: dict[str, list[float]] = {f"{device} {precision}": [] for device, precision, _ in cases}
        for repeat in range(REPEATS + 1):  # in turn; the first round warms up
            for device, precision, share in cases:
                speed = images_per_second(data, folder, device, precision, share)
                if repeat:
                    speeds[f"{device} {precision}"].append(speed)
    base = statistics.median(speeds["cuda float32"])
    result = {"device": torch.cuda.get_device_name(), "images per second": speeds, "tests": tests.returncode}
    record.add(torch.cuda.get_device_name(), result)
    for name, values in speeds.items():
        middle = statistics.median(values)
        spread = f"({min(values):,.0f} to {max(values):,.0f})"
        print(f"{name:14} {middle:10,.0f} images/s  {middle / base:5.2f} of cuda float32  {spread}")
    return 1 if tests.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
