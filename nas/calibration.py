"""What an epoch of the default design takes on this machine, measured before the first trial."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from estimators.dataset import Dataset, save
from estimators.estimator import Context, Estimator, Fidelity, estimators
from nas.executor import Executor, Limits, Task, executors
from nas.flights import evaluated, lost
from nas.folder import Folder
from nas.plan import FEW, MANY, Cost
from search_spaces.architecture import SearchSpace

PATIENCE = 60.0  # seconds after which the larger measurement is left out
AGAIN = 10.0  # seconds within which a measurement outside a run is repeated


class Failed(Exception):
    """The search ended without a model; the message says why and what to do."""


def calibrate(
    estimator: Estimator,
    search_space: SearchSpace,
    executor: Executor,
    folder: Folder,
    images: int,
    device: str,
    memory: int | None = None,
) -> Cost:
    """Measure an epoch of the default design on two small shares of the data; ``Failed`` if it cannot be trained.

    All workers train it at once, as they will in the search, and the slowest counts. The first of three evaluations
    warms the processes up and is not counted.
    """
    design = search_space.decode(search_space.space.default())
    measured: list[tuple[int, float]] = []
    few = min(images, FEW)
    scratch = folder.path / "calibration"
    began = time.monotonic()
    for count in (few, few, min(images, MANY)):
        if len(measured) == 2 and count <= few:
            break
        tasks = [
            Task(
                estimator,
                design,
                Fidelity(1, count / images),
                Context(seed=0, scratch=scratch / str(slot), threads=executor.threads, device=device),
                Limits(memory=memory),
            )
            for slot in range(executor.slots)
        ]
        futures = [executor.submit(task) for task in tasks]
        results = [
            evaluated(executor, task) if lost(future.result()) else future.result()
            for task, future in zip(tasks, futures, strict=True)
        ]
        for result in results:
            if result.error is not None:
                raise Failed(f"the default design cannot be trained on this data: {result.error}")
        measured.append((count, max(result.seconds for result in results)))
        if time.monotonic() - began > PATIENCE and len(measured) == 2:
            break
    shutil.rmtree(scratch, ignore_errors=True)
    (small, large) = (measured[1], measured[-1])
    if large[0] == small[0]:
        return Cost(0.0, small[1] / small[0], (small[0],))
    return Cost.fit(small, large)


def epoch_cost(search_space: SearchSpace, dataset: Dataset, device: str) -> Cost:
    """Measure an epoch of the default design on ``dataset`` without a run; ``Failed`` if it cannot be trained.

    The quickest of three measurements, or of as many as fit into ``AGAIN`` seconds: other work only adds time.
    """
    kind: Any = estimators.get("train")
    executor, began, costs = executors.get("serial")(), time.monotonic(), list[Cost]()
    try:
        with tempfile.TemporaryDirectory(prefix="nas-") as place:
            folder = Folder(Path(place))
            save(dataset, folder.data)
            estimator, count = kind(folder.data), len(dataset.train)
            while not costs or (len(costs) < 3 and time.monotonic() - began < AGAIN):
                costs.append(calibrate(estimator, search_space, executor, folder, count, device))
    finally:
        executor.close()
    return min(costs, key=lambda cost: cost.seconds(count))
