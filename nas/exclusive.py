"""Latency in a search: predicted from a table of ops before anything is trained, measured alone in the end.

Measured beside other work a latency is that of the contention. So while a search runs the metric ``latency`` is free,
as parameters are: constraints on it hold before a design is trained. The finals measure it after their training, and
the front is measured by itself before it is reported.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np

from estimators.cost.table import Fit, OpTable, fitted, processor
from nas.folder import Settings
from nas.trial import Constraint, Trial
from search_spaces.architecture import Design, SearchSpace
from search_spaces.space import Configuration

PROBES = 8  # random designs that the table is fitted on, beside the default one
DRAWS = 200  # draws to find them in
MOST_FRONT = 32  # designs of the front that are measured
BEYOND = 1.0  # milliseconds by which what breaks the bound is said to break it

Known = Callable[[Configuration], Mapping[str, float]]


def bound_on_latency(settings: Settings) -> float:
    """Return the milliseconds that constraints allow; infinity where none does."""
    bounds = [Constraint.parse(text) for text in settings.constraints]
    return min((one.bound for one in bounds if one.name == "latency" and one.upper), default=math.inf)


def predicts_latency(settings: Settings) -> bool:
    """Return whether an objective or a constraint names the latency."""
    return "latency" in (
        *settings.objectives,
        *(Constraint.parse(text).name for text in settings.constraints),
    )


class Latencies:
    """What is ``known`` of a configuration of ``search_space``, and its latency, predicted from ``table``.

    Of a network that breaks the ``bound`` (milliseconds) only as many ops are timed as it takes to know that: a bound
    that nothing holds is soon found out.
    """

    def __init__(
        self,
        search_space: SearchSpace,
        known: Known,
        table: OpTable,
        *,
        seed: int,
        bound: float = math.inf,
    ) -> None:
        self.search_space, self.known, self.table, self.seed, self.bound = (
            search_space,
            known,
            table,
            seed,
            bound,
        )
        self._fit: Fit | None = None

    @property
    def fit(self) -> Fit:
        """What the table leaves out, and its error, from the default design and ``PROBES`` random ones."""
        if self._fit is None:
            self._fit = fitted(self.table, probes(self.search_space, self.seed))
        return self._fit

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Take over what ``about`` said before."""
        names = ("fixed", "node", "scale", "median", "ninetieth", "measured")
        self._fit = Fit(**{name: stored[name] for name in names})

    def about(self) -> dict[str, Any]:
        """Return the fit as plain values, with its relative errors and the machine it holds for."""
        return {**asdict(self.fit), **self.machine()}

    def machine(self) -> dict[str, Any]:
        """Return threads, device and processor that the predictions are for."""
        device = self.table.device
        return {"threads": self.table.threads, "device": str(device), "processor": processor(device)}

    def holds(self, stored: Mapping[str, Any]) -> bool:
        """Return whether what ``about`` said before was of this machine."""
        return all(stored.get(name, value) == value for name, value in self.machine().items())

    def measure(self, config: Configuration) -> dict[str, float]:
        """Return the free metrics of ``config``, and ``latency`` in milliseconds, predicted.

        Beyond the bound it is ``BEYOND`` more than that, however much of the network was timed to know it. A
        ``ValueError`` says that the configuration describes no network; then nothing is timed.
        """
        known, latency = self.known(config), 0.0
        for total in self.table.growing(self.search_space.decode(config)):
            latency = self.fit.milliseconds(total)
            if latency > self.bound:
                latency = self.bound + BEYOND
                break
        return {**known, "latency": latency}

    def alone(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Return the median milliseconds of the first ``MOST_FRONT`` of ``trials``, measured now, by number."""
        return {
            str(trial.number): self.table.measure(self.search_space.decode(trial.config)).median
            for trial in trials[:MOST_FRONT]
        }


def probes(search_space: SearchSpace, seed: int) -> list[Design]:
    """Return the default design, if it is one, and up to ``PROBES`` random ones, to fit a table of latencies on.

    A ``ValueError`` says that there are fewer than two.
    """
    space, rng = search_space.space, np.random.default_rng(seed)
    found = []
    for config in chain([space.default()], (space.sample(rng) for _ in range(DRAWS))):
        try:
            design = search_space.decode(config)
            design.measure()
        except ValueError:
            continue
        found.append(design)
        if len(found) > PROBES:
            break
    if len(found) < 2:
        raise ValueError(
            f"latency cannot be predicted: {len(found)} of the default design and {DRAWS} random ones describes a "
            "network, and it takes 2; narrow the space, or leave the latency out"
        )
    return found
