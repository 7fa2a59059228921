"""Designs that a scheduler draws beside its strategy, and how much of them from where (Mallik et al. 2023, PriorBand).

Notation
    r      rung at which a design starts        eta   of the brackets
    p_U, p_prior, p_inc   shares of random designs, draws from the prior, mutations of the incumbent
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from estimators.estimator import Fidelity
from nas.operators.mutation import gaussian_mutation
from nas.prior import Prior
from nas.scheduler import Start
from nas.strategy import Strategy
from search_spaces.space import Configuration, Space, Value

DRAWS: Final = 64  # in search of a design that is new and feasible
RATE: Final = 0.5  # of the parameters of an incumbent that a mutation moves (section 4.2)

Draw = Callable[[np.random.Generator], Configuration]


def drawn(
    strategy: Strategy, draw: Draw, rng: np.random.Generator, fidelity: Fidelity, server: str
) -> Start | None:
    """Return a start of the first new feasible design that ``draw`` gives, in the name of ``server``.

    None where there is none, and where something is enqueued: the strategy takes that first.
    """
    if strategy.taken < len(strategy.queue):
        return None
    for _ in range(DRAWS):
        if strategy.accepts(config := draw(rng)):
            strategy.server = server
            return Start(config, fidelity)
    return None


def mutant(space: Space, incumbent: Configuration, rng: np.random.Generator) -> Configuration:
    """Return ``incumbent`` with each parameter moved with probability ``RATE``: numbers a little, others anyhow."""
    return gaussian_mutation(space, incumbent, rng, count=int(rng.binomial(len(incumbent), RATE)))


def priors_at(config: Mapping[str, Value], known: Mapping[str, Prior]) -> dict[str, Prior]:
    """Return a peak at every value of ``config``, as sure as the prior ``known`` of that parameter, if there is one."""
    return {
        path: Prior(value, known[path].confidence) if path in known else Prior(value)
        for path, value in config.items()
    }


def shares(rung: int, eta: int, favour: float | None) -> tuple[float, float, float]:
    """Return p_U, p_prior and p_inc at ``rung``, where ``favour`` is the incumbent's part of trust; None is not yet.

    Random designs and draws from the prior are as likely at the bottom, and the prior is eta times more so with each
    rung above (section 4.1); later the incumbent takes a part of what the prior has (section 4.3).
    """
    uniform = 1 / (1 + eta**rung)
    incumbent = (1 - uniform) * (favour or 0.0)
    return uniform, 1 - uniform - incumbent, incumbent


def favour(by_prior: Sequence[float], by_incumbent: Sequence[float]) -> float:
    """Return which part of the trust the incumbent earns, in [0, 1].

    Both are log densities of the best trials, best first: those around the incumbent, and those of the prior. The first
    of k trials weighs k, the last one 1 (section 4.3).
    """
    densities = np.array([by_prior, by_incumbent], float)
    weights = np.arange(densities.shape[1], 0, -1)
    prior, incumbent = (np.exp(densities - densities.max()) * weights).sum(axis=1)
    return float(incumbent / (prior + incumbent))
