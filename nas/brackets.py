"""The arithmetic of brackets: how many designs are trained how far (Li et al. 2018, algorithm 1).

Notation
    resource  R, the largest training, in units of the least one       eta   each round keeps one in eta
    bracket   rounds of fewer and fewer designs that are trained further and further, the last of them to R
    s         rounds of a bracket but one; a cycle has brackets of s = s_max, ..., 0, with eta^s_max <= R
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from estimators.estimator import Fidelity
from search_spaces.registry import nearest


@dataclass(frozen=True)
class Round:
    """So many ``designs`` of a bracket are trained to ``budget``, in the units of the resource."""

    designs: int
    budget: float


@dataclass(frozen=True)
class Stage:
    """A round on a ladder: so many ``designs`` are trained to its rung number ``rung``."""

    designs: int
    rung: int


Bracket = tuple[Round, ...]
Stages = tuple[Stage, ...]


def li(resource: float, eta: int) -> list[Bracket]:
    """Return the brackets of a cycle as in the paper: about as much is spent in each, rounded down from round to round.

    >>> [[(one.designs, round(one.budget, 2)) for one in bracket] for bracket in li(10, 3)]
    [[(9, 1.11), (3, 3.33), (1, 10.0)], [(5, 3.33), (1, 10.0)], [(3, 10.0)]]
    """
    most = _most(resource, eta)
    starts = [-(-(most + 1) * eta**s // (s + 1)) for s in range(most, -1, -1)]  # line 2, rounded up
    return [
        tuple(Round(n // eta**i, resource / eta ** (s - i)) for i in range(s + 1))  # lines 5 and 6
        for s, n in zip(range(most, -1, -1), starts, strict=True)
    ]


def keras_tuner(resource: float, eta: int) -> list[Bracket]:
    """Return the brackets of Keras Tuner 1.4.8: more designs than in the paper, whole budgets, all rounded up.

    >>> [[(one.designs, one.budget) for one in bracket] for bracket in keras_tuner(10, 3)]
    [[(12, 2), (4, 4), (2, 10)], [(6, 4), (2, 10)], [(4, 10)]]
    """
    ends = math.ceil(1 + math.log(resource, eta))  # designs that the last bracket trains
    return [
        tuple(
            Round(math.ceil(ends / (s + 1) * eta ** (s - i)), math.ceil(resource / eta ** (s - i)))
            for i in range(s + 1)
        )
        for s in range(_most(resource, eta), -1, -1)
    ]


SIZES: Final[dict[str, Callable[[float, int], list[Bracket]]]] = {"li": li, "keras-tuner": keras_tuner}


def cycle(ladder: Sequence[Fidelity], eta: int, sizes: str) -> list[Stages]:
    """Return the brackets of Hyperband on ``ladder``, whose first rung is the unit of the resource."""
    if sizes not in SIZES:
        raise ValueError(f"no sizes {sizes!r} of brackets; {nearest(str(sizes), list(SIZES))}")
    bottom = ladder[0].cost
    return [on_ladder(bracket, ladder) for bracket in SIZES[sizes](ladder[-1].cost / bottom, eta)]


def on_ladder(bracket: Bracket, ladder: Sequence[Fidelity]) -> Stages:
    """Return the rounds of ``bracket`` on the rungs whose cost is nearest by ratio, the cheaper of two.

    Of rounds that fall on one rung the first counts: nobody is trained between them.
    """
    stages = list[Stage]()
    for one in bracket:
        ratios = [abs(math.log(rung.cost / ladder[0].cost / one.budget)) for rung in ladder]
        rung = min(range(len(ladder)), key=lambda at: (round(ratios[at], 9), at))
        if not stages or rung > stages[-1].rung:
            stages.append(Stage(one.designs, rung))
    return tuple(stages)


def checked_eta(scheduler: str, eta: int) -> int:
    """Return ``eta``, or raise a ``ValueError`` in the name of ``scheduler``: it must be whole and 2 or more."""
    if isinstance(eta, bool) or not isinstance(eta, int) or eta < 2:
        raise ValueError(f"{scheduler}: eta={eta!r}; one in eta goes on, give a whole number from 2 up")
    return eta


def _most(resource: float, eta: int) -> int:
    """Return s_max: the logarithm rounded down, without its error at whole powers."""
    s = 0
    while eta ** (s + 1) <= resource * (1 + 1e-9):
        s += 1
    return s
