"""Searches killed at random moments: the engine, one of its workers, or both; each goes on until it is through."""

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from experiments.crash.search import TRIALS
from experiments.record import ROOT
from nas.storages.log import Log

ENGINE, WORKER, BOTH = "engine", "worker", "both"
SHORTEST, LONGEST = 0.3, 1.6  # seconds between kills: a start of both processes takes about the middle
PATIENCE = 300.0  # seconds within which a search goes on


@dataclass
class Tally:
    """What came of ``kills``. ``lost`` are acknowledged results that were not there any more, ``failed`` trials."""

    kills: int = 0
    searches: int = 0
    lost: int = 0
    incomplete: int = 0
    different: int = 0
    failed: int = 0
    retried: int = 0
    seconds: float = field(default_factory=time.monotonic)


class Killer:
    """Kills what ``whom`` says of the searches by ``workers`` in ``folder``; where one worker, all must end alike."""

    def __init__(self, folder: Path, whom: str, workers: int, seed: int) -> None:
        self.folder, self.whom, self.workers = folder, whom, workers
        self._rng = random.Random(f"{whom} {workers} {seed}")
        self._acknowledged: list[Any] = []
        self._whole = self._run(folder / "whole.log")[0] if workers == 1 else ""

    def kill(self, kills: int) -> Tally:
        """Kill so often, over as many searches as it takes; return what came of it."""
        tally = Tally()
        while tally.kills < kills:
            path = self.folder / f"{tally.searches}.log"
            self._search(path, kills, tally)
            tally.searches += 1
        tally.seconds = time.monotonic() - tally.seconds
        return tally

    def _search(self, path: Path, kills: int, tally: Tally) -> None:
        self._acknowledged = []
        while tally.kills < kills:
            process = subprocess.Popen(
                self._command(path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            ended = self._hunt(process, path, kills, tally)
            _, error = process.communicate(timeout=PATIENCE)
            if ended:
                tally.incomplete += process.returncode != 0
                if process.returncode:
                    print(error.decode(), file=sys.stderr)
                break
        self._conclude(path, tally)

    def _hunt(self, process: "subprocess.Popen[bytes]", path: Path, kills: int, tally: Tally) -> bool:
        """Kill until the engine is gone; return whether it ended by itself."""
        while tally.kills < kills:
            try:
                process.wait(timeout=self._rng.uniform(SHORTEST, LONGEST))
                return True
            except subprocess.TimeoutExpired:
                pass
            if self.whom != ENGINE:
                told = len(self._acknowledged)
                struck = self._strike_worker(process)
                tally.kills += struck and self.whom == WORKER
            if self.whom != WORKER:
                process.kill()
                process.wait()
                tally.kills += 1
                tally.lost += self._check(path)
                return False
            tally.lost += self._check(path)
            self._progress(process, path, told, tally)
        process.wait(timeout=PATIENCE)
        return True

    def _strike_worker(self, process: "subprocess.Popen[bytes]") -> bool:
        """Kill one of the children of ``process``; return whether there was one."""
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(process.pid).children()
            if children:
                self._rng.choice(children).kill()
                return True
        return False

    def _progress(self, process: "subprocess.Popen[bytes]", path: Path, told: int, tally: Tally) -> None:
        """Wait until another result is in, so that no step meets its end three times by our hand alone."""
        end = time.monotonic() + PATIENCE
        while len(self._acknowledged) <= told and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            tally.lost += self._check(path)

    def _check(self, path: Path) -> int:
        """Return how many results that were there are there no more, or have changed."""
        if not path.exists() or not path.stat().st_size:
            return len(self._acknowledged)
        with Log(path, write=False) as log:
            results = [row for row in log.rows if row["kind"] == "result"]
        same = sum(one == other for one, other in zip(self._acknowledged, results, strict=False))
        lost, self._acknowledged = len(self._acknowledged) - same, results
        return lost

    def _conclude(self, path: Path, tally: Tally) -> None:
        """Let the search end in peace, and compare what it came to."""
        said, code = self._run(path)
        tally.lost += self._check(path)
        tally.incomplete += code != 0 or len(said.splitlines()) != TRIALS
        tally.different += self.workers == 1 and said != self._whole
        tally.failed += said.count("killed:")
        with Log(path, write=False) as log:
            tally.retried += sum(str(row.get("name")).startswith("retried ") for row in log.rows)

    def _command(self, path: Path) -> Sequence[str]:
        return [sys.executable, "-m", "experiments.crash.search", str(path), str(self.workers)]

    def _run(self, path: Path) -> tuple[str, int]:
        done = subprocess.run(
            self._command(path), cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
        return done.stdout, done.returncode
