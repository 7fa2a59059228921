"""Evaluations on pools of others: results, limits, stops, losses, and what is to be seen from where."""

import errno
import pickle
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import psutil
import pytest
from test_supervise import Acting

from estimators.estimator import Context, Fidelity, Result
from nas.executor import Limits, Task, executors
from nas.executors.submit import Submit
from nas.placed import Flag, Parcel, opened, supervise
from nas.turns import Lost, Turns

PATIENT = 120  # seconds, on a machine that has other things to do


def begun(*futures):
    """Wait until ``futures`` run."""
    while not all(future.running() for future in futures):
        time.sleep(0.05)


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def executor(pool):
    executor = Submit(pool, workers=2)
    yield executor
    executor.close()


def task(design, folder, name="trial-0", **limits):
    return Task(Acting(), design, Fidelity(), Context(seed=0, scratch=folder / name), Limits(**limits))


def test_results_come_back_children_stay_warm_and_nothing_is_left(executor, tmp_path):
    futures = [executor.submit(task("fine", tmp_path, f"trial-{number}")) for number in range(6)]
    results = [future.result(timeout=PATIENT) for future in futures]
    assert all(result.metrics["loss"] == 0.5 and result.error is None for result in results)
    assert len({result.metrics["pid"] for result in results}) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"trial-{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("design", "limits", "cause"),
    [
        ("raise", {}, "exception: KeyError"),
        ("kill", {}, "killed: the worker process ended with SIGKILL"),
        ("hang", {"seconds": 0.3, "grace": 0.2}, "timeout: over 0.3 s"),
        ("grow", {"memory": 300_000_000}, "memory: 3"),
    ],
)
def test_limits_hold_in_a_pool(executor, tmp_path, design, limits, cause):
    result = executor.submit(task(design, tmp_path, **limits)).result(timeout=PATIENT)
    assert result.error.startswith(cause)
    assert executor.submit(task("fine", tmp_path)).result(timeout=PATIENT).metrics["loss"] == 0.5


def test_a_stop_reaches_what_runs_and_what_waits(executor, tmp_path):
    futures = [executor.submit(task("wait", tmp_path, f"trial-{number}")) for number in range(3)]
    begun(*futures[:2])
    assert futures[2].cancel() is True and futures[0].cancel() is False
    waiting = executor.submit(task("wait", tmp_path, "trial-4"))
    executor.stop()
    for future in (*futures[:2], waiting):
        result = future.result(timeout=PATIENT)
        assert result.stopped and result.error is None
    assert executor.submit(task("fine", tmp_path)).result(timeout=PATIENT).error is None


def test_a_failing_disk_is_raised_and_what_cannot_be_sent_is_said(executor, tmp_path):
    with pytest.raises(OSError) as raised:
        executor.submit(task(errno.ENOSPC, tmp_path)).result(timeout=PATIENT)
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(ValueError, match="define its function at the top of a module"):
        executor.submit(task(lambda: 0, tmp_path)).result(timeout=PATIENT)


def test_closing_ends_what_runs_and_leaves_the_pool(pool, tmp_path):
    executor = Submit(pool, workers=1)
    future, waiting = (executor.submit(task("hang", tmp_path, f"trial-{number}")) for number in range(2))
    begun(future)
    time.sleep(1.0)
    executor.close()
    assert future.result(timeout=PATIENT).error.startswith("killed: ") and waiting.cancelled()
    assert pool.submit(len, "pool").result(timeout=PATIENT) == 4
    with pytest.raises(RuntimeError, match="was closed"):
        executor.submit(task("fine", tmp_path))


def test_a_pool_that_lost_its_workers_is_a_killed_worker(tmp_path):
    with ProcessPoolExecutor(1) as pool:
        executor = Submit(pool)
        future = executor.submit(task("hang", tmp_path))
        while not pool._processes:
            time.sleep(0.05)
        (worker,) = pool._processes.values()
        while not (child := psutil.Process(worker.pid).children()):
            time.sleep(0.05)
        worker.kill()
        assert future.result(timeout=PATIENT).error.startswith(
            "killed: the pool lost the evaluation (BrokenProcess"
        )
        psutil.wait_procs(child, timeout=PATIENT)
        assert not any(one.is_running() for one in child)
        executor.close()


class Job:
    """What submitit has in the place of a future."""

    def __init__(self, function, arguments):
        self._call = function, arguments

    def result(self):
        function, arguments = self._call
        return function(*arguments)


class Jobs:
    def submit(self, function, *arguments):
        return Job(function, pickle.loads(pickle.dumps(arguments)))


def test_a_pool_without_futures_and_devices_in_turn(tmp_path, monkeypatch):
    seen = []

    def placed(parcel, flag):
        seen.append(parcel.context.device)
        time.sleep(0.1)
        return Result(metrics={"loss": 1.0})

    monkeypatch.setattr("nas.executors.submit.supervise", placed)
    executor = Submit(Jobs(), workers=2, devices=("cuda:0", "cuda:1"), threads=3)
    futures = [executor.submit(task("fine", tmp_path, f"trial-{number}")) for number in range(4)]
    assert [future.result(timeout=PATIENT).metrics for future in futures] == [{"loss": 1.0}] * 4
    assert set(seen) == {"cuda:0", "cuda:1"} and executor.threads == 3
    executor.close()


def test_threads_of_one_process_have_a_child_each(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        executor = Submit(pool, workers=2)
        futures = [executor.submit(task("wait", tmp_path, f"trial-{number}")) for number in range(2)]
        begun(*futures)
        executor.stop()
        assert all(future.result(timeout=PATIENT).stopped for future in futures)
        executor.close()


def test_what_waits_in_the_pool_is_not_waited_for_when_the_search_ends(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        free = threading.Event()
        pool.submit(free.wait)
        executor = Submit(pool, workers=2)
        futures = [executor.submit(task("fine", tmp_path, f"trial-{number}")) for number in range(2)]
        begun(*futures)
        executor.stop()
        results = [future.result(timeout=PATIENT) for future in futures]
        assert all(result.stopped and result.error is None for result in results)
        assert not list(tmp_path.iterdir())
        late = executor.submit(task("fine", tmp_path))
        begun(late)
        executor.close()
        assert late.result(timeout=PATIENT).stopped
        free.set()


def test_a_flag_is_taken_by_whoever_begins_or_begins_again_unless_it_was_withdrawn(tmp_path):
    flag = Flag.beside(tmp_path / "trial-0")
    assert flag.take() == flag.take() and not flag.withdraw()
    assert flag.take().look() is False
    flag.stop()
    assert flag.take().look() is True
    flag.lower()
    assert flag.take() is None and not list(tmp_path.iterdir())
    withdrawn = Flag.beside(tmp_path / "trial-0")
    assert withdrawn.withdraw() and withdrawn.take() is None


def test_a_folder_that_a_worker_does_not_see_is_said(tmp_path):
    flag = Flag.beside(tmp_path / "run" / "trial-0")
    flag.lower()
    outcome = supervise(Parcel.of(task("fine", tmp_path)), flag)
    assert isinstance(outcome, OSError) and "put the run on a disk that all workers share" in str(outcome)


def test_submit_without_a_pool_is_refused():
    for arguments in ({"workers": 4}, {"pool": 3}):
        with pytest.raises(
            ValueError, match=r"give Submit\(pool, workers=4\) as the executor, see docs/exec"
        ):
            executors.get("submit")(**arguments)
    with pytest.raises(ValueError, match="workers=0"):
        Submit(Jobs(), workers=0)


def test_what_cannot_be_loaded_says_so_where_it_is_used(tmp_path):
    lost = opened(b"cno_such_module\nThing\n.", None)
    for use in (lost.prepare, lambda: lost.recipe, lambda: lost.evaluate(None, Fidelity(), None)):
        with pytest.raises(
            RuntimeError, match=r"cannot be loaded on .* \(ModuleNotFoundError: .* install there"
        ):
            use()
    packed = Parcel.of(task("fine", tmp_path))
    assert pickle.loads(pickle.dumps(packed.task())) == task("fine", tmp_path)


def taken(turns, number, log):
    def evaluate(turn):
        log.append((number, turn.task.context.scratch.name))
        if turn.task.design == "lost":
            raise Lost("the node is gone", begun=number == 0)
        return Result()

    return threading.Thread(target=turns.serve, args=(number, evaluate), daemon=True)


def test_turns_go_on_where_they_were_and_a_lost_worker_takes_no_more(tmp_path):
    turns, log = Turns(), []
    threads = [taken(turns, number, log) for number in range(2)]
    threads[0].start()
    turns.put(task("fine", tmp_path, "a")).result(timeout=PATIENT)
    threads[1].start()
    for name in ("a", "a", "b", "a"):
        while len(turns._idle) < 2:  # a result is there a moment before its worker is
            time.sleep(0.01)
        turns.put(task("fine", tmp_path, name)).result(timeout=PATIENT)
    while len(turns._idle) < 2:
        time.sleep(0.01)
    assert [number for number, name in log if name == "a"] == [0, 0, 0, 0]
    assert turns.put(task("lost", tmp_path, "a")).result(timeout=PATIENT).error == "killed: the node is gone"
    threads[0].join(timeout=PATIENT)
    assert not threads[0].is_alive()
    assert turns.put(task("fine", tmp_path, "a")).result(timeout=PATIENT).error is None and log[-1] == (
        1,
        "a",
    )
    waits = turns.put(task("lost", tmp_path, "b"))  # the last worker finds out before it begins
    threads[1].join(timeout=PATIENT)
    assert not threads[1].is_alive() and waits.running() and not waits.cancel()
    taken(turns, 0, log).start()
    assert waits.result(timeout=PATIENT).error == "killed: the node is gone"
    threads[1] = taken(turns, 1, log)
    threads[1].start()
    turns.refuse("killed: no worker is left")
    assert turns.put(task("fine", tmp_path, "a")).result(timeout=PATIENT).error == "killed: no worker is left"
    turns.refuse(None)
    assert turns.put(task("fine", tmp_path, "a")).result(timeout=PATIENT).error is None
    turns.close()
    threads[1].join(timeout=PATIENT)
    assert not threads[1].is_alive()


@pytest.mark.slow
def test_a_cluster_of_dask(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = Submit(client, workers=2)
        futures = [executor.submit(task("fine", tmp_path, f"trial-{number}")) for number in range(6)]
        assert all(future.result(timeout=PATIENT).metrics["loss"] == 0.5 for future in futures)
        hung = executor.submit(task("hang", tmp_path, seconds=0.5, grace=0.2)).result(timeout=PATIENT)
        assert hung.error.startswith("timeout: over 0.5 s")
        waits = executor.submit(task("wait", tmp_path))
        time.sleep(1.0)
        executor.stop()
        assert waits.result(timeout=PATIENT).stopped
        executor.close()
