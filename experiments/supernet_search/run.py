"""Whole searches, eight minutes of Fashion-MNIST: with a supernet that scores all designs, and without.

    python -m experiments.supernet_search.run [--quick] [--cores N]

As a signal beside trainings it may have a quarter of a search, which is refused here as too little: see README.md.
``--quick`` is digits, two searches of a minute, and keeps nothing.
"""

from pathlib import Path

from experiments.searches import Plan, main

WHAT = "the supernet"
ARMS = {
    "as the estimator": {"estimator": "supernet"},
    "left out": {},
}
WHOLE = Plan("fashion-mnist", "8m", ARMS, (0, 1, 2), WHAT)
QUICK = Plan("digits", "1m", ARMS, (0,), WHAT)


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, WHOLE, QUICK)
