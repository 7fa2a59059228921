"""Which candidates a step of a supernet's training takes.

fair       draws in which every option of every choice comes up equally often (Chu et al. 2021, FairNAS), or "random"
sandwich   the largest design, the smallest and draws in each step; all but the largest learn from its predictions
           (Yu et al. 2020, BigNAS, section 3)
shrink     the share of the training in which ordered ranges open, from their largest values down (Cai et al. 2020)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.architecture import Design, SearchSpace
from search_spaces.configuration import Configuration
from search_spaces.decks import Decks, end
from search_spaces.registry import nearest

PATHS = 121  # purpose of counted randomness
SAMPLING = ("fair", "random")


@dataclass(frozen=True)
class Paths:
    """Which candidates a step takes: ``each`` of them drawn, two more with ``sandwich``.

    ``sampling`` is "fair" or "random". Ordered ranges open during the first ``shrink`` of the training.
    """

    each: int = 1
    sampling: str = "fair"
    sandwich: bool = False
    shrink: float = 0.0

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLING:
            raise ValueError(
                f"sampling={self.sampling!r} is not known; {nearest(self.sampling, list(SAMPLING))}"
            )
        if self.each < 1 or not 0 <= self.shrink <= 1:
            raise ValueError(f"{self!r}: each must be 1 or more, shrink in [0, 1]")

    def draws(
        self,
        space: SearchSpace,
        seed: int,
        *,
        epoch: int,
        horizon: int,
        preferred: Sequence[Configuration] = (),
    ) -> Iterator[list[Design]]:
        """Yield the candidates of each step of ``epoch``, counted from 1; a step without a valid one is left out.

        Every second draw is one of ``preferred``, if there are any. Recipes are those of the draws; none is used.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, PATHS)))
        reached = (epoch - 1) / horizon
        opened = min(1.0, reached / self.shrink) if self.shrink else 1.0
        decks = Decks(space.space, rng, opened=opened)
        turns = 0
        while True:
            step = [end(space.space, decks, largest=True)] if self.sandwich else []
            for _ in range(self.each):
                turns += 1
                if preferred and turns % 2:
                    step.append(preferred[int(rng.integers(len(preferred)))])
                elif self.sampling == "fair" or opened < 1:
                    step.append(decks.draw())
                else:
                    step.append(space.space.sample(rng))
            if self.sandwich:
                step.append(end(space.space, decks, largest=False))
            designs = [design for config in step if (design := decoded(space, config)) is not None]
            if designs:
                yield designs


def decoded(space: SearchSpace, config: Configuration) -> Design | None:
    """Return the design of ``config`` for images as they are, or None where it describes none."""
    recipe = {
        path: value for path, value in config.items() if not path.startswith(("recipe.side", "recipe.colour"))
    }
    try:
        design = space.decode(Configuration(recipe))
    except ValueError:
        return None
    return design if design.graph is None or design.graph.reached else None
