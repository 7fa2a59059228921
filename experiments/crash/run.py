"""A thousand kills, five hundred damaged stores, eight writers at once, a node that is lost: what is gone afterwards.

    python -m experiments.crash.run [--quick] [--parts kills,damage,starts,ray]

Results are kept part by part; a run that was ended goes on with the parts that lack. ``--quick`` is a dozen kills and
stores and one start, without Ray, and keeps nothing.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from experiments.crash.damage import cold_starts, damaged
from experiments.crash.kills import BOTH, ENGINE, WORKER, Killer
from experiments.record import LOOP, Record

COMMAND = "python -m experiments.crash.run"
KILLS = {  # whom, by how many workers: how often
    (ENGINE, 1): 250,
    (WORKER, 1): 250,
    (BOTH, 1): 200,
    (ENGINE, 3): 100,
    (WORKER, 3): 100,
    (BOTH, 3): 100,
}
STORES, WRITERS, STARTS = 500, 8, 20
NONE = "0"


class Crash:
    """The parts, and where their results are kept; without a ``record`` nowhere."""

    def __init__(self, record: Record | None) -> None:
        self.record = record

    def kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result ``name``, kept or made now."""
        found = None if self.record is None else self.record.run(name)
        if found is None:
            found = make()
            if self.record is not None:
                self.record.add(name, found)
        print(name, {key: value for key, value in found.items() if key != "code"}, flush=True)
        return dict(found)

    def claim(self, claim: str, value: float, bar: str, holds: bool) -> None:
        """Keep and print a claim."""
        print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:g}, bar {bar}", flush=True)
        if self.record is not None:
            self.record.show(claim, value, bar, holds, seeds=[0], command=COMMAND)

    def kills(self, share: float = 1.0) -> None:
        """Kill searches; nothing that was acknowledged may be lost, and all must end, by one worker alike."""
        tallies = []
        for (whom, workers), count in KILLS.items():
            make = partial(killed, whom, workers, max(2, round(share * count)))
            tallies.append(self.kept(f"kills of {whom}, workers {workers}", make))
        total = sum(one["kills"] for one in tallies)
        self.claim(
            "SIGKILLs of engines and workers", total, f">= {sum(KILLS.values())}", total >= 1000 * share
        )
        for name, what in (
            ("lost", "acknowledged results that are gone"),
            ("incomplete", "searches that did not end"),
            ("different", "searches by one worker that ended unlike the one in peace"),
        ):
            value = sum(one[name] for one in tallies)
            self.claim(f"{total:,} kills: {what}", value, NONE, value == 0)
        for name, what in (
            ("retried", "steps placed again"),
            ("failed", "steps that failed after three deaths"),
        ):
            self.claim(f"{total:,} kills: {what}", sum(one[name] for one in tallies), "reported", True)

    def damage(self, count: int = STORES) -> None:
        """Damage stores; nothing may be wrong or missing without a word."""
        found = self.kept(f"damaged stores, {count}", lambda: damaged(count))
        for name in ("wrong", "silent"):
            value = found[name]
            what = "wrong" if name == "wrong" else "missing"
            self.claim(f"{count} damaged stores: rows silently {what}", value, NONE, value == 0)
        self.claim(
            f"{count} damaged stores: studies that went on",
            found["went_on"],
            f"{count}",
            found["went_on"] == count,
        )
        for kind, shares in found["shares"].items():
            for name, value in shares.items():
                self.claim(f"damaged stores, {kind}: {name} share recovered", value, "reported", True)

    def starts(self, times: int = STARTS) -> None:
        """Have many processes open one store at once."""
        found = self.kept(f"starts at once, {times}", lambda: cold_starts(WRITERS, times))
        about = f"{found['starts']} starts of {WRITERS} processes at once"
        one, refused = found["one"], found["named"]
        self.claim(f"{about}: those with one writer", one, f"{found['starts']}", one == found["starts"])
        least = (WRITERS - 1) * found["starts"]
        self.claim(f"{about}: refusals that name the writer", refused, f"{least}", refused == least)
        self.claim(f"{about}: stores damaged", found["damaged"], NONE, found["damaged"] == 0)

    def ray(self) -> None:
        """Lose a node of a cluster in the middle of a search, and break limits there."""
        from experiments.crash import ray_nodes

        found = self.kept("ray, a node removed", lambda: dict(ray_nodes.node_removed()))
        about = "Ray, three nodes, 4 workers on digits, one node removed"
        value = found["finished"]
        self.claim(f"{about}: trials finished", value, f"{found['started']:g}", value == found["started"])
        self.claim(
            f"{about}: trials failed or unfinished",
            found["failed"] + found["unfinished"],
            NONE,
            found["failed"] + found["unfinished"] == 0,
        )
        found = self.kept("ray, limits", lambda: dict(ray_nodes.limits()))
        for name, what in (("sleep", "time.sleep(10**6)"), ("allocation", "an endless allocation")):
            seconds = found[f"{name}_seconds"]
            self.claim(f"Ray: {what} is a result, after seconds", seconds, "reported", found[name] == 1)
        self.claim("Ray: an evaluation after them works", found["after"], "1", found["after"] == 1)


def killed(whom: str, workers: int, kills: int) -> dict[str, Any]:
    """Return what came of so many kills, in a folder for the time being."""
    with tempfile.TemporaryDirectory(prefix="nas-") as place:
        return asdict(Killer(Path(place), whom, workers, 0).kill(kills))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--parts", default="kills,damage,starts,ray")
    options = parser.parse_args()
    if options.quick:
        crash = Crash(None)
        crash.kills(0.012)
        crash.damage(12)
        crash.starts(1)
        return
    crash = Crash(Record(__file__, *LOOP, "estimators/estimator.py", "experiments/crash"))
    for part in options.parts.split(","):
        getattr(crash, part)()


if __name__ == "__main__":
    main()
