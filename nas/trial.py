"""What passes between strategy, scheduler, storage and tracker: frozen plain data, no behaviour that costs anything.

Notation
    step      one evaluation of a trial, from one fidelity to the next
    start     the act of beginning a new design; ``--trials N`` counts starts
"""

import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any

from estimators.estimator import Fidelity
from estimators.metric import METRICS, Metric
from nas.prior import Prior, log_density
from search_spaces.registry import nearest
from search_spaces.space import Configuration, Space

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Objective:
    """A metric to optimise. A known metric brings its own direction; any other name is minimised by default."""

    name: str
    maximize: bool = False

    def __init__(self, name: str, *, maximize: bool | None = None) -> None:
        known = METRICS.get(name, Metric(name))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "maximize", known.maximize if maximize is None else maximize)

    def loss(self, value: float) -> float:
        """Return ``value`` turned so that less is better."""
        return -value if self.maximize else value


@dataclass(frozen=True)
class Constraint:
    """``metric <= bound`` or ``metric >= bound``, read from text such as ``"params<=1e6"``."""

    name: str
    bound: float
    upper: bool

    @classmethod
    def parse(cls, text: str, *, own: bool = False) -> "Constraint":
        """Read a constraint; a malformed one is a ``ValueError`` that shows the form.

        It must name a known metric, unless ``own``: then any that the user tells.
        """
        match = re.fullmatch(r"\s*([^\s<>=]+)\s*(<=|>=)\s*([-+0-9.eE_]+)\s*", text)
        try:
            bound = float(match[3]) if match else None
        except ValueError:
            bound = None
        if match is None or bound is None:
            raise ValueError(
                f"constraint {text!r}: write METRIC<=NUMBER or METRIC>=NUMBER, for example 'params<=1e6'"
            )
        if match[1] not in METRICS and not own:
            raise ValueError(
                f"constraint {text!r}: no metric {match[1]!r}; {nearest(match[1], list(METRICS))}"
            )
        if match[1] not in METRICS:
            return cls(match[1], bound, match[2] == "<=")
        upper, most = match[2] == "<=", METRICS[match[1]].most
        if bound < 0 if upper else bound > most:
            raise ValueError(
                f"constraint {text!r} can never hold: {match[1]} is never "
                + ("below 0; give a bound from 0 up" if upper else f"above {most:g}; give at most {most:g}")
            )
        return cls(match[1], bound, upper)

    def violation(self, metrics: Metrics) -> float:
        """Return how far ``metrics`` are beyond the bound, relative to it; 0 when satisfied or not yet known.

        NaN is not satisfied: it is infinitely far.
        """
        margin = self.margin(metrics)
        if math.isnan(margin) and self.name in metrics:
            return math.inf
        return margin if margin > 0 else 0.0

    def margin(self, metrics: Metrics) -> float:
        """Return how far ``metrics`` are beyond the bound, relative to it: negative inside, NaN when not yet known."""
        if self.name not in metrics:
            return math.nan
        excess = metrics[self.name] - self.bound if self.upper else self.bound - metrics[self.name]
        return excess / max(abs(self.bound), 1e-12)

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.upper else '>='}{self.bound:g}"


@dataclass(frozen=True)
class Step:
    """One evaluation of a trial, from fidelity ``start`` (epochs; 0 is fresh) to ``fidelity``. Never changes once done.

    ``index`` counts the steps of the study in the order in which they were asked for. ``folds`` holds the metrics of
    each fold of a cross-validation, or its error in their place; ``metrics`` are then means over those that succeeded.
    ``told`` is how many results of the study had been told before its own: -1 while it has none.
    """

    index: int
    trial: int
    fidelity: Fidelity
    start: int = 0
    metrics: Metrics = field(default_factory=dict)
    curve: tuple[Metrics, ...] = ()
    seconds: float = 0.0
    checkpoint: str | None = None
    error: str | None = None
    folds: tuple[Metrics | str, ...] = ()
    told: int = -1

    def spread(self, name: str) -> float:
        """Return the sample standard deviation of metric ``name`` over the folds; NaN for fewer than two."""
        values = [fold[name] for fold in self.folds if not isinstance(fold, str) and name in fold]
        return stdev(values) if len(values) > 1 else math.nan


@dataclass(frozen=True)
class Trial:
    """A configuration and a replicate. ``lineage`` is the number of the trial it descends from, itself if none.

    A fork began from the weights of ``parent`` and took the place of the trial ``replaces``; the parent of a repeat is
    the trial that it repeats.

    ``known`` counts the results that were told when it was asked for: what was asked for before it and told later was
    then in flight.
    ``free`` holds the metrics that follow from the design alone (params, macs, size). ``steps`` are finished,
    ``asked`` is the one in flight. ``server`` names the strategy that proposed it, where one strategy asks others.
    """

    number: int
    config: Configuration
    replicate: int = 0
    parent: int | None = None
    lineage: int = -1
    key: str = ""
    known: int = 0
    free: Metrics = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    asked: Step | None = None
    server: str = ""
    replaces: int | None = None

    @property
    def fork(self) -> bool:
        """Whether its training began from the weights of another trial."""
        return self.parent is not None and self.replicate == 0

    @property
    def last(self) -> Step | None:
        """The newest finished step."""
        return self.steps[-1] if self.steps else None

    @property
    def trained(self) -> Step | None:
        """The newest step that succeeded and left a checkpoint."""
        return next((step for step in reversed(self.steps) if step.error is None and step.checkpoint), None)

    @property
    def failed(self) -> bool:
        """Whether the newest step ended in an error."""
        return self.last is not None and self.last.error is not None

    @property
    def metrics(self) -> Metrics:
        """Free metrics and those of the newest step that succeeded."""
        done = [step.metrics for step in self.steps if step.error is None]
        return {**self.free, **(done[-1] if done else {})}

    @property
    def seconds(self) -> float:
        """Seconds spent on all steps."""
        return sum(step.seconds for step in self.steps)


@dataclass(frozen=True)
class Budget:
    """An end: starts, active wall seconds, or whichever comes first. None is no limit."""

    trials: int | None = None
    seconds: float | None = None

    @staticmethod
    def parse_seconds(text: str | float) -> float:
        """Read ``90``, ``"90s"``, ``"30m"``, ``"1.5h"`` or ``"1h30m"`` as seconds; else a ``ValueError``."""
        units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
        if isinstance(text, str) and re.fullmatch(r"(\d+(\.\d+)?[dhms])+", text):
            seconds = sum(
                float(number) * units[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([dhms])", text)
            )
        else:
            try:
                seconds = float(text)
            except ValueError:
                seconds = -1.0
        if not 0 < seconds < float("inf"):
            raise ValueError(f"budget {text!r}: write a positive time such as 90s, 30m, 1.5h or 1h30m")
        return seconds


def checked_metrics(metrics: Mapping[str, Any], needed: Sequence[str]) -> tuple[dict[str, float], str | None]:
    """Return ``metrics`` as plain floats, and the error that a needed one is if it is not finite.

    A ``ValueError`` says which is missing, or is no number.
    """
    for name in needed:
        if name not in metrics:
            raise ValueError(
                f"metrics {dict(metrics)!r} lack {name!r}, an objective or constraint; tell it too"
            )
    plain = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise ValueError(f"metric {name!r} is named by no text; tell it as {str(name)!r}")
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"metric {name!r} is {value!r}; tell a number, such as float(...) of it")
        plain[name] = _float(name, value)
    broken = next((name for name in needed if not math.isfinite(plain[name])), None)
    return plain, None if broken is None else f"nan: {broken} is {plain[broken]}"


def _float(name: str, value: numbers.Real) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"metric {name!r} is beyond the largest float; tell a smaller number") from None


def _identity(config: Configuration) -> str:
    return config.id


def _nothing(config: Configuration) -> Metrics:
    return {}


@dataclass(frozen=True)
class Problem:
    """What a strategy searches: a space, what counts as good, and which designs are one and the same.

    ``key(config)`` is equal for configurations that decode to equal designs. ``measure(config)`` returns the free
    metrics; a ``ValueError`` from either means that the configuration decodes to nothing and is not proposed.
    ``timed`` says that the budget is time: a strategy may then weigh what it proposes by stored seconds.
    ``features(config)`` are further numbers that follow from the design, the same names for every configuration, such
    as those of its graph: a surrogate may learn from them beside the configuration. ``priors`` are the user's guesses
    by path.
    """

    space: Space
    objectives: tuple[Objective, ...] = (Objective("loss"),)
    constraints: tuple[Constraint, ...] = ()
    key: Callable[[Configuration], str] = field(default=_identity)
    measure: Callable[[Configuration], Metrics] = field(default=_nothing)
    timed: bool = False
    features: Callable[[Configuration], Mapping[str, float]] | None = None
    priors: Mapping[str, Prior] = field(default_factory=dict)

    @property
    def needed(self) -> tuple[str, ...]:
        """The metrics that every result must have: those that objectives and constraints name."""
        return tuple(
            dict.fromkeys([one.name for one in self.objectives] + [one.name for one in self.constraints])
        )

    def log_prior(self, config: Configuration) -> float:
        """Return the log density of ``config`` under the priors; 0 is as likely as in a uniform draw."""
        return log_density(self.space, self.priors, config)

    def losses(self, metrics: Metrics) -> tuple[float, ...]:
        """Return the objectives of ``metrics`` turned so that less is better."""
        return tuple(objective.loss(metrics[objective.name]) for objective in self.objectives)

    def ranks(self, metrics: Sequence[Metrics]) -> list[int]:
        """Return the rank of each of ``metrics``, 0 the best.

        One objective is compared by its value, several by the sum of the ranks in each; ties by the validation loss,
        where there is one, then by order of appearance. What breaks a constraint comes after all that holds them, by
        how far it breaks them.
        """
        losses = [self.losses(one) for one in metrics]
        sums = [0] * len(losses)
        for column in zip(*losses, strict=True):
            rank = {loss: place for place, loss in enumerate(sorted(set(column)))}
            for place, loss in enumerate(column):
                sums[place] += rank[loss]
        key = [
            (self.violation(one), sums[place], one.get("loss", 0.0), place)
            for place, one in enumerate(metrics)
        ]
        ranks = [0] * len(key)
        for place, index in enumerate(sorted(range(len(key)), key=key.__getitem__)):
            ranks[index] = place
        return ranks

    def violation(self, metrics: Metrics) -> float:
        """Return the summed relative violation of the constraints; 0 is feasible."""
        return sum(constraint.violation(metrics) for constraint in self.constraints)
