"""A cluster of Ray: three nodes on this machine, a node that is lost, limits, folders that are not shared, refusals."""

import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from test_supervise import Acting

from estimators.dataset import load, save
from estimators.estimator import Context, Estimator, Fidelity, Result
from estimators.train import TrainEstimator
from nas.cluster import connected, disconnect
from nas.executor import Limits, Task, executors
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.spaces.chain import Chain

PATIENT = 300  # seconds, on a machine that has other things to do
OF_RAY = pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning")  # before 2.55


@dataclass(frozen=True)
class Sleeping(Estimator):
    """Sleeps as long as its design says; its metric is the node that it was on."""

    def evaluate(self, design, fidelity, context):
        time.sleep(design)
        (context.scratch / "slept").write_text(str(design))
        return Result(metrics={"loss": design}, checkpoint="slept")


def test_ray_is_asked_for_by_name(monkeypatch):
    assert "ray" in executors.names()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ValueError, match=r"needs Ray, which is not installed: pip install 'nas-engine\[ray\]'"
    ):
        executors.get("ray")(workers=2)


def test_which_cluster_it_is(monkeypatch):
    calls = []

    def init(**options):
        calls.append(options["address"])
        if options["address"] == "auto":
            raise ConnectionError("Could not find any running\nRay instance.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    fake = SimpleNamespace(
        init=init, is_initialized=lambda: len(calls) == 3, shutdown=lambda: calls.append("ended")
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("nas.cluster._users", 0)
    assert connected(None) == (fake, True)
    with pytest.raises(
        ValueError, match=r"no Ray cluster answers at 'auto' \(ConnectionError: Could .* leave address"
    ):
        connected("auto")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert connected(None) == (fake, True) and connected("auto") == (fake, True)
    assert calls == ["local", "auto", "head:6379"]
    disconnect(fake)
    disconnect(fake)
    assert calls[3:] == []  # two of three are gone
    monkeypatch.setattr("nas.cluster._users", 0)
    assert connected("auto") == (fake, False)  # one that the user made


def test_a_cluster_ends_with_the_last_that_uses_it(monkeypatch):
    ended = []
    fake = SimpleNamespace(is_initialized=lambda: True, shutdown=lambda: ended.append(True))
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("nas.cluster._users", 1)
    assert connected(None) == (fake, True)
    disconnect(fake)
    assert not ended
    disconnect(fake)
    assert ended == [True]


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def make(cluster):
    made = []

    def make(**options):
        made.append(executors.get("ray")(address=cluster.address, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def task(estimator, design, scratch, checkpoint=None, epochs=1, **limits):
    start = 0 if checkpoint is None else epochs - 1
    fields = {"epochs": epochs, "horizon": 2, "start": start, "checkpoint": checkpoint}
    return Task(
        estimator, design, Fidelity(epochs), Context(seed=0, scratch=scratch, **fields), Limits(**limits)
    )


def until(condition):
    end = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@OF_RAY
class TestCluster:
    def test_what_cannot_be_met_is_refused(self, make):
        with pytest.raises(
            ValueError, match="4 workers of 2 CPUs need 8 CPUs; the cluster has 6; give workers=3"
        ):
            make(workers=4, cpus=2)
        with pytest.raises(
            ValueError, match=r"2 workers of 0.5 GPUs need 1 GPUs; the cluster has 0; give less"
        ):
            make(workers=2, gpus=0.5)

    @pytest.mark.parametrize("shared", [True, False])
    def test_limits_hold_and_workers_live_on(self, make, tmp_path, shared):
        executor = make(workers=2, shared=shared)
        scratch = tmp_path / "run"
        designs = {
            "fine": {},
            "raise": {},
            "hang": {"seconds": 0.5, "grace": 0.2},
            "grow": {"memory": 300_000_000},
            "kill": {},
        }
        futures = {
            name: executor.submit(task(Acting(), name, scratch / name, **limits))
            for name, limits in designs.items()
        }
        causes = {name: future.result(timeout=PATIENT).error for name, future in futures.items()}
        assert causes.pop("fine") is None and causes["raise"].startswith("exception: KeyError")
        assert causes["hang"] == "timeout: over 0.5 s" and causes["grow"].startswith("memory: 3")
        assert causes["kill"] == "killed: the worker process ended with SIGKILL"
        reports = (scratch / "fine" / "progress.jsonl").read_text()
        assert reports == '{"step": 1, "loss": 0.5}\n'
        assert executor.submit(task(Acting(), "fine", scratch / "fine")).result(timeout=PATIENT).error is None

    def test_what_waits_can_be_cancelled_and_a_stop_reaches_all(self, make, tmp_path):
        executor = make(workers=1)
        futures = [executor.submit(task(Acting(), "wait", tmp_path / f"trial-{n}")) for n in range(3)]
        until(futures[0].running)
        assert futures[1].cancel() and not futures[0].cancel()
        executor.stop()
        assert all(future.result(timeout=PATIENT).stopped for future in (futures[0], futures[2]))
        assert (
            executor.submit(task(Acting(), "fine", tmp_path / "fine")).result(timeout=PATIENT).error is None
        )

    def test_a_folder_that_is_not_shared_has_the_same_bits(self, make, tmp_path):
        data = save(load("digits"), tmp_path / "data")
        joint = SearchSpace(Chain((1, 8, 8), 10), recipe_space((1, 8, 8), 10, 1000))
        design, estimator = joint.decode(joint.space.default()), TrainEstimator(data, precision="float32")
        found = []
        for shared in (True, False):
            checkpoint, metrics = None, []
            for epochs in (1, 2):
                executor = make(workers=1, shared=shared)  # another worker goes on
                scratch = tmp_path / f"shared-{shared}" / "trial-0000"
                one = executor.submit(task(estimator, design, scratch, checkpoint, epochs)).result(
                    timeout=300
                )
                assert one.error is None
                checkpoint = scratch / one.checkpoint
                metrics.append(one.metrics)
                executor.close()
            found.append((metrics, checkpoint.read_bytes(), len((scratch / "progress.jsonl").read_text())))
        assert found[0] == found[1]

    def test_a_node_is_removed_and_nothing_is_lost(self, make, cluster, tmp_path):
        executor = make(workers=4)
        left = dict.fromkeys(range(8), 1.5)
        lost, removed, done = 0, None, {}
        while left:
            futures = {
                number: executor.submit(task(Sleeping(), seconds, tmp_path / f"trial-{number}"))
                for number, seconds in left.items()
            }
            if removed is None:
                futures[0].result(timeout=PATIENT)
                removed = next(iter(cluster.worker_nodes))
                cluster.remove_node(removed, allow_graceful=False)
            for number, future in futures.items():
                result = future.result(timeout=PATIENT)
                if result.error is None:
                    done[number] = (tmp_path / f"trial-{number}" / result.checkpoint).read_text()
                    del left[number]
                else:
                    assert result.error.startswith("killed: ")
                    lost += 1
        assert done == dict.fromkeys(range(8), "1.5") and 1 <= lost <= 4
        cluster.add_node(num_cpus=2)

    def test_workers_without_room_are_not_counted_until_there_is(self, make, cluster, tmp_path, monkeypatch):
        executor = make(workers=3, cpus=2)
        monkeypatch.setattr("nas.executors.ray.PATIENCE", 5.0)
        futures = [executor.submit(task(Sleeping(), 0.5, tmp_path / f"trial-{n}")) for n in range(6)]
        assert all(future.result(timeout=PATIENT).error is None for future in futures)
        time.sleep(1.5)  # idle workers are asked first
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        futures = [executor.submit(task(Sleeping(), 0.5, tmp_path / f"fewer-{n}")) for n in range(6)]
        errors = [error for future in futures if (error := future.result(timeout=PATIENT).error) is not None]
        assert len(errors) <= 1 and all(
            error.startswith("killed: ") for error in errors
        )  # it died in between
        until(lambda: executor.slots == 2)
        cluster.add_node(num_cpus=2)
        until(lambda: executor.slots == 3)
        assert executor.submit(task(Sleeping(), 0.1, tmp_path / "all")).result(timeout=PATIENT).error is None


@pytest.mark.slow
@OF_RAY
def test_a_new_cluster_has_more_workers_than_cores(tmp_path):
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        ray.shutdown()
    executor = executors.get("ray")(workers=8, cpus=0.1)
    assert executor.slots == 8 and executor.threads == 1
    futures = [executor.submit(task(Sleeping(), 0.1, tmp_path / f"trial-{n}")) for n in range(24)]
    assert all(future.result(timeout=PATIENT).error is None for future in futures)
    executor.close()
    assert not ray.is_initialized()
    assert (tmp_path / "trial-0" / "slept").read_text() == "0.1"
