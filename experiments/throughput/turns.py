"""Loops timed in turn: in each round every loop trains once, so that other work on the machine weighs on all alike."""

import gc
import multiprocessing
import statistics
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from experiments.throughput.loops import Case, Loop, make


def _serve(pipe: Connection) -> None:
    """Time what is asked for, as (case, kind, images); a new case drops the loops of the old one; None ends."""
    loops: dict[tuple[Case, str], Loop] = {}
    while (asked := pipe.recv()) is not None:
        case, kind, n = asked
        if loops and next(iter(loops))[0] != case:
            loops.clear()
            gc.collect()
        if (case, kind) not in loops:
            loops[case, kind] = make(case, kind)
        pipe.send(loops[case, kind](n))


class Processes:
    """One process for the textbook's loops and one for ours and the bare step.

    What our loop sets for its whole process (how the C library keeps memory) does not help the textbook's.
    """

    def __enter__(self) -> "Processes":
        context = multiprocessing.get_context("spawn")
        self._pipes: dict[bool, Connection] = {}
        self._children = []
        for textbook in (False, True):
            self._pipes[textbook], theirs = context.Pipe()
            self._children.append(context.Process(target=_serve, args=(theirs,)))
            self._children[-1].start()
        return self

    def __exit__(self, *error: Any) -> None:
        for pipe, child in zip(self._pipes.values(), self._children, strict=True):
            if child.is_alive():
                pipe.send(None)
            child.join()

    def seconds(self, case: Case, kind: str, n: int) -> float:
        """Return how long the loop ``kind`` took for ``n`` images of ``case``."""
        pipe = self._pipes[kind.startswith("textbook")]
        pipe.send((case, kind, n))
        return float(pipe.recv())


def speeds(
    processes: Processes, case: Case, kinds: Sequence[str], *, n: int, rounds: int
) -> dict[str, list[float]]:
    """Return images per second of each loop, a value a round; a first round, with an eighth of ``n``, is not kept."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        images = n if number else max(256, n // 8)
        for kind in kinds if number % 2 else reversed(kinds):
            speed = images / processes.seconds(case, kind, images)
            if number:
                found[kind].append(speed)
    return found


def ratio(speeds: Mapping[str, Sequence[float]], one: str, other: str) -> list[float]:
    """Return least, median and greatest of the rounds' ratios of ``one`` to ``other``."""
    pairs = [a / b for a, b in zip(speeds[one], speeds[other], strict=True)]
    return [min(pairs), statistics.median(pairs), max(pairs)]
