"""Several workers on one machine: who evaluates what, what a dead one costs, and how a search is asked to end."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

import nas
from estimators.dataset import load, save
from estimators.estimator import Context, Estimator, Fidelity, Result
from estimators.train import TrainEstimator
from nas import Float, Space, Study
from nas.ending import FINISH, SAVE, Ended, heeded
from nas.executor import Executor, Limits, Task, cores
from nas.executors.process import Process
from nas.flights import RETRIES, Flights, Stranded, lost
from nas.folder import Settings, executor_of
from nas.function import Function
from nas.joint import joint_space
from nas.plan import timed_finals
from nas.storages.log import Log
from nas.trial import Budget
from search_spaces.space import Configuration

SPACE = Space(x=Float(0.0, 1.0))


@dataclass(frozen=True)
class Acting(Estimator):
    """Says who evaluated what; does what its design says."""

    def evaluate(self, design, fidelity, context):
        if design == "hang":
            time.sleep(60)
        if design == "grow":
            _ = [bytearray(b"1" * 10_000_000) for _ in range(60) if not time.sleep(0.02)]
        if design == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if design == "brood":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            (context.scratch / "child").write_text(str(child.pid))
            time.sleep(60)
        if design == "wait":
            while not context.stopping():
                time.sleep(0.01)
            return Result(stopped=True)
        if isinstance(design, float):
            time.sleep(design)
        return Result(
            metrics={
                "pid": float(os.getpid()),
                "threads": float(context.threads),
                "device": float(context.device.removeprefix("cuda:") or -1)
                if "cuda" in context.device
                else -1.0,
            },
            seconds=0.001,
        )


def task(design, folder, name="one", **limits):
    return Task(Acting(), design, Fidelity(), Context(seed=0, scratch=folder / name), Limits(**limits))


@pytest.fixture(scope="module")
def process():
    executor = Process(workers=3, oversubscribe=True)
    yield executor
    executor.close()


def test_as_many_run_at_a_time_as_there_are_workers(process, tmp_path):
    futures = [process.submit(task(0.3, tmp_path, str(number))) for number in range(6)]
    pids = [future.result().metrics["pid"] for future in futures]
    assert len(set(pids)) == 3 and os.getpid() not in pids
    first = [psutil.Process(int(pid)) for pid in set(pids)]
    assert all(child.parent().pid == os.getpid() for child in first)


def test_a_trial_goes_on_where_it_was(process, tmp_path):
    names = [f"trial-{number}" for number in range(3)]
    before = [process.submit(task(0.2, tmp_path, name)) for name in names]
    homes = {name: future.result().metrics["pid"] for name, future in zip(names, before, strict=True)}
    again = {name: process.submit(task("fine", tmp_path, name)) for name in reversed(names)}
    assert {name: future.result().metrics["pid"] for name, future in again.items()} == homes


def test_a_dead_worker_is_replaced_and_the_others_live_on(process, tmp_path):
    alive = {process.submit(task(0.2, tmp_path, str(n))).result().metrics["pid"] for n in range(3)}
    others = [process.submit(task(0.5, tmp_path, str(n))) for n in range(2)]
    died = process.submit(task("kill", tmp_path, "kill"))
    assert lost(died.result()) and "SIGKILL" in died.result().error
    assert all(future.result().error is None for future in others)
    after = [process.submit(task(0.3, tmp_path, f"new-{n}")) for n in range(3)]
    pids = {future.result().metrics["pid"] for future in after}
    assert len(pids) == 3 and pids != alive


def test_limits_hold_for_each_worker(process, tmp_path):
    hung = process.submit(task("hang", tmp_path, "a", seconds=0.3, grace=0.2))
    grown = process.submit(task("grow", tmp_path, "b", memory=200_000_000))
    fine = process.submit(task("fine", tmp_path, "c"))
    assert hung.result().error.startswith("timeout:") and grown.result().error.startswith("memory:")
    assert fine.result().error is None


def test_what_waits_can_be_cancelled_and_stop_reaches_all(tmp_path):
    executor = Process(workers=2, oversubscribe=True)
    flying = [executor.submit(task("wait", tmp_path, str(number))) for number in range(2)]
    waiting = [executor.submit(task("fine", tmp_path, f"w{number}")) for number in range(3)]
    time.sleep(0.5)
    assert waiting[0].cancel() and not flying[0].cancel()
    executor.stop()
    assert all(future.result().stopped for future in [*flying, *waiting[1:]])
    assert executor.submit(task("fine", tmp_path)).result().error is None
    executor.close()


def test_cores_and_devices_are_shared_out(tmp_path):
    executor = Process(workers=3, devices=("cuda:0", "cuda:1"), oversubscribe=True)
    futures = [executor.submit(task(0.3, tmp_path, str(number))) for number in range(3)]
    assert sorted(future.result().metrics["device"] for future in futures) == [0.0, 0.0, 1.0]
    executor.close()
    assert executor.threads == max(1, cores() // 3)
    one = Process(workers=1)
    assert one.threads == cores() and one.threads_of(1) == cores()
    one.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": cores() + 1}, f"may use {cores()} cores"),
        ({"workers": 0}, "workers=0"),
        ({"workers": 2, "executor": "serial"}, "use executor 'process'"),
        ({"workers": 1, "executor": "process", "executor_options": {"oversubscrib": True}}, "did you mean"),
        ({"executor_options": 3}, "names and values"),
    ],
)
def test_what_cannot_be_met_is_refused_with_the_numbers(settings, message):
    with pytest.raises(ValueError, match=message):
        executor_of(Settings("digits", trials=1, device="cpu", **settings))


def test_several_workers_are_processes_by_default():
    executor = executor_of(Settings("digits", trials=1, device="cpu", workers=cores()))
    assert isinstance(executor, Process) == (cores() > 1)
    executor.close()


class Ready:
    """An executor with ``slots`` that does nothing."""

    def __init__(self, slots):
        self.slots = slots


def test_so_many_are_asked_for_ahead_as_end_while_the_engine_is_busy():
    flights = Flights(Ready(16))
    assert flights.ahead == 0
    for busy, evaluated, ahead in (
        (0.002, 0.5, 0),
        (0.01, 0.5, 1),
        (0.1, 0.5, 4),
        (5.0, 0.5, 16),
        (0.1, 600, 0),
    ):
        flights._busy, flights._evaluated = busy, evaluated
        assert flights.ahead == ahead
    alone = Flights(Ready(1))
    alone._busy, alone._evaluated = 1.0, 1.0
    assert alone.ahead == 0


def loss(config):
    time.sleep(0.02)
    return config["x"] ** 2


def in_flight(trials, trial):
    """Return how many of ``trials`` had been asked for and were not told when ``trial`` was asked for."""
    asked = [other for other in trials if other.steps[0].index < trial.steps[0].index]
    return sum(other.steps[0].told >= trial.known for other in asked)


def test_a_search_by_several_workers_says_what_was_known_and_in_flight(tmp_path):
    with Study(SPACE, strategy="random", storage=tmp_path / "study.log") as study:
        best = study.optimize(loss, trials=20, workers=4)
        assert best.last.metrics["loss"] == min(t.last.metrics["loss"] for t in study.trials)
        assert len(study.trials) == 20 and not any(trial.failed for trial in study.trials)
        assert sorted(trial.last.told for trial in study.trials) == list(range(20))
        flying = [in_flight(study.trials, trial) for trial in study.trials]
        assert flying[:4] == [0, 1, 2, 3] and 3 <= max(flying) <= 8
        assert all(
            trial.known + count == trial.number for trial, count in zip(study.trials, flying, strict=True)
        )
    with Study(SPACE, strategy="random", storage=tmp_path / "study.log") as again:
        assert again.trials == study.trials


@dataclass(frozen=True)
class Dying(Estimator):
    """Its process dies the first ``times`` times that a trial is evaluated."""

    times: int

    def evaluate(self, design, fidelity, context):
        marks = list(context.scratch.glob("died-*"))
        if len(marks) < self.times and design["x"] > 0.5:
            (context.scratch / f"died-{len(marks)}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Result(metrics={"loss": design["x"]})


@pytest.mark.parametrize("times", [RETRIES, RETRIES + 1])
def test_a_step_whose_worker_died_is_placed_again_but_not_for_ever(tmp_path, times):
    executor = Process(workers=2, oversubscribe=True)
    with Study(SPACE, strategy="random", storage=tmp_path / "study.log") as study:
        study.run(Dying(times), lambda config: config, executor, Budget(4), folder=tmp_path / "checkpoints")
        high = [trial for trial in study.trials if trial.config["x"] > 0.5]
        assert high and all(trial.failed == (times > RETRIES) for trial in high)
        for trial in high:
            retried = study.history.events[f"retried {trial.steps[0].index}"]
            assert retried["times"] == RETRIES and retried["trial"] == trial.number
            if trial.failed:
                assert trial.last.error.endswith(f"SIGKILL, {RETRIES + 1} times")
        assert not any(trial.failed for trial in study.trials if trial.config["x"] <= 0.5)
    executor.close()
    with Study(SPACE, strategy="random", storage=tmp_path / "study.log") as again:
        assert again.history.events == study.history.events


def test_a_training_that_was_killed_goes_on_from_what_it_saved(tmp_path):
    save(load("digits", seed=0), tmp_path / "data")
    space = joint_space(load("digits", seed=0), "chain")
    design = space.decode(space.space.default())
    context = Context(seed=1, scratch=tmp_path / "scratch", epochs=4, horizon=4, threads=1)
    context.scratch.mkdir()
    estimator = TrainEstimator(tmp_path / "data", save_every=0.0)
    whole = TrainEstimator(tmp_path / "data").evaluate(
        design, Fidelity(4, 0.2), replace(context, scratch=tmp_path)
    )
    seen = []

    def killed(epoch, metrics):
        seen.append(epoch)
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimator.evaluate(design, Fidelity(4, 0.2), replace(context, report=killed))
    assert [path.name for path in context.scratch.glob("*.safetensors")] == ["epoch-2.safetensors"]
    resumed = estimator.evaluate(
        design, Fidelity(4, 0.2), replace(context, report=lambda epoch, metrics: seen.append(epoch))
    )
    assert seen == [1, 2, 3, 3, 4]
    assert resumed.metrics == whole.metrics and resumed.curve == whole.curve
    other = estimator.evaluate(design, Fidelity(4, 0.1), replace(context, report=lambda e, m: seen.append(e)))
    assert seen[5:] == [1, 2, 3, 4] and other.metrics != whole.metrics


def test_what_was_stopped_goes_on_from_its_last_whole_epoch(tmp_path):
    save(load("digits", seed=0), tmp_path / "data")
    space = joint_space(load("digits", seed=0), "chain")
    design = space.decode(space.space.default())
    context = Context(seed=1, scratch=tmp_path, epochs=3, horizon=3, threads=1)
    estimator, seen, stop = TrainEstimator(tmp_path / "data"), [], threading.Event()

    def report(epoch, metrics):
        seen.append(epoch)
        if epoch == 2:
            stop.set()

    watched = replace(context, report=report, stopping=stop.is_set)
    assert estimator.evaluate(design, Fidelity(3, 0.2), watched).stopped
    stop.clear()
    result = estimator.evaluate(design, Fidelity(3, 0.2), watched)
    assert not result.stopped and seen == [1, 2, 3] and len(result.curve) == 3


class Loop:
    ending, under_way = None, 1


def test_signals_ask_a_loop_to_end(capfd):
    for number, ending in ((signal.SIGINT, FINISH), (signal.SIGTERM, SAVE)):
        loop, before = Loop(), signal.getsignal(number)
        signal.signal(number, signal.default_int_handler)
        try:
            with pytest.raises(Ended), heeded(loop):
                os.kill(os.getpid(), number)
                time.sleep(0.01)
                assert loop.ending == ending
            assert "once more to end now" in capfd.readouterr().err
            with pytest.raises(KeyboardInterrupt), heeded(loop):
                os.kill(os.getpid(), number)
                time.sleep(0.01)
                os.kill(os.getpid(), number)
                time.sleep(1)
            loop.under_way = 0
            with pytest.raises(KeyboardInterrupt), heeded(loop):
                os.kill(os.getpid(), number)
                time.sleep(1)
            assert signal.getsignal(number) is signal.default_int_handler
        finally:
            signal.signal(number, before)


SCRIPT = """
import nas

def evaluate(config):
    return {"loss": config["x"], "own": 7.0}

if __name__ == "__main__":
    study = nas.Study(nas.Space(x=nas.Float(0.0, 1.0)), strategy="random")
    study.optimize(evaluate, trials=2, workers=2)
    print([trial.metrics["own"] for trial in study.trials])
"""


def test_a_function_of_a_script_may_have_a_name_of_ours(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[7.0, 7.0]"


SEARCH = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import nas
    from test_process import SPACE, until_told

    if __name__ == "__main__":
        with nas.Study(SPACE, strategy="random", storage=Path(sys.argv[1])) as study:
            study.optimize(until_told, trials=1000, workers=3)
    """
)


def until_told(config, context):
    """Go on until the file ``enough`` lies beside the store, or until asked to stop."""
    while not (context.scratch.parents[1] / "enough").exists():
        if context.stopping():
            return None
        time.sleep(0.01)
    return config["x"]


@pytest.mark.parametrize(("number", "finished"), [(signal.SIGINT, 3), (signal.SIGTERM, 0)])
def test_a_search_ends_with_what_is_in_flight_finished_or_saved(tmp_path, number, finished):
    script, path = tmp_path / "search.py", tmp_path / "study.log"
    script.write_text(SEARCH)
    process = subprocess.Popen(
        [sys.executable, script, path],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("study-checkpoints/trial-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert "in flight; once more to end now" in process.stderr.readline()
    if finished:
        (tmp_path / "enough").touch()
    _, error = process.communicate(timeout=60)
    assert "Ended" in error
    with Study(SPACE, strategy="random", storage=path) as study:
        assert len(study.trials) == 3
        assert sum(trial.last is not None for trial in study.trials) == finished
        assert len(study.history.asked) == 3 - finished


def test_final_trainings_share_the_workers():
    assert timed_finals([7, 8, 9], [1.0, 1.0, 1.0], 100.0).trials == (7, 8)
    shared = timed_finals([7, 8, 9], [1.0, 1.0, 1.0], 100.0, slots=2)
    assert shared.trials == (7, 8, 9) and shared.epochs == 42  # the third waits for the first
    assert timed_finals([7], [1.0], 100.0, slots=2).epochs == 85


@pytest.mark.slow
def test_a_search_on_images_by_two_workers(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (120, 8, 8, 1), dtype=np.uint8)
    labels = np.tile(np.arange(3), 40)
    np.savez(tmp_path / "small.npz", x=images, y=labels)
    options = {"strategy": "random", "trackers": [], "workers": min(2, cores())}
    run = nas.search(tmp_path / "small.npz", trials=4, out=tmp_path / "run", **options)
    assert run.status()["state"] == "finished" and run.status()["trials"]["finished"] == 4
    finals = [trial for trial in run.trials if trial.replicate]
    assert len(finals) >= 2 and run.settings.workers == options["workers"]
    with pytest.raises(ValueError, match="make one in Python"):
        executor_of(Settings("digits", trials=1, executor="submit"))
    given = Process(workers=1)
    again = nas.resume(run.folder.path, trials=1, executor=given)
    assert again.status()["trials"]["finished"] == 5 and again.status()["state"] == "finished"


def test_an_executor_of_ones_own_is_used_and_left_open(process):
    study = Study(SPACE, strategy="random")
    study.optimize(loss, trials=4, executor=process)
    assert len(study.trials) == 4 and not any(trial.failed for trial in study.trials)
    study.optimize(loss, trials=2, executor=process)
    assert len(study.trials) == 6


@dataclass(frozen=True)
class Dead(Executor):
    """An executor whose workers all die."""

    slots: int = 2

    def submit(self, task):
        future = Future()
        future.set_result(Result(error="killed: the pool is broken"))
        return future

    def stop(self):
        """Nothing is in flight."""

    def close(self):
        """There is nothing to end."""


def test_an_executor_that_is_dead_ends_the_search_and_fails_hardly_a_trial(tmp_path):
    with Study(SPACE, strategy="random") as study:
        with pytest.raises(Stranded, match="7 workers died in a row, at last of 'the pool is broken'"):
            study.run(Acting(), lambda config: "fine", Dead(), Budget(60), folder=tmp_path)
        assert len(study.trials) <= 5 and sum(trial.failed for trial in study.trials) <= 2
        process = Process(workers=1)
        study.run(Losing(), lambda config: config, process, Budget(len(study.trials)), folder=tmp_path)
        process.close()
        assert not study.history.asked


@dataclass(frozen=True)
class Losing(Estimator):
    """Returns a loss."""

    def evaluate(self, design, fidelity, context):
        return Result(metrics={"loss": design["x"]})


def test_what_another_one_told_to_end_was_lost(process, tmp_path):
    pids = set[int]()
    while len(pids) < process.slots:
        futures = [process.submit(task("fine", tmp_path, str(n))) for n in range(process.slots)]
        pids |= {int(future.result().metrics["pid"]) for future in futures}
    future = process.submit(task("wait", tmp_path, "0"))
    time.sleep(0.5)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    assert lost(future.result()) and "by another one" in future.result().error


def test_what_stops_because_its_time_is_up_is_a_timeout_whoever_was_first(process, tmp_path):
    for number in range(8):
        result = process.submit(task("wait", tmp_path, f"late-{number}", seconds=0.1)).result()
        assert not result.stopped and result.error.startswith("timeout: over 0.1 s")


def test_what_a_worker_started_ends_with_it(process, tmp_path):
    result = process.submit(task("brood", tmp_path, "brood", seconds=1.5, grace=0.2)).result()
    assert result.error.startswith("timeout:")
    child = int((tmp_path / "brood" / "child").read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def stopping(config, context):
    end = time.monotonic() + (0.3 if config["x"] == 0.5 else 20.0)  # the first design is the default one
    while time.monotonic() < end:
        if context.stopping():
            return None
        time.sleep(0.01)
    return config["x"]


def test_a_wish_to_end_that_comes_while_the_engine_is_busy_is_heard(tmp_path):
    """As when SIGTERM strikes inside of tell: nobody is waiting then."""
    executor, began = Process(workers=2, oversubscribe=True), time.monotonic()
    study = Study(SPACE, strategy="random", seed=1)
    estimator = Function(stopping, "loss")

    def between():
        study.ending = SAVE

    study.run(estimator, lambda config: config, executor, Budget(50), folder=tmp_path, between=between)
    executor.close()
    assert time.monotonic() - began < 15 and sum(bool(trial.steps) for trial in study.trials) <= 2


def test_a_training_goes_on_from_no_part_of_another_design(tmp_path):
    save(load("digits", seed=0), tmp_path / "data")
    space = joint_space(load("digits", seed=0), "chain")
    first, second = (
        space.decode(Configuration({**space.space.default(), "recipe.label_smoothing": value}))
        for value in (0.0, 0.1)
    )
    context = Context(seed=1, scratch=tmp_path, epochs=3, horizon=3, threads=1)
    estimator, stop = TrainEstimator(tmp_path / "data"), threading.Event()
    watched = replace(context, report=lambda epoch, metrics: stop.set(), stopping=stop.is_set)
    assert estimator.evaluate(first, Fidelity(3, 0.2), watched).stopped
    seen = []
    estimator.evaluate(second, Fidelity(3, 0.2), replace(context, report=lambda e, m: seen.append(e)))
    assert seen == [1, 2, 3]


def test_a_fork_holds_no_lease(tmp_path):
    store = Log(tmp_path / "study.log")
    child = os.fork()
    if not child:
        time.sleep(20)
        os._exit(0)
    time.sleep(0.5)  # the fork has to come to life
    store.close()
    Log(tmp_path / "study.log").close()  # refused, if the child held it
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
