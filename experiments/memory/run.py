"""Memory: predicted against measured peaks of random designs, and a search that runs out of memory on the way.

    python -m experiments.memory.run [--quick] [--parts exhausted,predicted]

Results are kept one by one; what was measured on this code is not measured again. ``--quick`` is a tenth of the work
and keeps nothing.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from experiments.memory.exhausted import search, shares
from experiments.memory.predicted import SPACES, compare, errors
from experiments.record import Record

PREDICTED = (  # what predictions and the measured peaks depend on
    *(f"estimators/cost/{name}.py" for name in ("memory", "liveness", "peak")),
    *(f"estimators/{name}.py" for name in ("loop", "train", "device")),
    "search_spaces/network.py",
    "search_spaces/ops",
)
EXHAUSTED = (*PREDICTED, *(f"nas/{name}.py" for name in ("supervise", "shortage", "observations", "models")))
COMMAND = "python -m experiments.memory.run"
STRATEGIES = ("auto", "random")


def show(record: Record, claim: str, value: float, bar: str, holds: bool, seeds: list[int]) -> None:
    """Keep a claim and print it."""
    print(f"{'holds' if holds else 'MISSED':6}  {claim}: {value:,.3g}, bar {bar}", flush=True)
    record.show(claim, value, bar, holds, seeds=seeds, command=COMMAND)


def show_predictions(record: Record, count: int) -> None:
    """Errors over ``count`` designs of each space."""
    rows = []
    for name in SPACES:
        if record.run(f"{name}, {count} designs") is None:
            record.add(f"{name}, {count} designs", {"rows": compare(name, count, seed=1)})
        found = record.run(f"{name}, {count} designs")["rows"]
        rows += found
        print(f"{name}: median error {np.median(errors(found)):.2f}", flush=True)
    every = errors(rows)
    claim = f"predicted peak of training memory, {len(rows)} designs"
    middle, ninetieth = float(np.median(every)), float(np.quantile(every, 0.9))
    show(record, f"{claim}: median error", middle, "<= 0.1", middle <= 0.1, [1])
    show(record, f"{claim}: 90th percentile of the error", ninetieth, "<= 0.3", ninetieth <= 0.3, [1])


def show_exhaustion(record: Record, trials: int, seeds: list[int]) -> None:
    """Shares of trials that ran out of memory, early and late."""
    found: dict[str, list[tuple[float, float]]] = {}
    for strategy in STRATEGIES:
        for seed in seeds:
            name = f"{strategy}, {trials} trials, seed {seed}"
            if record.run(name) is None:
                record.add(name, search(strategy, trials, seed))
            run = record.run(name)
            found.setdefault(strategy, []).append(shares(run["errors"]))
            print(name, found[strategy][-1], flush=True)
            assert len(run["errors"]) == trials
    (early, late), (_, chance) = (np.mean(found[strategy], axis=0) for strategy in STRATEGIES)
    claim = f"{trials} trials, many too large for the limit: share out of memory in the last third"
    bar = f"< {early:.2f} (its first third), < {chance:.2f} (random, last third)"
    show(record, claim, float(late), bar, late < early and late < chance, seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--parts", default="exhausted,predicted", help="of exhausted, predicted (default both)"
    )
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as place:
            show_predictions(Record(str(Path(place) / "run.py"), *PREDICTED), 2)
            show_exhaustion(Record(str(Path(place) / "run.py"), *EXHAUSTED), 6, [0])
        return
    if "exhausted" in options.parts:
        show_exhaustion(Record(__file__, *EXHAUSTED), 24, [0, 1, 2])
    if "predicted" in options.parts:
        show_predictions(Record(__file__, *PREDICTED), 25)


if __name__ == "__main__":
    main()
