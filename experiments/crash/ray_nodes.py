"""Ray, three nodes on this machine, 4 workers on digits: a node is removed in the middle, and nothing is lost.

Besides: a call that sleeps for ever and an endless allocation are results within their limits, also under Ray.

    python -c "from experiments.crash.ray_nodes import node_removed, limits; print(node_removed(), limits())"
"""

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from estimators.dataset import load, save
from estimators.estimator import Context, Estimator, Fidelity, Result
from estimators.train import TrainEstimator
from nas.executor import Limits, Task, executors
from nas.study import Study
from nas.trial import Budget
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.spaces.chain import Chain

CPUS = 2  # of each node, as Ray counts them: their processes share what this machine has


class Endless(Estimator):
    """Does what it is told to without an end."""

    def evaluate(self, design: str, fidelity: Fidelity, context: Context) -> Result:
        if design == "sleep":
            time.sleep(10**6)
        kept = []
        while design == "allocate":
            kept.append(bytearray(b"1" * 10_000_000))
        return Result(metrics={"loss": 0.0})


@contextlib.contextmanager
def three_nodes() -> Iterator[Any]:
    """Yield a cluster of three nodes on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=CPUS)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def node_removed(trials: int = 16, *, epochs: int = 4, seed: int = 0) -> dict[str, float]:
    """Search digits with 4 workers and remove one of three nodes after a quarter of the ``trials``.

    Return counts: trials started, finished well, failed, and unfinished; results in the store when it is opened again;
    steps that were placed again; workers at the end; seconds.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, three_nodes() as cluster:
        folder, store = Path(name), Path(name) / "study.log"
        estimator = TrainEstimator(save(load("digits"), folder / "data"))
        joint = SearchSpace(Chain((1, 8, 8), 10), recipe_space((1, 8, 8), 10, 1000))
        options: dict[str, Any] = {"objectives": ["accuracy"], "strategy": "random", "seed": seed}
        options |= {"ladder": [Fidelity(epochs)], "key": joint.key, "storage": store}
        removed = []

        def between() -> None:
            if study.history.results >= trials // 4 and not removed:
                removed.append(next(iter(cluster.worker_nodes)))
                cluster.remove_node(removed[0], allow_graceful=False)

        executor = executors.get("ray")(workers=4)
        with contextlib.closing(executor), Study(joint.space, **options) as study:
            checkpoints, budget = folder / "checkpoints", Budget(trials, None)
            study.run(estimator, joint.decode, executor, budget, folder=checkpoints, between=between)
            workers = executor.slots
        with Study(joint.space, **options) as again:
            last = [trial.last for trial in again.trials]
            counts = {
                "started": len(last),
                "finished": sum(step is not None and step.error is None for step in last),
                "failed": sum(step is not None and step.error is not None for step in last),
                "unfinished": sum(step is None for step in last),
                "in_the_store": again.history.results,
                "placed_again": sum(name.startswith("retried") for name in again.history.events),
            }
    return {**counts, "workers": workers, "seconds": time.monotonic() - began}


def limits(*, seconds: float = 2.0, memory: int = 500_000_000) -> dict[str, float]:
    """Have a call that sleeps for ever, and an endless allocation, evaluated under Ray with these limits.

    Return for each whether it came back as what it is (1 or 0), and after how many seconds; and whether an evaluation
    after them works.
    """
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        executor = executors.get("ray")(workers=2)
        with contextlib.closing(executor):
            asked = {
                "ready": ("return", Limits(), None),
                "sleep": ("sleep", Limits(seconds=seconds, grace=1.0), "timeout: "),
                "allocation": ("allocate", Limits(memory=memory), "memory: "),
                "after": ("return", Limits(), None),
            }
            for what, (design, limit, cause) in asked.items():
                began = time.monotonic()
                context = Context(seed=0, scratch=Path(name) / what)
                result = executor.submit(Task(Endless(), design, Fidelity(), context, limit)).result()
                error = result.error
                found[what] = float(error is None if cause is None else str(error).startswith(cause))
                found[f"{what}_seconds"] = time.monotonic() - began
    return found
