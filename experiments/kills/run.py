"""Searches killed at random moments and resumed: nothing acknowledged is lost, and the end is that of a run in peace.

    python -m experiments.kills.run [--quick]

The checks are those of the slow tests; here they are counted and recorded.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from experiments.record import ROOT, Record

sys.path.insert(0, str(ROOT / "tests"))
SIGNAL = ("--warm-start", "supernet")
HEARD = (*SIGNAL, "--strategy", "gp")


def main() -> None:
    from test_front import check_training_kills
    from test_study import check_kills

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    record = Record(__file__)
    cheap, real, shared = (20, 3, 3) if quick else (200, 20, 10)
    training = partial(check_training_kills, "digits")
    for name, kills, check, options in (
        ("cheap evaluations", cheap, check_kills, ()),
        ("real training on digits", real, training, ()),
        ("a supernet that scores digits", shared, training, ("--estimator", "supernet")),
        ("a supernet for the first designs on digits", shared, training, SIGNAL),
        (
            "a supernet that trainings inherit from on digits",
            shared,
            training,
            (*SIGNAL, "--supernet-option", "inherit=true"),
        ),
        # enough trials for its trust to be measured, by a strategy that hears it
        ("a supernet that the surrogate hears on digits", shared, training, (*HEARD, "--trials", "12")),
    ):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder), kills, *options)
        record.add(f"{name}, {kills}", {"kills": kills, "seconds": time.monotonic() - began})
        record.show(
            f"kills of searches with {name}, all resumed to the same end",
            kills,
            f">= {kills}",
            True,
            seeds=[kills],
            command="python -m experiments.kills.run" + (" --quick" if quick else ""),
        )


if __name__ == "__main__":
    main()
