"""The store: what was acknowledged is there, and what is missing is noticed."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.storages.log import WIDTH, Log

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
            ValueError, match=r"is damaged: 5 rows were acknowledged, \d are whole; restore a backup"
        ):
            Log(path, write=write)


def test_messages(path, tmp_path):
    with pytest.raises(ValueError, match="no store at"):
        Log(path, write=False)
    path.write_bytes(b"something else entirely\n" * 20)
    with pytest.raises(ValueError, match="no header"):
        Log(path)
    written(tmp_path / "new.log")
    content = (tmp_path / "new.log").read_bytes()
    (tmp_path / "new.log").write_bytes(content.replace(b'{"nas": 1', b'{"nas": 9', 1))
    with pytest.raises(ValueError, match=r"newer version \(schema 9, this one reads up to 1\); upgrade"):
        Log(tmp_path / "new.log")


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
