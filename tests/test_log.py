"""The store: what was acknowledged is there, and what is missing is noticed."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators.estimator import Fidelity
from nas.layout import WIDTH, Header, parse_header
from nas.migration import MIGRATIONS
from nas.storages import log as module
from nas.storages.log import Log
from nas.study import Study
from search_spaces.space import Choice, Float, Int, Space

WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from nas.storages.log import Log
    log = Log(Path(sys.argv[1]))
    for number in range(len(log.rows), 1_000_000):
        log.append({"number": number, "pad": "x" * (number % 700)}, {"second": number})
        print(number, flush=True)
    """
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.log"


def written(path, count=5):
    with Log(path) as log:
        for number in range(count):
            log.append({"number": number})
    return path.read_bytes()


def test_rows_come_back_in_order(path):
    with Log(path) as log:
        log.append({"a": 1}, {"b": [1.5, None, "ü\n"]})
        log.append({"c": float("inf"), "d": float("nan")})
    with Log(path, write=False) as log:
        assert log.rows == [{"a": 1}, {"b": [1.5, None, "ü\n"]}, {"c": "inf", "d": "nan"}]
    assert Log(None).rows == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=6))
def test_any_json_survives(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("log") / "any.log"
    with Log(path) as log:
        for row in rows:
            log.append(row)
    with Log(path, write=False) as log:
        assert log.rows == rows


def test_a_killed_writer_loses_nothing_it_acknowledged(path):
    rng = np.random.default_rng(0)
    for _ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        first = writer.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.03)))
        writer.send_signal(signal.SIGKILL)
        lines = [first, *writer.stdout.read().splitlines()]
        writer.stdout.close()
        writer.wait()
        acknowledged = int(lines[-1])
        with Log(path) as log:
            assert len(log.rows) % 2 == 0  # the rows of one append stand together
            assert len(log.rows) >= 2 * (acknowledged - _missing(log)) + 2
            numbers = [row["number"] for row in log.rows[::2]]
            assert numbers == sorted(numbers) and acknowledged in numbers


def _missing(log):
    """Numbers that were skipped: each process goes on at the count of rows, two per number."""
    numbers = [row["number"] for row in log.rows[::2]]
    return numbers[-1] + 1 - len(numbers)


def test_a_torn_tail_is_dropped(path):
    whole = written(path)
    path.write_bytes(whole + b'0123456789abcdef {"number": 99')
    with Log(path) as log:
        assert [row["number"] for row in log.rows] == [0, 1, 2, 3, 4]
        log.append({"number": 5})
    with Log(path, write=False) as log:
        assert len(log.rows) == 6


@pytest.mark.parametrize("what", ["tail", "middle", "altered"])
def test_what_is_missing_or_altered_is_noticed(path, what):
    whole = written(path)
    head, lines = whole[:WIDTH], whole[WIDTH:].splitlines(keepends=True)
    if what == "tail":
        lines = lines[:-1]
    elif what == "middle":
        del lines[2]
    else:
        lines[1] = lines[1].replace(b'"number":1', b'"number":7')
    path.write_bytes(head + b"".join(lines))
    for write in (True, False):
        with pytest.raises(
            ValueError,
            match=r"is damaged: 5 rows were acknowledged, \d are whole; see what is left by `nas doctor",
        ):
            Log(path, write=write)


def test_messages(path, tmp_path):
    with pytest.raises(ValueError, match="no store at"):
        Log(path, write=False)
    path.write_bytes(b"something else entirely\n" * 20)
    with pytest.raises(
        ValueError, match="is not a store of this project, or damaged: its first line is no header"
    ):
        Log(path)
    content = written(tmp_path / "new.log")
    newer = Header(5, b"0" * 16, "process 1 on moon", 9).line()
    (tmp_path / "new.log").write_bytes(newer + content[WIDTH:])
    for write in (True, False):
        with pytest.raises(ValueError, match=r"newer version \(schema 9, this one reads up to 2\); upgrade"):
            Log(tmp_path / "new.log", write=write)
    assert (tmp_path / "new.log").read_bytes() == newer + content[WIDTH:]  # not even signed


def test_a_second_writer_is_refused_and_a_reader_is_not(path):
    with Log(path) as log:
        log.append({"a": 1})
        code = f"from pathlib import Path; from nas.storages.log import Log; Log(Path({str(path)!r}))"
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"is being written by process {os.getpid()} on" in second.stderr
        with Log(path, write=False) as reader:
            assert reader.rows == [{"a": 1}]


def test_a_full_disk_keeps_what_there_was(path, monkeypatch):
    log = Log(path)
    log.append({"a": 1})
    real, room = os.pwrite, [20]

    def full(file, data, at):
        if at < WIDTH:
            return real(file, data, at)
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(file, data[: room[0]], at)
        room[0] -= done
        return done

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left") as raised:
        log.append({"b": "x" * 100})
    assert raised.value.filename == str(path)
    monkeypatch.undo()
    assert log.rows == [{"a": 1}]
    log.append({"c": 3})
    log.close()
    assert Log(path, write=False).rows == [{"a": 1}, {"c": 3}]


@pytest.mark.parametrize("at", [1, 2])
def test_an_append_struck_by_an_interrupt_is_not_built_upon(tmp_path, monkeypatch, at):
    path = tmp_path / "study.log"
    log = Log(path)
    log.append({"a": 1})
    real, calls = os.pwrite, []

    def struck(file, data, offset):
        calls.append(real(file, data, offset))
        if len(calls) == at:
            raise KeyboardInterrupt
        return calls[-1]

    monkeypatch.setattr(os, "pwrite", struck)
    with pytest.raises(KeyboardInterrupt):
        log.append({"b": 2})
    monkeypatch.undo()
    with pytest.raises(OSError, match="open the store again"):
        log.append({"c": 3})
    log.close()
    assert Log(path).rows == [{"a": 1}, {"b": 2}]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="cannot open the store"):
        Log(tmp_path / "study.log")


def test_a_missing_folder(tmp_path):
    with pytest.raises(
        ValueError, match=r"cannot open the store .*: No such file or directory; choose a folder"
    ):
        Log(tmp_path / "none" / "study.log")


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(ValueError, match=r"cannot open the store .*: Is a directory; name a file in it"):
        Log(tmp_path)


@pytest.mark.parametrize("value", [np.float64("nan"), np.float64("-inf"), np.float64(0.5)])
def test_numpy_floats_come_back_as_plain_ones(path, value):
    with Log(path) as log:
        log.append({"a": value})
    assert Log(path, write=False).rows == [{"a": repr(float(value)) if value != 0.5 else 0.5}]


def test_a_fork_does_not_write_its_parents_store(path):
    with Log(path) as log:
        log.append({"a": 1})
        log._process += 1  # as a fork sees it
        with pytest.raises(
            OSError, match=r"belongs to process \d+, which forked this one; open another here"
        ):
            log.append({"b": 2})
        log._process -= 1
        log.append({"c": 3})
    assert Log(path, write=False).rows == [{"a": 1}, {"c": 3}]


@pytest.mark.parametrize("left", [1, 30, 60, 100])
def test_a_header_that_is_cut_short_is_no_new_store(path, left):
    whole = written(path)
    path.write_bytes(whole[:left])
    for write in (True, False):
        with pytest.raises(
            ValueError, match=r"(is damaged|is not a store of this project, or damaged): its first line"
        ):
            Log(path, write=write)
    assert path.read_bytes() == whole[:left]


def test_every_bit_of_a_small_store_matters_or_means_nothing(path, monkeypatch):
    """Whatever bit flips, a store is refused, or its rows are what they were."""
    monkeypatch.setattr(module, "LOOKS", 0)  # nobody is writing it
    whole = written(path, 2)
    rows = Log(path, write=False).rows
    for place in range(0, 8 * len(whole), 3):
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(broken))
        try:
            assert Log(path, write=False).rows == rows
        except ValueError as error:
            assert "damaged" in str(error)


def test_a_part_of_an_append_was_never_acknowledged(path):
    written(path)
    head = path.read_bytes()[:WIDTH]
    with Log(path) as log:
        log.append({"a": 1}, {"b": 2}, {"c": 3})
    lines = path.read_bytes()[WIDTH:].splitlines(keepends=True)
    assert [line.split()[1] for line in lines[4:]] == [b"4", b"5+2", b"6+1", b"7"]
    for kept, rows in ((6, 5), (7, 5), (8, 8)):
        path.write_bytes(head + b"".join(lines[:kept]))  # killed inside the append, or before its header
        assert len(Log(path, write=False).rows) == rows
    with Log(path) as log:
        assert len(log.rows) == 8


def test_a_durable_store_is_on_the_disk_before_its_header(path, monkeypatch):
    calls: list = []
    real = {name: getattr(os, name) for name in ("pwrite", "fsync")}

    def pwrite(file, data, at):
        calls.append("header" if at == 0 else "rows")
        return real["pwrite"](file, data, at)

    def fsync(file):
        calls.append("folder" if Path(f"/proc/self/fd/{file}").is_dir() else "sync")
        return real["fsync"](file)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)
    with Log(path, durable=True) as log:
        assert calls == ["header", "sync", "folder"]
        log.append({"a": 1})
        assert calls[3:] == ["rows", "sync", "header"]


def test_a_header_that_cannot_be_written_keeps_no_row(path, monkeypatch):
    log = Log(path)
    log.append({"a": 1})
    real = os.pwrite

    def full(file, data, at):
        if at == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        log.append({"b": 2})
    monkeypatch.undo()
    assert log.rows == [{"a": 1}]
    log.append({"c": 3})
    log.close()
    assert Log(path, write=False).rows == [{"a": 1}, {"c": 3}]


def test_the_holder_is_named_and_not_who_wrote_before(path):
    written(path)
    code = "from pathlib import Path; import sys; from nas.storages.log import Log; Log(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with Log(path):
        pass
    assert parse_header(path.read_bytes()[:WIDTH]).writer.startswith(f"closed by process {os.getpid()} on")
    with Log(path), pytest.raises(ValueError, match=f"is being written by process {os.getpid()} on"):
        Log(path)


# stores of before

STORES = Path(__file__).parent / "stores"
SPACE = Space(x=Float(0, 1), k=Int(1, 3), c=Choice({"a": None, "b": Space(z=Float(0, 1))}))


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copy(STORES / "schema-1.log", tmp_path / "study.log"))


def opened(path):
    ladder = (Fidelity(1), Fidelity(3), Fidelity(9))
    return Study(SPACE, strategy="evolution", scheduler="halving", seed=3, storage=path, ladder=ladder)


def test_a_study_of_schema_one_goes_on_as_it_would_have(old):
    with opened(old) as study:
        for number, config, epochs, start in json.loads((STORES / "schema-1.json").read_text()):
            trial = study.ask()
            assert (trial.number, trial.asked.fidelity.epochs, trial.asked.start) == (number, epochs, start)
            assert dict(trial.config) == config
            study.tell(trial, (config["x"] - 0.3) ** 2 + config["k"] + 1 / epochs)


def test_a_reader_leaves_a_store_of_schema_one_as_it_is_and_a_writer_upgrades_it(old):
    before = old.read_bytes()
    with Log(old, write=False) as reader:
        rows = reader.rows
        assert old.read_bytes() == before and len(rows) == 71
        with Log(old) as log:
            assert log.rows == rows
            log.append({"kind": "event", "name": "more", "value": 1})
            with pytest.raises(ValueError, match=f"is being written by process {os.getpid()} on"):
                Log(old)
        assert reader.rows == rows
    kept = old.with_name("study.log.schema-1").read_bytes()
    assert kept[WIDTH:] == before[WIDTH:] and parse_header(kept[:WIDTH]).schema == 1
    assert old.read_bytes().startswith(b'{"nas": 2, "rows": 72') and Log(old, write=False).rows[:71] == rows
    assert [row["place"] for row in rows if row["kind"] == "queue"] == [0, 1, 2]
    assert sorted(path.name for path in old.parent.iterdir()) == ["study.log", "study.log.schema-1"]


@pytest.mark.parametrize("at", range(1, 9))
def test_an_upgrade_that_is_killed_leaves_one_store_or_the_other(old, monkeypatch, at):
    rows, calls = Log(old, write=False).rows, []

    def killed(real):
        def call(*arguments):
            calls.append(real.__name__)
            if len(calls) == at:
                raise KeyboardInterrupt
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("pwrite", "fsync"):
            patch.setattr(os, name, killed(getattr(os, name)))
        patch.setattr(Path, "replace", killed(Path.replace))
        try:
            Log(old).close()
        except KeyboardInterrupt:
            assert len(calls) >= at
    assert Log(old, write=False).rows == rows
    with Log(old) as log:
        assert log.rows == rows
    assert old.with_name("study.log.schema-1").exists()


def test_every_schema_of_before_has_a_way_on():
    assert sorted(MIGRATIONS) == list(range(1, Header(0, b"", "").schema))


def test_a_lease_of_a_file_that_has_lost_its_name_is_taken_anew(path, monkeypatch):
    """A second process may have opened the old file just before another took its place."""
    from nas import lease

    written(path)
    new = path.with_name("new.log")
    written(new, 7)
    real, calls = lease.fcntl.flock, []

    def slow(file, how):
        if not calls:
            new.replace(path)
        calls.append(file)
        return real(file, how)

    monkeypatch.setattr(lease.fcntl, "flock", slow)
    with Log(path) as log:
        assert len(log.rows) == 7 and len(calls) == 2


RACE = """
import sys, time
from pathlib import Path
from nas.storages.log import Log
path = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    log = Log(path)
except ValueError as error:
    print(error, flush=True)
else:
    print("mine", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.parametrize("exists", [False, True])
def test_of_many_that_open_at_once_one_writes(path, old, exists):
    if exists:
        path = old
    start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", RACE, str(path)], **start) for _ in range(6)]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.stdout.readline() for child in children]
    writer = children[said.index("mine\n")]
    for child in children:
        child.communicate()
    assert said.count("mine\n") == 1
    assert sum(f"is being written by process {writer.pid} on" in one for one in said) == 5
    Log(path, write=False)
