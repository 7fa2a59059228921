"""The cache of decoded folders: made once, by one process, whole or not at all, bounded, and repaired."""

import contextlib
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from estimators import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))


def fetched(key, content=b"content", kind="kind"):
    """Fetch an entry of one file; return what is read and whether it was made."""
    made = []

    def make(folder):
        made.append(folder)
        (folder / "file").write_bytes(content)

    return cache.fetch(kind, key, make, lambda folder: (folder / "file").read_bytes()), bool(made)


def test_an_entry_is_made_once():
    assert fetched("a") == (b"content", True)
    assert fetched("a", b"other") == (b"content", False)
    assert fetched("b", b"other") == (b"other", True)
    assert cache.key_of(1, "x") == cache.key_of(1, "x") != cache.key_of(1, "y")


def test_the_place(monkeypatch, tmp_path):
    assert cache.place() == tmp_path / "cache"
    monkeypatch.delenv("NAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.place() == tmp_path / "nas-engine"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.place() == tmp_path / ".cache" / "nas-engine"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"contens"),
        lambda path: path.write_bytes(b"conten"),
        lambda path: path.unlink(),
        lambda path: (path.parent / cache.SEAL).write_text("{"),
        lambda path: (path.parent / cache.SEAL).unlink(),
    ],
)
def test_a_damaged_entry_is_made_anew(damage):
    fetched("a")
    file = cache.place() / "kind-a" / "file"
    file.chmod(0o644)
    damage(file)
    assert fetched("a") == (b"content", True)
    assert fetched("a") == (b"content", False)


LARGE = 8 * cache.SAMPLES * cache.PIECE  # bytes, most of them in no sample


@contextlib.contextmanager
def entry_opened(later):
    """Yield the file of the entry "a", made here, to be changed; its time of change ends ``later`` by so many ns."""
    fetched("a", bytes(LARGE))
    path = cache.place() / "kind-a" / "file"
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        yield file
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + later))


@pytest.mark.parametrize("at", [0, cache.PIECE + 5, LARGE // 2, LARGE - 1])
def test_a_byte_written_anywhere_is_noticed(at):
    with entry_opened(later=1) as file:
        file.seek(at)
        file.write(b"1")
    assert fetched("a", bytes(LARGE)) == (bytes(LARGE), True)


@pytest.mark.parametrize(("at", "noticed"), [(0, True), (LARGE - 1, True), (cache.PIECE + 5, False)])
def test_of_what_a_disk_flips_the_samples_are_noticed(at, noticed):
    with entry_opened(later=0) as file:
        file.seek(at)
        file.write(b"1")
    assert fetched("a", bytes(LARGE))[1] == noticed


def test_a_truncated_file_is_noticed_whatever_its_time_says():
    with entry_opened(later=0) as file:
        file.truncate(LARGE - 1)
    assert fetched("a", bytes(LARGE)) == (bytes(LARGE), True)


@pytest.mark.parametrize("later", [0, 1])
def test_all_bytes_are_read_only_of_what_was_touched(later, monkeypatch):
    with entry_opened(later):
        pass
    read, checksum = [], cache._checksum
    monkeypatch.setattr(cache, "_checksum", lambda path: read.append(path.name) or checksum(path))
    assert fetched("a", b"") == (bytes(LARGE), False) and read == ["file"] * later


def test_what_fails_leaves_nothing():
    def fail(folder):
        (folder / "file").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.fetch("kind", "a", fail, lambda folder: None)
    assert [path.name for path in cache.place().iterdir()] == ["kind-a.lock"]
    assert fetched("a") == (b"content", True)


def disk(monkeypatch, bound):
    """Let all entries together take ``bound`` bytes, and a share of what they take themselves."""
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    monkeypatch.setattr(cache, "SHARE", bound / 10**9)


def entries():
    return sorted(path.name for path in cache.place().iterdir() if path.is_dir())


def test_the_oldest_used_go_first(monkeypatch):
    disk(monkeypatch, 2500)
    for age, key in enumerate(("c1", "d1")):
        fetched(key, bytes(1000))
        os.utime(cache.place() / f"kind-{key}", (1e9 + age, 1e9 + age))
    assert fetched("c1", bytes(1000)) == (bytes(1000), False)  # used again: d1 is now the oldest
    fetched("f1", bytes(1000))
    assert entries() == ["kind-c1", "kind-f1"]
    fetched("g1", bytes(9000))  # the newest stays, whatever it takes
    assert entries() == ["kind-g1"]


def test_what_a_killed_process_left_half_made_goes(monkeypatch):
    disk(monkeypatch, 2500)
    fetched("a1")
    (cache.place() / ".kind-dead").mkdir()
    fetched("b1")
    assert entries() == ["kind-a1", "kind-b1"]


def test_what_is_mapped_outlives_its_entry(monkeypatch):
    import numpy as np

    disk(monkeypatch, 0)
    held = cache.fetch(
        "kind",
        "a1",
        lambda folder: np.save(folder / "x.npy", np.arange(9)),
        lambda folder: np.load(folder / "x.npy", mmap_mode="r"),
    )
    fetched("b1")
    assert not (cache.place() / "kind-a1").exists() and held.sum() == 36


CHILD = """
import sys, time
from estimators import cache

def make(folder):
    print("made", flush=True)
    time.sleep(float(sys.argv[1]))
    (folder / "file").write_text("content")

print(cache.fetch("kind", "a", make, lambda folder: (folder / "file").read_text()))
"""


def child(seconds):
    command = [sys.executable, "-c", CHILD, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_processes_that_start_together_one_makes_it():
    children = [child(0.5) for _ in range(3)]
    outputs = [one.communicate(timeout=60)[0].split() for one in children]
    assert sorted(outputs) == [["content"], ["content"], ["made", "content"]]


def test_the_lock_of_a_killed_process_is_free():
    first = child(60)
    assert first.stdout.readline() == "made\n"
    second = child(0)
    while "waiting for another process" not in second.stderr.readline():
        time.sleep(0.01)
    first.kill()
    assert second.communicate(timeout=60)[0].split() == ["made", "content"]
    first.communicate()
