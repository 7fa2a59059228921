"""Random search, and the baseline that is hard to beat: one epoch of many designs, then the best to the end."""

import numpy as np

from experiments.fidelity.rivals.kept import Worker
from experiments.fidelity.task import Pool

TOP = 10  # designs that go on: the best of 1, 3, 5, 8, 10, 12, 14, 16 on the development tasks, see README.md


def random_search(worker: Worker, seed: int) -> None:
    """Train random designs, each to the end."""
    rng, pool = np.random.default_rng(seed), Pool(worker.task)
    while not worker.over and pool.free.any():
        worker.train(pool.take(worker.task.space.sample(rng)), worker.task.epochs)


def one_epoch_top_k(worker: Worker, seed: int, top: int = TOP) -> None:
    """Train random designs for one epoch, as long as the time for the ``top`` best remains; then those to the end.

    Where the designs run out, more than ``top`` go on: the next best, until the budget is spent.
    """
    rng, pool, task = np.random.default_rng(seed), Pool(worker.task), worker.task
    reserved = top * float(task.seconds[:, 1:].sum(1).mean())
    first: dict[int, float] = {}
    while worker.now < task.budget - reserved and pool.free.any():
        row = pool.take(task.space.sample(rng))
        first[row] = worker.train(row, 1)
    for row in sorted(first, key=lambda row: (np.isnan(first[row]), first[row])):
        if worker.over:
            return
        worker.train(row, task.epochs)
