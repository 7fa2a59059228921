"""Whole searches with a supernet and without: eight minutes of Fashion-MNIST, and fourteen of 6,000 small images of it.

    python -m experiments.supernet_search.run [--quick] [--cores N] [--small]

Of all images a supernet scores all designs: as a signal beside trainings it may have a quarter of a search, which is
refused there as too little, see README.md. ``--small`` is `mobile` on 6,000 images of 14 pixels, where it is one.
``--quick`` is digits, two searches of a minute, and keeps nothing.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from estimators.dataset import open_saved
from estimators.split import SPLITS
from experiments.curves.record import images
from experiments.searches import Plan, main
from experiments.supernet_rank.truth import SIDE

WHAT = "the supernet"
ARMS = {
    "as the estimator": {"estimator": "supernet"},
    "left out": {},
}
WHOLE = Plan("fashion-mnist", "8m", ARMS, (0, 1, 2), WHAT)
QUICK = Plan("digits", "1m", ARMS, (0,), WHAT)
BOUNDED = {"space": "mobile", "constraint": "macs<=2e6"}  # 1.8 times the default design's
SMALL = Plan(
    "fashion-mnist, 6,000 images of 14 pixels",
    "14m",
    {
        "as a signal that trainings inherit from": {
            **BOUNDED,
            "warm-start": "supernet",
            "supernet-option": "inherit=true",
        },
        "left out": BOUNDED,
    },
    (0, 1, 2),
    WHAT,
)
TESTED = 10_000


def small(folder: Path) -> Plan:
    """Return ``SMALL`` with its images, written into ``folder``."""
    saved = open_saved(images(folder / "data", SIDE, tested=TESTED))
    parts = {name: getattr(saved, name) for name in SPLITS}
    arrays = {
        f"{axis}_{name}": np.array(getattr(part, axis)) for name, part in parts.items() for axis in "xy"
    }
    np.savez(file := folder / "fashion-14.npz", **arrays)  # type: ignore[arg-type]
    return replace(SMALL, file=file)


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, WHOLE, QUICK, small)
