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
TRIES = 300  # draws for one that may be trained, and then of the smallest ones


@dataclass(frozen=True)
class Paths:
    """Which candidates a step takes: ``each`` of them drawn, two more with ``sandwich``.

    ``sampling`` is "fair" or "random". Ordered ranges open during the first ``shrink`` of the training; while they do,
    draws are fair. Draws of more than ``macs`` multiply-accumulates for an image are thrown away, where that is given:
    what a search may not propose need not be learned, and would cost the most. Fair draws then begin with the option
    that is furthest behind, so that one which seldom fits is learned as well as the others. The ends of a sandwich are
    what they are. ``only`` is a path and the values that it may
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
        opened = min(1.0, reached / self.shrink) if self.shrink else 1.0
        decks = Decks(space.space, rng, opened=opened)
        fair = self.sampling == "fair" or opened < 1
        uses = Uses(space.space, "architecture") if fair and opened == 1 and self.macs is not None else None

        def drawn() -> Configuration:
            return self._within(space, decks.draw() if fair else space.space.sample(rng), rng)

        def largest() -> Configuration:
            return self._within(space, end(space.space, decks, largest=True), rng)

        def smallest() -> Configuration:
            return self._within(space, end(space.space, decks, largest=False), rng)

        turns = 0
        while True:
            step = [_first(space, largest, None)] if self.sandwich else []
            for _ in range(self.each):
                turns += 1
                if preferred and turns % 2:
                    step.append(_first(space, lambda: preferred[int(rng.integers(len(preferred)))], None))
                else:
                    kept = None if uses is None else self._evened(space, decks, uses, rng)
                    step.append(kept or _first(space, drawn, self.macs, smallest))
                    if uses is not None:
                        uses.add(step[-1].config)
            if self.sandwich:
                step.append(_first(space, smallest, None))
            yield step

    def _evened(
        self, space: SearchSpace, decks: Decks, uses: Uses, rng: np.random.Generator
    ) -> Design | None:
        """Return a design within the bound that has the option which is furthest behind, or None.

        One that no draw of ``HELD`` has within it is dropped.
        """
        assert self.macs is not None
        rare = uses.rarest(self._within(space, decks.draw(), rng))
        for _ in range(HELD if rare else 0):
            assert rare is not None
            config = space.space.complete({**decks.draw(), rare[0]: rare[1]}, rng, fixed=dict([rare]))
            design = decoded(space, self._within(space, config, rng))
            if design is not None and design.macs <= self.macs and design.config.get(rare[0]) == rare[1]:
                return design
        if rare:
            uses.drop(*rare)
        return None

    def _within(self, space: SearchSpace, config: Configuration, rng: np.random.Generator) -> Configuration:
        """Return ``config`` with one of the values that ``only`` leaves, where it has another."""
        if self.only is None or config.get(self.only[0]) in (None, *self.only[1]):
            return config
        path, values = self.only
        fixed = {path: values[int(rng.integers(len(values)))]}
        return space.space.complete({**config, **fixed}, rng, fixed=fixed)


def _first(
    space: SearchSpace,
    draw: Callable[[], Configuration],
    macs: float | None,
    smallest: Callable[[], Configuration] | None = None,
) -> Design:
    """Return the first valid design that ``draw`` gives within ``macs``, else a ``smallest`` one, which may be it."""
    for source in (draw, smallest):
        for _ in range(TRIES if source is not None else 0):
            assert source is not None
            design = decoded(space, source())
            if design is not None and (macs is None or design.macs <= macs):
                return design
    bound = "" if macs is None else f" and has at most {macs:g} multiply-accumulates"
    raise ValueError(f"none of {TRIES} designs is valid{bound}; loosen the bound, or widen the space")


def decoded(space: SearchSpace, config: Configuration) -> Design | None:
    """Return the design of ``config`` for images as they are, or None where it describes none."""
    recipe = ("recipe.side", "recipe.colour")
    own = {path: value for path, value in config.items() if not path.startswith(recipe)}
    try:
        design = space.decode(Configuration(own))
    except ValueError:
        return None
    return design if design.graph is None or design.graph.reached else None
