"""Several evaluations at a time on this machine: a warm, supervised child process for each worker.

Each worker has its share of the cores and one of the devices, several workers a share of one. What a worker trained
last goes on there, if it is free, since it is still in its memory (``nas.turns``).
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from estimators.estimator import Result
from nas.executor import Executor, Task, checked_workers, cores, executors
from nas.supervise import Child, on_device
from nas.turns import Turn, Turns


@executors.register("process")
class Process(Executor):
    """``workers`` child processes. More of them than cores are refused, unless to ``oversubscribe`` is meant.

    That is for evaluations that wait more than they compute; each has one thread then.
    """

    def __init__(self, *, workers: int = 1, devices: Sequence[str] = (), oversubscribe: bool = False) -> None:
        self.slots = checked_workers(workers)
        if self.slots > cores() and not oversubscribe:
            raise ValueError(
                f"workers={workers}: this process may use {cores()} cores, and each worker needs one; give at most "
                f"workers={cores()}, or oversubscribe=True for evaluations that wait more than they compute"
            )
        self.threads = max(1, cores() // self.slots)
        self._devices, self._turns = tuple(devices), Turns()
        self._children = [Child() for _ in range(self.slots)]
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"supervise-{number}", daemon=True)
            for number in range(self.slots)
        ]
        for thread in self._threads:
            thread.start()

    def threads_of(self, count: int) -> int:
        return max(self.threads, cores() // max(count, 1))

    def submit(self, task: Task) -> "Future[Result]":
        return self._turns.put(task)

    def stop(self) -> None:
        """Ask what is in flight to save and return; what waits is not begun."""
        self._turns.stop()

    def close(self) -> None:
        self._turns.close()
        for child in self._children:
            child.end()
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.close()

    def _serve(self, number: int) -> None:
        device = self._devices[number % len(self._devices)] if self._devices else None

        def evaluate(turn: Turn) -> Result:
            return self._children[number].run(on_device(turn.task, device), turn.stopping)

        self._turns.serve(number, evaluate)
