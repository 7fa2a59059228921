"""How a budget of time is spent: what the search's fidelities are, how many finals there are, and how long.

Notation
    c(s)    seconds of one epoch of the default design on the share s of the data: ``fixed + each * n * s``
    n       training images          B   budget in seconds
    S       seconds of the search: what the reserve for finals (at most ``RESERVE`` of B) and the export leave

With a budget of trials alone nothing here is measured: the plan follows from the number of images, so that a search
killed and resumed, or run on another day, trains the same final weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from estimators.cost.seconds import Interval
from estimators.estimator import Fidelity
from nas.scheduler import Spacing

FEW, MANY = 512, 2_048  # images that an epoch of the default design is timed on
RESERVE = 0.4  # share of the budget kept for final trainings (decision 10 of the design: at most 40 %)
CLOSING = 0.02, 12.0  # share of the budget and least seconds kept for export, verification and the test
TOP_RUNGS = 13  # full evaluations of the default design that the search has time for
LADDER = (1, 3, 9)
FINER = 1.5  # between rungs of a fine ladder
EVEN_RUNGS = 10  # of a ladder of equal steps, where the full training has so many epochs
MARGIN = 0.85  # share of its time that a final training is planned to need
FINAL_EPOCHS = 40  # least epochs of each final training when there is more than one
MOST_EPOCHS, MOST_FINALS = 120, 3
LATE = 2.0  # how many times the upper end of its predicted seconds an evaluation may take


@dataclass(frozen=True)
class Cost:
    """Seconds of an epoch of the default design: ``fixed + each * images``, from measurements on so many images.

    Runs of before do not have ``measured``.
    """

    fixed: float
    each: float
    measured: tuple[int, ...] = ()

    @classmethod
    def of(cls, row: Sequence[float]) -> "Cost":
        """Read what ``row`` returned."""
        return cls(row[0], row[1], tuple(int(count) for count in row[2:]))

    def row(self) -> tuple[float, ...]:
        """Return plain numbers, for the settings of a run."""
        return (self.fixed, self.each, *self.measured)

    def seconds(self, images: float, epochs: int = 1) -> float:
        """Return the seconds of ``epochs`` passes over ``images`` images."""
        return epochs * (self.fixed + self.each * images)

    @classmethod
    def fit(cls, few: tuple[int, float], many: tuple[int, float]) -> "Cost":
        """Return the line through two measurements (images, seconds), with no negative part."""
        each = max((many[1] - few[1]) / (many[0] - few[0]), 0.25 * many[1] / many[0])
        return cls(max(many[1] - each * many[0], 0.0), each, (few[0], many[0]))


@dataclass(frozen=True)
class Finals:
    """The final trainings: trial numbers, best first, and the epochs of each."""

    trials: tuple[int, ...]
    epochs: int

    def steps(self) -> list[int]:
        """Return the epochs at which a final training is stored, so that a kill costs a part of it only."""
        pieces = max(1, min(6, self.epochs // 2))
        return [math.ceil(self.epochs * (piece + 1) / pieces) for piece in range(pieces)]


def closing_seconds(budget: float) -> float:
    """Return the seconds kept for export, verification and the test, at most a tenth of a small budget."""
    share, least = CLOSING
    return min(max(share * budget, least), 0.15 * budget)


def search_seconds(budget: float, cost: Cost | None = None, images: int = 0) -> float:
    """Return S, the active seconds at which the search stops.

    Where what would be kept for finals holds not one pass of the default design over its ``images``, at the ``cost`` of
    an epoch, there will be no final: the search has that time too.
    """
    usable = budget - closing_seconds(budget)
    if cost is not None and MARGIN * RESERVE * usable < cost.seconds(images):
        return usable
    return (1 - RESERVE) * usable


def search_end(began: float, budget: float, cost: Cost | None, images: int) -> float:
    """Return the active seconds of a run at which its search stops that began, or went on anew, at ``began``."""
    return began + search_seconds(budget - began, cost, images)


def timed_ladder(cost: Cost, images: int, seconds: float) -> tuple[Fidelity, ...]:
    """Return fidelities 1 : 3 : 9 such that the default design reaches the last one ``TOP_RUNGS`` times in ``seconds``.

    The share of the data is cut first, the epochs never below 1, 3, 9; with all of the data the epochs grow.
    A ``ValueError`` says what budget is needed, if not even a twentieth of the data can be passed over.
    """
    top = seconds / TOP_RUNGS
    share = (top / LADDER[-1] - cost.fixed) / (cost.each * images)
    if share >= 1:
        factor = max(1, min(MOST_EPOCHS // LADDER[-1], int(top / cost.seconds(images, LADDER[-1]))))
        return tuple(Fidelity(factor * epochs) for epochs in LADDER)
    least = max(0.05, min(1.0, 200 / images))
    if share >= least:
        return tuple(Fidelity(epochs, round(share, 3)) for epochs in LADDER)
    for count in (3, 1):  # a small budget: the same share, fewer passes
        if cost.seconds(least * images, count) <= seconds / 3:
            return tuple(Fidelity(epochs, round(least, 3)) for epochs in LADDER if epochs <= count)
    needed = 3 * cost.seconds(least * images) / (1 - RESERVE) + CLOSING[1]
    raise ValueError(
        f"the budget leaves {seconds:.1f} s to search, too little to train one model: a pass of the default design on "
        f"{least:.0%} of the images takes {cost.seconds(least * images):.1f} s here; give at least {math.ceil(needed)}s"
    )


def counted_ladder(images: int) -> tuple[Fidelity, ...]:
    """Return the fidelities of a search with a budget of trials alone."""
    factor = 1 if images >= 20_000 else 2 if images >= 4_000 else 4
    share = round(min(1.0, 20_000 / images), 3)
    return tuple(Fidelity(factor * epochs, share) for epochs in LADDER)


def spaced(ladder: Sequence[Fidelity], spacing: Spacing) -> tuple[Fidelity, ...]:
    """Return ``ladder``, or other whole epochs on the way to its last rung.

    "even" are ``EVEN_RUNGS`` equal steps, of a training of fewer epochs each epoch; "fine" begins with one epoch, and
    each rung has half as many again: 1, 2, 3, 5, 8, 12, ...
    """
    if spacing == "geometric":
        return tuple(ladder)
    top = ladder[-1]
    epochs = _even(top.epochs) if spacing == "even" else _fine(top.epochs)
    return tuple(replace(top, epochs=count) for count in epochs)


def _even(top: int) -> list[int]:
    count = min(EVEN_RUNGS, top)
    return [round(top * (rung + 1) / count) for rung in range(count)]


def _fine(top: int) -> list[int]:
    epochs = [1]
    while (after := max(epochs[-1] + 1, math.floor(FINER * epochs[-1] + 0.5))) * math.sqrt(FINER) < top:
        epochs.append(after)
    return [*epochs, top] if top > 1 else epochs


def counted_finals(trials: Sequence[int], images: int) -> Finals:
    """Return the final trainings of a search with a budget of trials alone."""
    return Finals(tuple(trials[:MOST_FINALS]), 30 if images >= 20_000 else 50)


def timed_finals(
    trials: Sequence[int], epoch_seconds: Sequence[float], seconds: float, slots: int = 1
) -> Finals | None:
    """Return the final trainings that fit into ``seconds``, ``slots`` at a time; None when not one epoch does.

    ``epoch_seconds`` are measured, full-data, one per trial. One long training is better than several short ones:
    there are more only while each has ``FINAL_EPOCHS``.
    """
    usable = MARGIN * seconds
    for count in range(min(MOST_FINALS, len(trials)), 0, -1):
        epochs = min(MOST_EPOCHS, int(usable / _makespan(epoch_seconds[:count], slots)))
        if epochs >= FINAL_EPOCHS or (count == 1 and epochs >= 1):
            return Finals(tuple(trials[:count]), epochs)
    return None


def _makespan(seconds: Sequence[float], slots: int) -> float:
    """Return when the last of trainings of so many ``seconds`` ends, each begun in order by the first free worker."""
    ends = [0.0] * slots
    for one in seconds:
        ends[ends.index(min(ends))] += one
    return max(ends)


def step_limit(predicted: Interval) -> float:
    """Return the seconds an evaluation that is ``predicted`` to take so long may take before it is ended."""
    return LATE * predicted.high + 5.0
