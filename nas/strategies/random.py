"""Random search: the baseline that every other strategy has to beat."""

from collections.abc import Sequence

import numpy as np

from nas.strategy import Exhausted, Strategy, strategies
from nas.trial import Trial
from search_spaces.space import Configuration


@strategies.register("random")
class Random(Strategy):
    """Draws uniformly in the unit cube, never a design twice (Bergstra and Bengio 2012)."""

    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        return self.problem.space.sample(rng)
