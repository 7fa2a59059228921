"""Mutation, crossover and selection on any space, conditional ones included.

Every operator makes a partial assignment and ends in ``Space.complete``: what still fits is kept, what a changed
choice has newly opened is drawn, and the linear constraints of the space hold. Numbers are varied in the unit interval,
so that logarithmic ranges are varied by factors.
"""

from nas.operators.crossover import (
    CROSSOVERS,
    Crossover,
    blend_crossover,
    simulated_binary_crossover,
    two_point_crossover,
    uniform_crossover,
)
from nas.operators.mutation import (
    MUTATIONS,
    Mutation,
    gaussian_mutation,
    mutate,
    ordered,
    place_of,
    polynomial_mutation,
    reset_mutation,
    settled,
    value_at,
)
from nas.operators.perturbation import perturbed
from nas.operators.selection import best_first, crowding, fronts, tournament

__all__ = [
    "CROSSOVERS",
    "MUTATIONS",
    "Crossover",
    "Mutation",
    "best_first",
    "blend_crossover",
    "crowding",
    "fronts",
    "gaussian_mutation",
    "mutate",
    "ordered",
    "perturbed",
    "place_of",
    "polynomial_mutation",
    "reset_mutation",
    "settled",
    "simulated_binary_crossover",
    "tournament",
    "two_point_crossover",
    "uniform_crossover",
    "value_at",
]
