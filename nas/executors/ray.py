"""Evaluations on a cluster of Ray (Moritz et al., OSDI 2018), one that is there or one that is started on this machine.

Each worker is an actor with its share of CPUs and GPUs on some node; in it a warm, supervised child process keeps the
limits. A worker that sees the engine's folders works in them. To one that does not, files travel (``nas.carry``): what
estimators read is put once, held once per node; checkpoints go and come with the evaluation. An actor that dies costs
what it was at, which comes back as killed; another one is started, on another node if need be.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from estimators.estimator import Result
from nas.carry import Depot, Mirror, Stamps, mirrors, reads, relocated, store
from nas.cluster import Share, connected, disconnect, line_of, refused, share_of_gpu
from nas.executor import Executor, Task, checked_workers, executors
from nas.outpost import Facts, Outpost
from nas.placed import Flag, Parcel
from nas.turns import Lost, Turn, Turns

PATIENCE = 120.0  # seconds after which nothing waits any more for a worker that does not start
TRIES = 3  # starts that may fail in a row before a worker is given up
SILENCE = 1.0  # seconds after which an idle worker is asked whether it is there before it is given work
FAREWELL = 2.0  # seconds that actors have to leave nothing behind


@dataclass(eq=False)
class Station:
    """A worker as the engine knows it: its actor, and what the engine has learned of it."""

    actor: Any
    facts: Facts
    sees: dict[tuple[Path, ...], bool] = field(default_factory=dict)  # by what an evaluation needs
    holds: dict[Path, Stamps] = field(default_factory=dict)  # of folders that it was at last
    run: int = 0  # number of the run placed last
    heard: float = field(default_factory=time.monotonic)  # when it answered last


@executors.register("ray")
class Ray(Executor):
    """``workers`` actors of ``cpus`` and ``gpus`` each on the cluster at ``address`` ("auto", "host:port").

    Without an address the cluster that this process is connected to serves, or a new one on this machine. GPUs may be
    a share of one, such as 0.5; with CUDA ``devices`` they are shared out evenly unless said otherwise: then each
    worker's own is its "cuda". ``shared=False`` has files travel also where the engine's folders are to be seen.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        devices: Sequence[str] = (),
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float | None = None,
        shared: bool = True,
    ) -> None:
        self._workers = self.slots = checked_workers(workers)
        cuda = sum(device.startswith("cuda") for device in devices)
        share = Share(cpus, (share_of_gpu(workers, cuda) if cuda else 0.0) if gpus is None else gpus)
        self.threads, self._shared = max(1, int(cpus)), shared
        self._devices = ("cuda",) if share.gpus and cuda else tuple(devices)
        self._ray, self._own = connected(address)
        try:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            if (problem := refused(workers, share, nodes)) is not None:
                raise ValueError(problem)
        except BaseException:
            self._disconnect()
            raise
        self._kind = self._ray.remote(Outpost).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_concurrency=4, scheduling_strategy="SPREAD"
        )
        self._turns, self._closed = Turns(), False
        self._lock = threading.Condition()
        self._actors: dict[int, Any] = {}
        self._stations: dict[int, Station] = {}
        self._missing: set[int] = set()
        self._depot = Depot(self._ray.put)
        names = [f"ray-{number}" for number in range(workers)]
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=name, daemon=True)
            for number, name in enumerate(names)
        ]
        for thread in self._threads:
            thread.start()
        self._await()

    def memory(self) -> int:
        """Return the bytes that each worker may hold: its share of what was free on its node when it started."""
        facts = [station.facts for station in list(self._stations.values())]
        beside = Counter(one.host for one in facts)
        return min((one.memory // beside[one.host] for one in facts), default=super().memory())

    def submit(self, task: Task) -> "Future[Result]":
        return self._turns.put(task)

    def stop(self) -> None:
        """Ask what is in flight to save and return; what waits is not begun."""
        self._turns.stop()
        for station in list(self._stations.values()):
            station.actor.stop.remote(station.run)

    def close(self) -> None:
        """End all actors, and the cluster if it was started here."""
        self._turns.close()
        with self._lock:
            if self._closed:
                return
            self._closed, actors = True, list(self._actors.values())
        ending = [station.actor.end.remote() for station in list(self._stations.values())]
        if ending:
            self._ray.wait(ending, num_returns=len(ending), timeout=FAREWELL)
        for actor in actors:
            self._ray.kill(actor)
        for thread in self._threads:
            thread.join(FAREWELL)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._own:
            disconnect(self._ray)

    # a worker's life

    def _await(self) -> None:
        """Wait until all workers are there, or cannot be had for now; a ``ValueError`` says why there are none."""
        try:
            with self._lock:
                self._lock.wait_for(lambda: len(self._stations.keys() | self._missing) == self._workers)
            if (refusal := self._turns.refusal) is not None:
                raise ValueError(refusal.removeprefix("killed: "))
        except BaseException:
            self.close()
            raise

    def _serve(self, number: int) -> None:
        """Have worker ``number`` evaluate; when it is lost, start it again. Ends when it is closed, or given up."""
        causes: list[str] = []
        while len(causes) < TRIES:
            try:
                station = self._started(number)
            except Lost as lost:
                causes.append(str(lost))
                continue
            if station is None:
                return
            causes.clear()
            self._turns.serve(number, partial(self._evaluate, number, station))
            with self._lock:
                del self._stations[number]
            if self._closed:
                return
            self._ray.kill(station.actor)
        self._miss(number, causes[-1])

    def _started(self, number: int) -> Station | None:
        """Start an actor, wherever there is room for it, and wait for it; None if this executor was closed."""
        with self._lock:
            if self._closed:
                return None
            self._actors[number] = actor = self._kind.remote(_paths(), self._ray.get)
        try:
            hello = actor.hello.remote()
            if not self._ray.wait([hello], timeout=PATIENCE)[0]:
                self._miss(number, f"it did not start within {PATIENCE:g} s")
            facts = self._ray.get(hello)
        except self._ray.exceptions.RayError as error:
            raise self._lost(error) from None
        with self._lock:
            self._turns.refuse(None)
            self._missing.discard(number)
            self.slots = self._workers - len(self._missing)
            self._stations[number] = station = Station(actor, facts)
            self._lock.notify_all()
        return station

    def _miss(self, number: int, cause: str) -> None:
        """Count on worker ``number`` no more until it starts; where none is left, all that waits is lost."""
        with self._lock:
            self._missing.add(number)
            left = self._workers - len(self._missing)
            self.slots = max(left, 1)
            if not left:
                said = f"the cluster has none of {self._workers} workers; of the last one: {cause}"
                self._turns.refuse(f"killed: {said}")
            self._lock.notify_all()

    def _lost(self, error: Exception) -> Lost:
        """Return what ``error`` of Ray says of a worker: what was raised there is its cause."""
        return Lost(line_of(error.cause if isinstance(error, self._ray.exceptions.RayTaskError) else error))

    # an evaluation

    def _evaluate(self, number: int, station: Station, turn: Turn) -> Result:
        """Have the actor of ``station`` evaluate, and write what it carried home; raises ``Lost`` if it died."""
        station.run += 1
        if turn.stopping.is_set():
            return Result(stopped=True)
        device = self._devices[number % len(self._devices)] if self._devices else None
        packed = Parcel.of(turn.task, device)
        self._call(station)
        try:
            if self._sees(station, turn.task):
                outcome, _ = self._ray.get(station.actor.run.remote(station.run, packed))
            else:
                outcome = self._abroad(station, turn.task, device)
        except self._ray.exceptions.RayError as error:
            raise self._lost(error) from None
        station.heard = time.monotonic()
        if isinstance(outcome, OSError):
            raise outcome
        assert isinstance(outcome, Result)
        return outcome

    def _call(self, station: Station) -> None:
        """Have a worker answer that was idle for a while: what was lost meanwhile costs no evaluation."""
        if time.monotonic() - station.heard < SILENCE:
            return
        try:
            self._ray.get(station.actor.hello.remote())
        except self._ray.exceptions.RayError as error:
            raise Lost(line_of(error), begun=False) from None

    def _sees(self, station: Station, task: Task) -> bool:
        """Return whether the worker sees the folders of ``task``: a file that was just written there, above all."""
        folders = (task.context.scratch.parent, *reads(task.estimator).values())
        if not self._shared:
            return False
        if folders not in station.sees:
            flag = Flag.beside(task.context.scratch)
            try:
                station.sees[folders] = self._ray.get(station.actor.sees.remote([flag.path, *folders]))
            finally:
                flag.lower()
        return station.sees[folders]

    def _abroad(self, station: Station, task: Task, device: str | None) -> Result:
        """Evaluate where the engine's folders are not: send what is needed, write what comes back."""
        root, cache = station.facts.root, station.facts.cache
        helds = {name: self._depot.held(path) for name, path in reads(task.estimator).items()}
        folders = [self._depot.filled(mirror, station.holds) for mirror in mirrors(task, root)]
        moved = relocated(task, {name: one.place(cache) for name, one in helds.items()}, root)
        run = station.actor.run.remote(station.run, Parcel.of(moved, device), folders, list(helds.values()))
        outcome, files = self._ray.get(run)
        for mirror, new in zip(folders, files, strict=True):
            store(mirror.home, new)
        station.holds = {mirror.home: _known(mirror, new) for mirror, new in zip(folders, files, strict=True)}
        if isinstance(outcome, OSError):
            return Result(error=f"killed: a disk of {station.facts.host} failed ({outcome})")
        assert isinstance(outcome, Result)
        return outcome


def _paths() -> list[str]:
    """Return where modules are found by this process."""
    return [path or str(Path.cwd()) for path in sys.path]


def _known(mirror: Mirror, new: Any) -> Stamps:
    return {**mirror.stamps, **{name: (time, len(content)) for name, (content, time) in new.items()}}
