"""Whole searches, eight minutes of Fashion-MNIST: without a supernet, with one that picks, with one that scores.

    python -m experiments.supernet_search.run [--quick] [--cores N]

``--quick`` is digits, two searches of a minute, and keeps nothing.
"""

from pathlib import Path

from experiments.searches import Plan, main

WHAT = "the supernet"
ARMS = {
    "as a signal": {"warm-start": "supernet"},
    "left out": {},
    "as the estimator": {"estimator": "supernet"},
}
WHOLE = Plan("fashion-mnist", "8m", ARMS, (0, 1, 2), WHAT)
QUICK = Plan("digits", "1m", {name: ARMS[name] for name in ("left out", "as the estimator")}, (0,), WHAT)


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, WHOLE, QUICK)
