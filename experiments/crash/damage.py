"""Stores that are damaged at random and salvaged, and many processes that open one at the same moment.

    python -m experiments.crash.damage [--quick]       prints what `experiments.crash.run` records

Kinds of damage, a third of the stores each
    truncated    the end is cut off at a random byte
    flipped      one to eight random bits are flipped
    zeroed       one to three random pages of 4096 bytes are zeros

A row is silently wrong if a salvage returns it under a number at which another one was appended. It is silently missing
if the salvage neither returns it, nor counts it among the missing, nor says that it does not know how many there were.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from estimators.estimator import Fidelity, Result
from experiments.record import ROOT
from nas.doctor import examine, rows_of
from nas.rescue import mend
from nas.salvage import Salvaged, salvaged
from nas.study import Study
from search_spaces.space import Choice, Float, Int, Space

PAGE = 4096
SPACE = Space(x=Float(0, 1), k=Int(1, 3), c=Choice({"a": None, "b": Space(z=Float(0, 1))}))
GOES_ON = 5  # results that a study on a salvaged store has to take
CHILD = """
import os, sys
from experiments.crash.damage import opened
print(os.getpid(), flush=True)
for line in sys.stdin:
    try:
        study = opened(line.strip())
    except ValueError as error:
        print(" ".join(str(error).split()), flush=True)
        sys.stdin.readline()
    else:
        print("writes", flush=True)
        sys.stdin.readline()
        study.close()
    print("closed", flush=True)
"""


def opened(path: str | Path) -> Study:
    """Return the study in the file ``path``."""
    ladder = (Fidelity(1), Fidelity(3), Fidelity(9))
    return Study(SPACE, strategy="evolution", scheduler="asha", seed=0, storage=path, ladder=ladder)


def played(study: Study, results: int) -> None:
    """Tell ``results`` results of a cheap function; one in twenty evaluations fails."""
    for _ in range(results):
        trial = study.ask()
        assert trial.asked is not None
        epochs = trial.asked.fidelity.epochs
        loss = (float(trial.config["x"]) - 0.3) ** 2 + float(trial.config["k"]) + 1 / epochs
        curve = tuple({"loss": loss + 1 / epoch} for epoch in range(1, epochs + 1))
        error = "exception: told to" if study.history.results % 20 == 19 else None
        study.tell(
            trial, Result(metrics={} if error else {"loss": loss}, curve=curve, seconds=1.0, error=error)
        )


def truncated(content: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Flip one to eight bits."""
    broken = bytearray(content)
    for place in rng.sample(range(len(content)), rng.randint(1, 8)):
        broken[place] ^= 1 << rng.randrange(8)
    return bytes(broken)


def zeroed(content: bytes, rng: random.Random) -> bytes:
    """Have zeros in the place of one to three pages."""
    pages = -(-len(content) // PAGE)
    broken = bytearray(content)
    for page in rng.sample(range(pages), min(pages, rng.randint(1, 3))):
        end = min((page + 1) * PAGE, len(content))
        broken[page * PAGE : end] = bytes(end - page * PAGE)
    return bytes(broken)


DAMAGES = {"truncated": truncated, "flipped": flipped, "zeroed": zeroed}


def wrong_in(found: Salvaged, rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many rows of a salvage are not those that were appended under their numbers."""
    return sum(number >= len(rows) or row != rows[number] for number, row in found.rows.items())


def silent_in(found: Salvaged, rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many of ``rows`` a salvage neither has nor tells to be missing."""
    told = {number for first, last in found.missing for number in range(first, last + 1)}
    lost = set(range(len(rows))) - set(found.rows) - told
    return 0 if found.total is None else len(lost)


def goes_on(path: Path) -> bool:
    """Return whether a study opens on the salvaged store at ``path`` and takes more results."""
    if not examine(path).well:
        return False
    with opened(path) as study:
        before = study.history.results
        played(study, GOES_ON)
        return study.history.results == before + GOES_ON


def damaged(count: int = 500, *, trials: int = 300, seed: int = 0) -> dict[str, Any]:
    """Damage ``count`` stores of a study of ``trials`` trials and salvage each.

    Returns counts: ``wrong`` and ``silent`` rows over all stores, stores that ``went_on``; and ``shares`` by kind of
    damage: median and least share of the rows that were recovered.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "study.log"
        with opened(path) as study:
            while len(study.trials) < trials:
                played(study, 1)
        content, rows = path.read_bytes(), rows_of(path)
        found: dict[str, list[float]] = {name: [] for name in DAMAGES}
        counts = {"wrong": 0, "silent": 0, "went_on": 0}
        for number in range(count):
            name = list(DAMAGES)[number % len(DAMAGES)]
            broken = DAMAGES[name](content, rng)
            one = salvaged(broken)
            counts["wrong"] += wrong_in(one, rows)
            counts["silent"] += silent_in(one, rows)
            found[name].append(len(one.rows) / len(rows))
            copy = Path(scratch) / str(number) / "study.log"
            copy.parent.mkdir()
            copy.write_bytes(broken)
            mend(copy)
            counts["went_on"] += goes_on(copy)
    shares = {
        name: {"median": statistics.median(all_), "least": min(all_)} for name, all_ in found.items() if all_
    }
    return {"stores": count, "rows": len(rows), "bytes": len(content), **counts, "shares": shares}


def cold_starts(processes: int = 8, times: int = 20) -> dict[str, Any]:
    """Have ``processes`` open one store at the same moment, ``times`` times one that is new and one that exists.

    Returns counts over all: ``starts``, those with exactly ``one`` writer, openings that were ``refused`` and of these
    those that ``named`` the writer, and stores that were ``damaged`` afterwards.
    """
    counts = {"starts": 0, "one": 0, "refused": 0, "named": 0, "damaged": 0}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", CHILD]
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
            "cwd": ROOT,
        }
        children = [subprocess.Popen(command, **pipes) for _ in range(processes)]
        pids = [int(child.stdout.readline()) for child in children]  # type: ignore[union-attr]
        for number in range(2 * times):
            path = Path(scratch) / f"{number // 2}.log"  # new at the even ones, left by them at the odd ones
            said = _together(children, str(path))
            writers = [pid for pid, one in zip(pids, said, strict=True) if one == "writes"]
            refused = [one for one in said if one != "writes"]
            counts["starts"] += 1
            counts["one"] += len(writers) == 1
            counts["refused"] += len(refused)
            counts["named"] += sum(
                f"is being written by process {pid} on" in one for pid in writers for one in refused
            )
            counts["damaged"] += not examine(path).well
        for child in children:
            child.communicate()
    return {"processes": processes, **counts}


def _together(children: Sequence[Any], path: str) -> list[str]:
    """Have all ``children`` open ``path``, and close it once all have tried; return what each said."""
    for child in children:
        child.stdin.write(f"{path}\n")
        child.stdin.flush()
    said = [child.stdout.readline().strip() for child in children]
    for child in children:
        child.stdin.write("close\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout.readline() == "closed\n"
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print(damaged(30, trials=60) if quick else damaged())
    print(cold_starts(3, 2) if quick else cold_starts())


if __name__ == "__main__":
    main()
