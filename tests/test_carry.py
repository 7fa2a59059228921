"""Files that travel: what is held, what is mirrored, a worker abroad, and whether a cluster has room for it."""

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from estimators import cache
from estimators.dataset import load as load_dataset
from estimators.dataset import save
from estimators.estimator import Context, Estimator, Fidelity, Result
from estimators.supernet import SupernetEstimator, SupernetTraining
from estimators.train import TrainEstimator
from estimators.zero_cost import ZeroCost
from nas.carry import Depot, changed, held, hold, load, mirrors, reads, relocated, stamps, store
from nas.cluster import Share, refused, share_of_gpu
from nas.executor import Limits, Task
from nas.outpost import PREFIX, Outpost
from nas.placed import Parcel
from nas.supervise import PROGRESS, evaluate
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.spaces.chain import Chain


@dataclass(frozen=True)
class Counting(Estimator):
    """Goes on from the number in its checkpoint, and appends to a file of its own."""

    data: str
    log: Path | None = None
    reads = ("data",)
    writes = ("log",)

    def evaluate(self, design, fidelity, context):
        assert Path(self.data, "images").read_text() == "pixels"
        begun = int(context.checkpoint.read_text()) if context.checkpoint else 0
        if design == "wait":
            while not context.stopping():
                time.sleep(0.01)
            return Result(stopped=True)
        if self.log is not None:
            before = self.log.read_text() if self.log.exists() else ""
            self.log.write_text(f"{before}{begun}")
        context.report(begun + 1, {"loss": 1.0})
        (context.scratch / f"epoch-{begun + 1}").write_text(str(begun + 1))
        return Result(metrics={"loss": float(begun)}, checkpoint=f"epoch-{begun + 1}")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "engine" / "data"
    folder.mkdir(parents=True)
    (folder / "images").write_text("pixels")
    (folder / "empty").write_text("")
    return folder


def task(estimator, scratch, checkpoint=None, design=None, **limits):
    return Task(
        estimator,
        design,
        Fidelity(),
        Context(seed=0, scratch=scratch, checkpoint=checkpoint),
        Limits(**limits),
    )


def test_files_keep_content_and_time_and_reports_are_added(tmp_path):
    home, there = tmp_path / "home", tmp_path / "there"
    (home / "fold-0").mkdir(parents=True)
    (home / "weights").write_bytes(b"12345")
    os.utime(home / "weights", ns=(10**18 + 7, 10**18 + 7))
    (home / "fold-0" / "notes").write_text("")
    (home / PROGRESS).write_text("one\n")
    before = stamps(home)
    assert before["weights"] == (10**18 + 7, 5) and set(before) == {"weights", "fold-0/notes"}
    store(there, load(home, list(before)))
    assert stamps(there) == before and (there / "weights").read_bytes() == b"12345"
    (there / PROGRESS).write_text("two\n")
    (there / "new").write_text("new")
    store(home, changed(there, before))
    assert (home / PROGRESS).read_text() == "one\ntwo\n" and (home / "new").read_text() == "new"
    assert not list(home.rglob("*.partial"))


def test_what_is_read_is_held_once_by_its_content(data, tmp_path):
    put, fetched = [], []

    def fetch(number):
        fetched.append(number)
        return put[number]

    one, same = (held(data, lambda files: put.append(files) or len(put) - 1) for _ in range(2))
    file = held(data / "images", lambda files: put.append(files) or len(put) - 1)
    for each in (one, same, file, file):
        hold(each, fetch)
    depot = Depot(lambda files: put.append(files) or len(put) - 1)
    assert depot.held(data) is depot.held(data) and depot.held(data / "images").key == file.key
    (data / "images").write_text("others")
    assert depot.held(data).key != one.key and len(put) == 6
    assert fetched == [0, 2] and one.key == same.key != file.key
    assert (one.place(cache.place()) / "images").read_text() == "pixels"
    assert file.place(cache.place()).read_text() == "pixels"


def test_every_estimator_says_what_it_reads_and_writes(data, tmp_path):
    file = tmp_path / "supernet.safetensors"
    file.write_text("weights")
    training = SupernetTraining(data, None, None, file)
    for estimator, expected in (
        (TrainEstimator(data), {"data": data}),
        (TrainEstimator(data, inherit=file), {"data": data, "inherit": file}),
        (SupernetEstimator(data, file=file), {"data": data, "file": file}),
        (SupernetEstimator(data, file=tmp_path / "none"), {"data": data}),
        (ZeroCost(data, ["synflow"]), {"data": data}),
        (training, {"data": data}),
    ):
        assert reads(estimator) == expected
        for name in (*estimator.reads, *estimator.writes):
            assert getattr(estimator, name, "missing") != "missing"
        one = task(estimator, tmp_path / "run" / "trial-0")
        moved = relocated(one, {name: Path("/there") / name for name in expected}, Path("/root"))
        assert str(moved.estimator.data) == "/there/data" and type(moved.estimator.data) is str
        assert estimator.data == str(data)
    written = relocated(task(training, tmp_path / "trial-0"), {}, Path("/root")).estimator.file
    assert written.parent.parent.parent == Path("/root") and written.name == file.name
    folders = [mirror.home for mirror in mirrors(task(training, tmp_path / "trial-0"), Path("/root"))]
    assert folders == [tmp_path / "trial-0", tmp_path]


def test_a_worker_abroad_goes_on_and_brings_home_what_is_new(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{PREFIX}999999999").mkdir()
    objects = []
    outpost = Outpost([], objects.__getitem__)
    facts = outpost.hello()
    assert not (tmp_path / f"{PREFIX}999999999").exists() and facts.root.parent == tmp_path
    assert outpost.sees([data]) and not outpost.sees([data, tmp_path / "none"])
    estimator = Counting(str(data), tmp_path / "engine" / "log")
    checkpoint = None
    for number in range(3):
        scratch = tmp_path / "engine" / "run" / f"trial-{min(number, 1)}"  # the second goes on as a fork
        outcome = abroad(outpost, task(estimator, scratch, checkpoint), objects)
        assert outcome.metrics == {"loss": float(number)}
        checkpoint = scratch / outcome.checkpoint
    assert checkpoint.read_text() == "3" and estimator.log.read_text() == "012"
    reports = [json.loads(line)["step"] for line in (checkpoint.parent / PROGRESS).read_text().splitlines()]
    assert reports == [2, 3]
    outpost.end()
    assert not facts.root.exists()


def test_a_stop_that_comes_before_its_run_is_heard(data, tmp_path):
    outpost = Outpost([], lambda one: one)
    scratch = tmp_path / "engine" / "trial-0"
    outpost.stop(1)
    outcome, _ = outpost.run(1, Parcel.of(task(Counting(str(data)), scratch, design="wait")))
    assert outcome.stopped
    threading.Timer(0.5, outpost.stop, (2,)).start()
    outcome, _ = outpost.run(2, Parcel.of(task(Counting(str(data)), scratch, design="wait")))
    assert outcome.stopped
    outpost.end()


def abroad(outpost, local, objects):
    """Evaluate ``local`` at ``outpost``, which sees nothing of the engine, as the executor does."""

    def put(files):
        objects.append(files)
        return len(objects) - 1

    facts = outpost.hello()
    root, root_of_cache = facts.root, facts.cache
    depot = Depot(put)
    helds = {name: depot.held(path) for name, path in reads(local.estimator).items()}
    folders = [depot.filled(mirror, {}) for mirror in mirrors(local, root)]
    moved = relocated(local, {name: one.place(root_of_cache) for name, one in helds.items()}, root)
    outcome, files = outpost.run(len(objects), Parcel.of(moved), folders, list(helds.values()))
    for mirror, new in zip(folders, files, strict=True):
        store(mirror.home, new)
    return outcome


def test_a_training_abroad_has_the_same_bits(tmp_path):
    """Two epochs in two steps, at home and by two workers abroad: the same metrics and the same file."""
    folder = save(load_dataset("digits"), tmp_path / "engine" / "data")
    joint = SearchSpace(Chain((1, 8, 8), 10), recipe_space((1, 8, 8), 10, 1000))
    design, estimator = joint.decode(joint.space.default()), TrainEstimator(folder, precision="float32")
    objects, results = [], []
    outposts = [Outpost([], objects.__getitem__) for _ in range(2)]
    for number, outpost in enumerate(outposts):  # in one process they would share a folder
        outpost._root = tmp_path / f"worker-{number}"
    for scratch in (tmp_path / "home", tmp_path / "away"):
        checkpoint, outcomes = None, []
        for epoch in (1, 2):
            context = Context(
                seed=0, scratch=scratch, epochs=epoch, horizon=2, start=epoch - 1, checkpoint=checkpoint
            )
            local = Task(estimator, design, Fidelity(epoch), context)
            if scratch.name == "home":
                outcome = evaluate(local, lambda: False)
            else:
                outcome = abroad(outposts[epoch - 1], local, objects)
            outcomes.append(outcome)
            checkpoint = scratch / outcome.checkpoint
        results.append(([outcome.metrics for outcome in outcomes], checkpoint.read_bytes()))
    assert results[0] == results[1]
    for outpost in outposts:
        outpost.end()


@pytest.mark.parametrize(
    ("workers", "share", "nodes", "cause"),
    [
        (4, Share(1), [{"CPU": 4}], None),
        (16, Share(0.1), [{"CPU": 2}], None),
        (4, Share(1, 0.5), [{"CPU": 4, "GPU": 2}], None),
        (3, Share(1, 1 / 3), [{"CPU": 4, "GPU": 1}], None),
        (
            4,
            Share(2),
            [{"CPU": 2}] * 3,
            "4 workers of 2 CPUs need 8 CPUs; the cluster has 6; give workers=3, or le",
        ),
        (4, Share(2), [], "4 workers of 2 CPUs need 8 CPUs; the cluster has 0; give less to each"),
        (
            4,
            Share(1, 0.5),
            [{"CPU": 8, "GPU": 1}],
            "4 workers of 0.5 GPUs need 2 GPUs; the cluster has 1; give wo",
        ),
        (2, Share(3), [{"CPU": 4}, {"CPU": 2}], "2 workers of 3 CPUs: the 2 nodes have room for 1, as each"),
        (
            3,
            Share(1, 0.6),
            [{"CPU": 4, "GPU": 2}],
            "3 workers of 1 CPUs and 0.6 GPUs: the 1 nodes have room for 2",
        ),
    ],
)
def test_room_in_a_cluster(workers, share, nodes, cause):
    found = refused(workers, share, nodes)
    assert found is None if cause is None else found.startswith(cause)


def test_shares_are_checked_and_gpus_shared_out():
    assert [share_of_gpu(workers, 2) for workers in (1, 2, 3, 4, 5)] == [1, 1, 0.5, 0.5, 1 / 3]
    with pytest.raises(
        ValueError, match=r"gpus=1.5; give each worker whole GPUs, or a share of one, such as 0.5"
    ):
        Share(1, 1.5)
    with pytest.raises(ValueError, match="cpus=0, gpus=0; give each worker cpus above 0"):
        Share(0)
