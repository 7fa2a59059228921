"""What the user believes: a guess for a parameter, and how sure they are of it.

A prior is a density over the unit interval of its parameter, relative to drawing uniformly:

    pi(u) = c * peak(u) + (1 - c)

so that it never excludes anything (Mallik et al. 2023, PriorBand, mix with the uniform for the same reason). Its say
fades as results come in (Hvarfner et al. 2022, piBO: an exponent beta / n).

Notation
    u   a parameter's place in [0, 1]      c   confidence      s   deviation of the peak, SPREAD * (1 - c) in units of u
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search_spaces.space import Choice, Configuration, Parameter, Space, Value

SPREAD = 0.25  # deviation of the peak of a guess that is hardly believed, as a share of the range
NARROWEST = 0.02  # and the least one


@dataclass(frozen=True)
class Prior:
    """A guess ``value`` with a ``confidence`` between 0 and 1, both excluded.

    Of a number or an ordered choice neighbours of the guess are likely too, the fewer the surer it is; of an unordered
    choice only the guess is. ``1 - confidence`` is left to all values alike.
    """

    value: Value
    confidence: float = 0.5

    def __post_init__(self) -> None:
        number = isinstance(self.confidence, int | float) and not isinstance(self.confidence, bool)
        if not number or not 0 < self.confidence < 1:
            raise ValueError(
                f"Prior: confidence={self.confidence!r}; give a number between 0 and 1, for example 0.5 "
                "(a value that is certain is no parameter)"
            )

    @property
    def deviation(self) -> float:
        """s, the deviation of the peak."""
        return max(SPREAD * (1 - self.confidence), NARROWEST)

    def draw(self, parameter: Parameter, rng: np.random.Generator) -> Value:
        """Draw a value from the peak alone."""
        if _unordered(parameter):
            return self.value
        while not 0 <= (unit := parameter.unit(self.value) + self.deviation * rng.standard_normal()) <= 1:
            pass
        return parameter.value(unit)

    def density(self, parameter: Parameter, value: Value) -> float:
        """Return pi at ``value``: 1 is as likely as in a uniform draw; never below 1 - c."""
        return self.confidence * self._peak(parameter, value) + 1 - self.confidence

    def _peak(self, parameter: Parameter, value: Value) -> float:
        begin, end = parameter.bin(value)
        if _unordered(parameter):
            same = type(value) is type(self.value) and value == self.value
            return 1 / (end - begin) if same else 0.0
        middle, s = parameter.unit(self.value), self.deviation
        mass = _normal((1 - middle) / s) - _normal(-middle / s)
        if end > begin:
            return (_normal((end - middle) / s) - _normal((begin - middle) / s)) / (mass * (end - begin))
        return math.exp(-0.5 * ((begin - middle) / s) ** 2) / (math.sqrt(2 * math.pi) * s * mass)


def _unordered(parameter: Parameter) -> bool:
    return isinstance(parameter, Choice) and not parameter.ordered


def _normal(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def checked_priors(space: Space, priors: Mapping[str, Prior]) -> dict[str, Prior]:
    """Return ``priors``, or raise a ``ValueError`` that names the path whose prior does not fit ``space``."""
    for path, prior in priors.items():
        if not isinstance(prior, Prior):
            raise ValueError(
                f"priors: {path!r} has {prior!r}; give a Prior, for example Prior({prior!r}, confidence=0.5)"
            )
        if problem := space.parameter(path).problem(prior.value):
            raise ValueError(f"priors: parameter {path!r}: {problem}; guess a value it can have")
    return dict(priors)


def log_density(space: Space, priors: Mapping[str, Prior], config: Mapping[str, Value]) -> float:
    """Return the summed log density of the priors of the active parameters; 0 is as likely as in a uniform draw."""
    return sum(
        math.log(prior.density(space.parameter(path), config[path]))
        for path, prior in priors.items()
        if path in config
    )


def draw(space: Space, priors: Mapping[str, Prior], rng: np.random.Generator) -> Configuration:
    """Draw a configuration from the priors, uniformly where there is none."""
    guessed = {
        path: prior.draw(space.parameter(path), rng)
        for path, prior in priors.items()
        if rng.random() < prior.confidence
    }
    return space.complete(guessed, rng)


def mode(space: Space, priors: Mapping[str, Prior]) -> Configuration:
    """Return the likeliest configuration: every guess that is active, defaults elsewhere."""
    return space.default({path: prior.value for path, prior in priors.items()})


def agreement(believed: np.ndarray, ranks: np.ndarray) -> float:
    """Return in which share of the pairs the trial that the priors favour is the better one; 0.5 without pairs.

    ``believed`` are ``(n,)`` log densities and ``ranks`` ``(n,)`` places, less is better. Ties count nothing.
    """
    favoured = believed[:, None] > believed[None, :]
    right = int((favoured & (ranks[:, None] < ranks[None, :])).sum())
    wrong = int((favoured & (ranks[:, None] > ranks[None, :])).sum())
    return right / (right + wrong) if right + wrong else 0.5
