"""Which candidates a step of a supernet's training takes.

fair       draws in which every option of every choice comes up equally often (Chu et al. 2021, FairNAS), or "random"
sandwich   the largest design, the smallest and draws in each step; all but the largest learn from its predictions
           (Yu et al. 2020, BigNAS, section 3)
shrink     the share of the training in which ordered ranges open, from their largest values down (Cai et al. 2020)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.architecture import Design, SearchSpace
from search_spaces.configuration import Configuration, Value
from search_spaces.decks import Decks, Uses, end
from search_spaces.registry import nearest

PATHS = 121  # purpose of counted randomness
SAMPLING = ("fair", "random")
HELD = 30  # draws with one option for one that may be trained
POOL, LARGEST = 48, 3  # draws within a bound, and how many of them are its upper end
TRIES = 300  # draws for one that may be trained, and then of the smallest ones


@dataclass(frozen=True)
class Paths:
    """Which candidates a step takes: ``each`` of them drawn, two more with ``sandwich``.

    ``sampling`` is "fair" or "random". Ordered ranges open during the first ``shrink`` of the training; while they do,
    draws are fair. Draws of more than ``macs`` multiply-accumulates for an image are thrown away, where that is given:
    what a search may not propose need not be learned, and would cost the most. Fair draws then begin with the option
    that is furthest behind, so that one which seldom fits is learned as well as the others. The upper end of a sandwich
    is then among the largest designs within the bound. ``only`` is a path and the values that it may
    have: one group of a split.
    """

    each: int = 1
    sampling: str = "fair"
    sandwich: bool = False
    shrink: float = 0.0
    macs: float | None = None
    only: tuple[str, tuple[Value, ...]] | None = None

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
        """Yield the candidates of each step of ``epoch``, counted from 1.

        Every second draw is one of ``preferred``, if there are any. Recipes are those of the draws; none is used. A
        ``ValueError`` says that nothing small enough was found.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, PATHS)))
        reached = (epoch - 1) / horizon
        source = _Draws(self, space, rng, min(1.0, reached / self.shrink) if self.shrink else 1.0)
        turns = 0
        while True:
            step = [source.largest()] if self.sandwich else []
            for _ in range(self.each):
                turns += 1
                step.append(source.preferred(preferred) if preferred and turns % 2 else source.one())
            if self.sandwich:
                step.append(source.smallest())
            yield step


class _Draws:
    """The designs of one epoch by ``paths``; ``opened`` says how far ordered ranges are open."""

    def __init__(self, paths: Paths, space: SearchSpace, rng: np.random.Generator, opened: float) -> None:
        self.paths, self.space, self.rng = paths, space, rng
        self.decks = Decks(space.space, rng, opened=opened)
        self.fair = paths.sampling == "fair" or opened < 1
        even = self.fair and opened == 1 and paths.macs is not None
        self.uses = Uses(space.space, "architecture") if even else None
        self._large: list[Design] = []

    def one(self) -> Design:
        """Return a design within the bound."""
        if self.uses is None:
            return self._first(self._drawn, self._small)
        design = self._with_the_rarest(self.uses) or self._first(self._drawn, self._small)
        self.uses.add(design.config)
        return design

    def preferred(self, configs: Sequence[Configuration]) -> Design:
        """Return one of ``configs``."""
        return self._first(lambda: configs[int(self.rng.integers(len(configs)))], bound=False)

    def largest(self) -> Design:
        """Return a design at the upper end of the space: with a bound, one of the largest of ``POOL`` within it."""
        if self.paths.macs is None:
            return self._first(lambda: self._end(largest=True))
        if not self._large:
            pool = [self.one() for _ in range(POOL)]
            self._large = sorted(pool, key=lambda design: -design.macs)[:LARGEST]
        return self._large[int(self.rng.integers(len(self._large)))]

    def smallest(self) -> Design:
        """Return a design at the lower end of the space."""
        return self._first(self._small)

    def _drawn(self) -> Configuration:
        return self._grouped(self.decks.draw() if self.fair else self.space.space.sample(self.rng))

    def _small(self) -> Configuration:
        return self._end(largest=False)

    def _end(self, *, largest: bool) -> Configuration:
        return self._grouped(end(self.space.space, self.decks, largest=largest))

    def _with_the_rarest(self, uses: Uses) -> Design | None:
        """Return a design within the bound that has the option which is furthest behind, or None.

        One that no draw of ``HELD`` has within it is dropped.
        """
        rare = uses.rarest(self._drawn())
        if rare is None:
            return None
        fixed = dict([rare])
        for _ in range(HELD):
            config = self.space.space.complete({**self.decks.draw(), **fixed}, self.rng, fixed=fixed)
            design = decoded(self.space, self._grouped(config))
            if design is not None and self._fits(design) and design.config.get(rare[0]) == rare[1]:
                return design
        uses.drop(*rare)
        return None

    def _grouped(self, config: Configuration) -> Configuration:
        """Return ``config`` with one of the values that ``only`` leaves, where it has another."""
        if self.paths.only is None or config.get(self.paths.only[0]) in (None, *self.paths.only[1]):
            return config
        path, values = self.paths.only
        fixed = {path: values[int(self.rng.integers(len(values)))]}
        return self.space.space.complete({**config, **fixed}, self.rng, fixed=fixed)

    def _fits(self, design: Design) -> bool:
        return self.paths.macs is None or design.macs <= self.paths.macs

    def _first(self, *sources: Callable[[], Configuration], bound: bool = True) -> Design:
        """Return the first valid design within the bound that the first of ``sources`` gives, then the next."""
        for source in sources:
            for _ in range(TRIES):
                design = decoded(self.space, source())
                if design is not None and (not bound or self._fits(design)):
                    return design
        macs = self.paths.macs if bound else None
        told = "" if macs is None else f" and has at most {macs:g} multiply-accumulates"
        raise ValueError(f"none of {TRIES} designs is valid{told}; loosen the bound, or widen the space")


def decoded(space: SearchSpace, config: Configuration) -> Design | None:
    """Return the design of ``config`` for images as they are, or None where it describes none."""
    recipe = ("recipe.side", "recipe.colour")
    own = {path: value for path, value in config.items() if not path.startswith(recipe)}
    try:
        design = space.decode(Configuration(own))
    except ValueError:
        return None
    return design if design.graph is None or design.graph.reached else None
