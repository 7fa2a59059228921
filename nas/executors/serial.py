"""One evaluation at a time: in this process when nothing is to be limited, else in one warm child process."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from estimators.estimator import Result
from nas.executor import Executor, Task, checked_workers, cores, executors
from nas.supervise import Child, evaluate, on_device


@executors.register("serial")
class Serial(Executor):
    """``isolate=True`` evaluates in a supervised child process, where limits hold; False evaluates right here."""

    def __init__(self, *, workers: int = 1, devices: Sequence[str] = (), isolate: bool = True) -> None:
        if checked_workers(workers) > 1:
            raise ValueError(
                f"workers={workers}: executor 'serial' evaluates one at a time; use executor 'process'"
            )
        self.threads, self._device = cores(), devices[0] if devices else None
        self._child = Child() if isolate else None
        self._stopping = threading.Event()  # of the evaluation placed last
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="supervise") if isolate else None

    def threads_of(self, count: int) -> int:
        return self.threads

    def submit(self, task: Task) -> "Future[Result]":
        task = on_device(task, self._device)
        if self._child is not None and self._thread is not None:
            self._stopping = threading.Event()
            return self._thread.submit(self._child.run, task, self._stopping)
        if task.limits.seconds is not None or task.limits.memory is not None:
            raise ValueError(f"{task.limits!r} cannot be kept inside this process; use Serial(isolate=True)")
        future: Future[Result] = Future()
        future.set_result(evaluate(task, lambda: False))
        return future

    def stop(self) -> None:
        """Ask the evaluation in flight to save and return, also while its process is still starting."""
        self._stopping.set()

    def close(self) -> None:
        if self._child is not None and self._thread is not None:
            self._child.end()
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._child.close()
