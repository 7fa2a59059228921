"""Several evaluations at a time on this machine: a warm, supervised child process for each worker.

Each worker has its share of the cores and one of the devices, several workers a share of one. What waits goes to the
first worker that is free; what a worker trained last goes on there, if it is free, since it is still in its memory.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from estimators.estimator import Result
from nas.executor import Executor, Task, checked_workers, cores, executors
from nas.supervise import Child, on_device


class Worker:
    """A child process, the thread that supervises it, and what it was at last."""

    def __init__(self, number: int, device: str | None) -> None:
        self.number, self.device = number, device
        self.child = Child()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"supervise-{number}")
        self.stopping = threading.Event()  # of the evaluation placed last
        self.free = True
        self.last: Path | None = None  # the folder of the trial that it evaluated last

    def run(self, task: Task) -> Result:
        """Evaluate ``task``; blocks."""
        return self.child.run(on_device(task, self.device), self.stopping)


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
        self._workers = [
            Worker(number, devices[number % len(devices)] if devices else None)
            for number in range(self.slots)
        ]
        self._waiting: deque[tuple[Task, Future[Result]]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def threads_of(self, count: int) -> int:
        return max(self.threads, cores() // max(count, 1))

    def submit(self, task: Task) -> "Future[Result]":
        future: Future[Result] = Future()
        with self._lock:
            self._waiting.append((task, future))
        self._place()
        return future

    def stop(self) -> None:
        """Ask what is in flight to save and return; what waits is not begun."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            for worker in self._workers:
                worker.stopping.set()
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(Result(stopped=True))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            future.cancel()
        for worker in self._workers:
            worker.child.end()
        for worker in self._workers:
            worker.thread.shutdown(wait=True, cancel_futures=True)
            worker.child.close()

    def _place(self) -> None:
        """Give what waits to the workers that are free."""
        while True:
            with self._lock:
                if self._closed or (chosen := self._chosen()) is None:
                    return
                worker, task, future = chosen
                worker.free, worker.last, worker.stopping = False, task.context.scratch, threading.Event()
            worker.thread.submit(self._evaluate, worker, task, future)

    def _chosen(self) -> tuple[Worker, Task, "Future[Result]"] | None:
        """Return a free worker and what it evaluates next, taken out of what waits; None where there is no pair."""
        free = [worker for worker in self._workers if worker.free]
        while free and self._waiting:
            at, worker = self._pair(free)
            task, future = self._waiting[at]
            del self._waiting[at]
            if future.set_running_or_notify_cancel():
                return worker, task, future
        return None

    def _pair(self, free: Sequence[Worker]) -> tuple[int, Worker]:
        """Return the place of what waits and its worker: what goes on where it was, else the first, by any other."""
        home = {worker.last: worker for worker in free if worker.last is not None}
        for at, (task, _) in enumerate(self._waiting):
            if (worker := home.get(task.context.scratch)) is not None:
                return at, worker
        fresh = [worker for worker in free if worker.last is None]
        return 0, (fresh or free)[0]

    def _evaluate(self, worker: Worker, task: Task, future: "Future[Result]") -> None:
        """Run ``task`` in the thread of ``worker``, then have it take what waits."""
        try:
            result = worker.run(task)
        except BaseException as error:
            self._free(worker)
            future.set_exception(error)
        else:
            self._free(worker)
            future.set_result(result)

    def _free(self, worker: Worker) -> None:
        with self._lock:
            worker.free = True
        self._place()
