"""Evaluations under limits: every kind of end is a result with a cause."""

import contextlib
import dataclasses
import errno
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest

from estimators.estimator import Context, Estimator, Fidelity, Result
from nas import shortage
from nas.executor import Limits, Task
from nas.executors.serial import Serial
from nas.supervise import PROGRESS, Reports


@dataclass(frozen=True)
class Acting(Estimator):
    """Does what its design says."""

    def evaluate(self, design, fidelity, context):
        if design == "raise":
            raise KeyError("deep\ntrouble")
        if design == "memory error":
            raise MemoryError
        if isinstance(design, int):
            raise OSError(design, os.strerror(design), str(context.scratch / "weights"))
        if design == "rust":
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
        if design == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(60)
        if design == "die":
            os._exit(7)
        if design == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if design == "hang":
            time.sleep(60)
        if design == "grow":
            _ = [bytearray(b"1" * 10_000_000) for _ in range(60) if not time.sleep(0.02)]
            time.sleep(60)
        if design == "brood":
            subprocess.run([sys.executable, "-c", "x = b'1' * 400_000_000; import time; time.sleep(60)"])
        if design == "wait":
            while not context.stopping():
                time.sleep(0.01)
            return Result(metrics={"loss": 1.0}, seconds=0.001, stopped=True)
        context.report(1, {"loss": 0.5})
        return Result(metrics={"loss": 0.5, "pid": float(os.getpid())})


@pytest.fixture(scope="module")
def serial():
    executor = Serial()
    yield executor
    executor.close()


def task(design, tmp_path, **limits):
    return Task(Acting(), design, Fidelity(), Context(seed=0, scratch=tmp_path / "scratch"), Limits(**limits))


def test_a_result_passes_through_and_the_child_stays_warm(serial, tmp_path):
    first, second = (serial.submit(task("fine", tmp_path)).result() for _ in range(2))
    assert first.metrics["loss"] == 0.5 and first.error is None and first.seconds > 0
    assert first.metrics["pid"] == second.metrics["pid"] != os.getpid()
    assert (tmp_path / "scratch" / PROGRESS).read_text().count('{"step": 1, "loss": 0.5}') == 2


@pytest.mark.parametrize(
    ("design", "limits", "cause"),
    [
        ("raise", {}, "exception: KeyError: 'deep\\ntrouble' (test_supervise.py:"),
        ("memory error", {}, "memory: out of memory"),
        ("die", {}, "killed: the worker process ended with exit code 7"),
        ("kill", {}, "killed: the worker process ended with SIGKILL"),
        ("hang", {"seconds": 0.3, "grace": 0.2}, "timeout: over 0.3 s"),
        ("grow", {"memory": 300_000_000}, "memory: 3"),
        ("brood", {"memory": 300_000_000}, "memory: "),
    ],
)
def test_every_end_is_a_result_and_the_next_evaluation_works(serial, tmp_path, design, limits, cause):
    result = serial.submit(task(design, tmp_path, **limits)).result(timeout=30)
    assert result.error.startswith(cause) and not result.metrics and "\n" not in result.error
    assert serial.submit(task("fine", tmp_path)).result().metrics["loss"] == 0.5


def test_reports_are_read_line_by_line_as_they_come(tmp_path):
    path = tmp_path / PROGRESS
    path.write_text('{"step": 1, "loss": 9}\n{"step": 2, "lo')  # of a process that was killed
    reports = Reports(tmp_path)
    assert reports.new() == []
    with path.open("a") as file:
        for text, want in (
            ('{"step": 1, "loss": 0.5}\n{"step": 2, ', [(1, {"loss": 0.5})]),
            ('"loss": NaN', []),
            ("}\n", [(2, {"loss": pytest.approx(np.nan, nan_ok=True)})]),
        ):
            file.write(text)
            file.flush()
            assert reports.new() == want
    assert Reports(tmp_path / "nowhere").new() == []


def test_stop_asks_to_save_and_return(serial, tmp_path):
    future = serial.submit(task("wait", tmp_path))
    time.sleep(0.3)
    serial.stop()
    result = future.result(timeout=10)
    assert result.stopped and result.error is None


@dataclass(frozen=True)
class Slow(Estimator):
    """Takes a minute to load what it needs."""

    def prepare(self):
        time.sleep(60)

    def evaluate(self, design, fidelity, context):
        raise AssertionError


def test_a_stop_does_not_wait_for_what_an_estimator_loads(serial, tmp_path):
    future = serial.submit(dataclasses.replace(task("fine", tmp_path), estimator=Slow()))
    time.sleep(1.0)
    assert not future.done()
    serial.stop()
    assert future.result(timeout=30).stopped
    assert serial.submit(task("fine", tmp_path)).result().metrics["loss"] == 0.5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_failing_disk_is_raised_and_fails_no_design(serial, tmp_path, code):
    with pytest.raises(OSError) as raised:
        serial.submit(task(code, tmp_path)).result()
    assert raised.value.errno == code and raised.value.filename == str(tmp_path / "scratch" / "weights")
    assert serial.submit(task("fine", tmp_path)).result().metrics["loss"] == 0.5


def test_a_failing_disk_in_the_words_of_a_library(serial, tmp_path):
    with pytest.raises(OSError, match="No space left") as raised:
        serial.submit(task("rust", tmp_path)).result()
    assert raised.value.errno == errno.ENOSPC
    missing = serial.submit(task(errno.ENOENT, tmp_path)).result()
    assert missing.error.startswith("exception: FileNotFoundError")


def test_a_stop_reaches_an_evaluation_at_any_moment(tmp_path):
    executor = Serial()
    for after in (0.0, 0.2, 0.0, 0.001, 0.3):  # the first two while the process is still starting
        future = executor.submit(task("wait", tmp_path))
        time.sleep(after)
        executor.stop()
        result = future.result(timeout=30)
        assert result.stopped and result.error is None
    assert executor.submit(task("fine", tmp_path)).result().error is None  # a stop concerns one evaluation
    deaf = executor.submit(task("deaf", tmp_path))
    time.sleep(0.5)
    executor.stop()
    result = deaf.result(timeout=10)
    assert result.stopped and result.error is None  # it died of the stop
    executor.close()


def test_what_cannot_be_sent_is_said(serial, tmp_path):
    broken = Task(Acting(), lambda: 0, Fidelity(), Context(seed=0, scratch=tmp_path))
    with pytest.raises(ValueError, match="define its function at the top of a module"):
        serial.submit(broken).result()
    with pytest.raises(ValueError, match="isolate=True"):
        Serial(isolate=False).submit(task("fine", tmp_path, seconds=1.0))
    with pytest.raises(ValueError, match="must be positive"):
        Limits(seconds=0)


def test_a_killed_engine_leaves_no_orphan(tmp_path):
    code = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_supervise import Acting, Serial, Task, Fidelity, Context
        executor = Serial()
        context = Context(seed=0, scratch=Path({str(tmp_path)!r}))
        print(int(executor.submit(Task(Acting(), "fine", Fidelity(), context)).result().metrics["pid"]), flush=True)
        executor.submit(Task(Acting(), "hang", Fidelity(), context)).result()
        """
    )
    engine = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(engine.stdout.readline()))
    engine.kill()
    engine.wait()
    engine.stdout.close()
    child.wait(timeout=10)
    assert not child.is_running()


@pytest.mark.parametrize("after", [0.0, 0.3, 3.0])
def test_closing_under_way_ends_the_evaluation_and_closes_nothing_else(tmp_path, after):
    executor = Serial()
    future = executor.submit(task("hang", tmp_path))
    time.sleep(after)
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    executor.close()
    assert future.cancelled() or future.result(timeout=1).error.startswith("killed: ")
    for file in kept:  # a file closed twice would have taken one of these along, or raised
        os.close(file)
    with pytest.raises(RuntimeError):
        executor.submit(task("fine", tmp_path))


def test_a_kill_for_want_of_memory_is_told_from_others(monkeypatch):
    """By the kernel's own count, or by how little there was."""
    watch = shortage.Watch(os.getpid())
    assert watch.look() == pytest.approx(shortage.resident(os.getpid()), rel=0.2) and watch.shortage() is None
    kills = shortage.system_kills()
    monkeypatch.setattr(shortage, "system_kills", lambda: kills + 1)
    assert re.fullmatch(r"out of memory, it held .*B; search smaller designs or .*", watch.shortage())
    monkeypatch.setattr(shortage, "system_kills", lambda: kills)
    watch.available = 1000
    assert watch.shortage().startswith("1.0 kB were available, it held ")


def test_a_kill_while_memory_is_short_is_out_of_memory(serial, tmp_path, monkeypatch):
    monkeypatch.setattr(shortage, "SCARCE", 2.0)  # as if there were hardly any
    result = serial.submit(task("kill", tmp_path)).result(timeout=60)
    assert result.error.startswith("memory: the system killed the worker process: ")


def test_the_count_of_the_kernel_is_read(tmp_path):
    (tmp_path / "events").write_text("low 0\noom 3\noom_kill 2\n")
    assert shortage._count(tmp_path / "events") == 2 and shortage._count(tmp_path / "none") == 0


def test_what_training_may_take_follows_from_the_limit():
    assert shortage.share_of_training(2_000_000_000) == 2_000_000_000 - shortage.PROCESS
    assert shortage.share_of_training(100_000_000) == 25_000_000


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)


def test_the_limit_at_the_start_is_the_containers_where_that_has_less(tmp_path, monkeypatch):
    own = tmp_path / "cgroup"
    monkeypatch.setattr(shortage, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(shortage, "OWN_GROUP", own)
    own.write_text("0::/\n")
    free = shortage.limit_at_start()
    write(tmp_path / "groups", max="max\n", current="5\n")
    assert shortage.limit_at_start() == pytest.approx(free, rel=0.2) and free > 10_000_000
    own.write_text("0::/job/step\n")
    write(tmp_path / "groups" / "job", max="9000000\n", current="6000000\n", stat="inactive_file 1000000\n")
    write(tmp_path / "groups" / "job" / "step", max="max\n", current="6000000\n")
    assert shortage.limit_at_start() == int(0.85 * 4_000_000)
    own.write_text("4:cpu,memory:/job\n")
    sizes = {
        "limit_in_bytes": "3000000\n",
        "usage_in_bytes": "4000000\n",
        "stat": "total_inactive_file 1500000\n",
    }
    write(tmp_path / "groups" / "memory" / "job", **sizes)
    assert shortage.limit_at_start() == int(0.85 * 500_000)
    assert "raise 'memory:' in the run's config.yaml" in shortage.over_limit(2, 1)


@dataclass(frozen=True)
class Brief(Estimator):
    """Takes half a second to be set up."""

    def prepare(self):
        time.sleep(0.5)

    def evaluate(self, design, fidelity, context):
        return Result()


def test_a_child_whose_engine_is_gone_ends_without_a_word():
    ours, theirs = socket.socketpair()
    listening, life = os.pipe()
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "nas.supervise",
            str(theirs.fileno()),
            str(listening),
            json.dumps([sys.path, None]),
        ],
        pass_fds=(theirs.fileno(), listening),
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        text=True,
    )
    theirs.close()
    with contextlib.closing(Connection(ours.detach())) as connection:
        connection.send_bytes(pickle.dumps(Brief()))
        time.sleep(0.2)
    _, said = child.communicate(timeout=60)
    os.close(life)
    os.close(listening)
    assert child.returncode == 0 and said == ""
