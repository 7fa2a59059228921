"""Whole searches, six minutes of Fashion-MNIST: the default scheduler, all designs to the end, one epoch then the best.

    python -m experiments.early_stopping.run [--quick] [--cores N]

``--quick`` is digits, two searches of a minute, and keeps nothing.
"""

from pathlib import Path

from experiments.searches import Plan, main

WHAT = "the scheduler"
ARMS = {name: {"scheduler": name} for name in ("auto", "full", "one-epoch-top-k")}
WHOLE = Plan("fashion-mnist", "6m", ARMS, (0, 1, 2), WHAT)
QUICK = Plan("digits", "1m", {name: ARMS[name] for name in ("auto", "full")}, (0,), WHAT)


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, WHOLE, QUICK)
