"""DEHB (Awad et al. 2021), package dehb 0.1.2 with its defaults, through its own ask and tell.

Its vectors are units of numbers, which is enough for TaskSet; a space with choices would be its ConfigSpace's. A
vector is replaced by the nearest free row before its result is told, so that its population holds where losses were
measured. What it promotes goes on from where it was, which its paper does not count but a checkpoint gives. A
divergence is a fitness behind all others; infinity means "not evaluated" there.
"""

from tempfile import TemporaryDirectory

import numpy as np
from dehb import DEHB

from experiments.fidelity.rivals.kept import Worker
from experiments.fidelity.task import Pool
from search_spaces.space import Configuration

WORST = 1e30


def search(worker: Worker, seed: int) -> None:
    """Search until the budget is spent."""
    task, pool = worker.task, Pool(worker.task)
    rows: dict[bytes, int] = {}
    with TemporaryDirectory() as folder:
        engine = DEHB(
            f=lambda *_, **__: {},
            dimensions=len(task.space.slots),
            min_fidelity=1,
            max_fidelity=task.epochs,
            seed=seed,
            n_workers=1,
            configspace=False,
            save_freq="end",
            output_path=folder,
            log_level="ERROR",
        )
        while not worker.over:
            job = engine.ask()
            vector = np.ascontiguousarray(job["config"], float)
            if vector.tobytes() not in rows:
                values = {s.path: s.parameter.value(u) for s, u in zip(task.space.slots, vector, strict=True)}
                row = pool.take(Configuration(values))
                vector = task.units[row].copy()
                rows[vector.tobytes()] = row
            loss = worker.train(rows[vector.tobytes()], round(float(job["fidelity"])))
            fitness = WORST if np.isnan(loss) else loss
            engine.tell({**job, "config": vector}, {"fitness": fitness, "cost": worker.now})
