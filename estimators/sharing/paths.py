"""Which candidates a step of a supernet's training takes.

fair       draws in which every option of every choice comes up equally often (Chu et al. 2021, FairNAS), or "random"
sandwich   the largest design, the smallest and draws in each step; all but the largest learn from its predictions
           (Yu et al. 2020, BigNAS, section 3)
shrink     the share of the training in which ordered ranges open, from their largest values down (Cai et al. 2020)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.architecture import Design, SearchSpace
from search_spaces.configuration import Configuration, Value
from search_spaces.decks import Decks, Uses, end
from search_spaces.registry import nearest

PATHS = 121  # purpose of counted randomness
SAMPLING = ("fair", "random")
HELD = 30  # draws with one option for one that may be trained
SHRUNK = 8  # draws within a bound of which the largest is taken while no range is open
POOL, LARGEST = 48, 3  # draws within a bound, and how many of them are its upper end
TRIES = 300  # draws for one that may be trained, and then of the smallest ones


@dataclass(frozen=True)
class Paths:
    """Which candidates a step takes: ``each`` of them drawn, two more with ``sandwich``.

    ``sampling`` is "fair" or "random". Ordered ranges open during the first ``shrink`` of the training; while they do,
    draws are fair. Draws of more than ``macs`` multiply-accumulates for an image are thrown away, where that is given:
    what a search may not propose need not be learned, and would cost the most. Fair draws then begin with the option
    that is furthest behind, so that one which seldom fits is learned nearly as well as the others. The upper end of a
    sandwich is then among the largest designs within the bound, and ranges open by what is the largest of some draws.
    ``only`` is a path and the values that it may have: one group of a split.
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
        bounded, self.opened = paths.macs is not None, opened
        self.decks = Decks(space.space, rng, opened=1.0 if bounded else opened)
        self.fair = paths.sampling == "fair" or opened < 1
        self.uses = Uses(space.space, "architecture", paths.only) if bounded and self.fair else None
        self._parents = {slot.path: [path for path, _ in slot.conditions] for slot in space.space.slots}
        self._forbidden: set[tuple[str, Value]] = set()
        self._large: list[Design] = []

    def one(self) -> Design:
        """Return a design within the bound; while ranges open, the largest of some."""
        if self.uses is None:
            return self._first(self._drawn, self._small)
        found = [
            self._with_the_rarest(self.uses) or self._first(self._drawn, self._small)
            for _ in range(1 + round((1 - self.opened) * (SHRUNK - 1)))
        ]
        design = max(found, key=lambda one: one.macs)
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

    def _drawn(self) -> Configuration | None:
        return self._grouped(self.decks.draw() if self.fair else self.space.space.sample(self.rng))

    def _small(self) -> Configuration | None:
        return self._end(largest=False)

    def _end(self, *, largest: bool) -> Configuration | None:
        return self._grouped(end(self.space.space, self.decks, largest=largest))

    def _with_the_rarest(self, uses: Uses) -> Design | None:
        """Return a design within the bound that has the option which is furthest behind, or None.

        One that neither ``HELD`` draws nor the smallest designs have within it is dropped.
        """
        base = self._drawn()
        rare = None if base is None else uses.rarest(base)
        if base is None or rare is None:
            return None
        path, value = rare
        opening = {parent: base[parent] for parent in self._parents[path]}
        for source, count in ((self._drawn, HELD), (self._small, 3)):
            for _ in range(count):
                config = self._with({**(source() or base), **opening}, path, value)
                design = self._design(None if config is None else self._grouped(config))
                if design is not None and self._fits(design) and design.config.get(path) == value:
                    return design
        uses.drop(path, value)
        return None

    def _grouped(self, config: Configuration) -> Configuration | None:
        """Return ``config`` with one of the values that ``only`` leaves, or None where constraints allow none."""
        if self.paths.only is None or config.get(self.paths.only[0]) in (None, *self.paths.only[1]):
            return config
        path, values = self.paths.only
        tried = (self._with(config, path, values[at]) for at in self.rng.permutation(len(values)))
        return next((found for found in tried if found is not None), None)

    def _with(self, config: Mapping[str, Value], path: str, value: Value) -> Configuration | None:
        """Return ``config`` with this value, or None where no configuration that has it holds the constraints.

        Those are remembered: to find that nothing holds takes long.
        """
        fixed = {path: value}
        if (path, value) in self._forbidden:
            return None
        try:
            return self.space.space.complete({**config, **fixed}, self.rng, fixed=fixed)
        except ValueError:
            self._forbidden.add((path, value))
            return None

    def _fits(self, design: Design) -> bool:
        return self.paths.macs is None or design.macs <= self.paths.macs

    def _design(self, config: Configuration | None) -> Design | None:
        return None if config is None else decoded(self.space, config)

    def _first(self, *sources: Callable[[], Configuration | None], bound: bool = True) -> Design:
        """Return the first valid design within the bound that the first of ``sources`` gives, then the next."""
        for source in sources:
            for _ in range(TRIES):
                design = self._design(source())
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
