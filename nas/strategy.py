"""What a strategy is: it proposes configurations and is told what became of them.

A strategy is a function of (problem, seed, what was told): ``ask`` draws from a generator counted by ``index``, so
that a resumed search asks what the uninterrupted one would have asked. ``tell`` appends, and may keep up a population
or a distribution that the order of the results alone determines; models are fitted in ``ask``, cached, and never depend
on a previous fit.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from nas.hpo.generations import Generation
from nas.trial import Problem, Trial
from search_spaces.registry import Registry
from search_spaces.space import Configuration

strategies: "Registry[type[Strategy]]" = Registry("strategy", "nas.strategies")

ASK: Final = 1  # PURPOSE of the generator of ``ask``


class Exhausted:
    """The space holds no design that was not started: the search ends."""

    def __repr__(self) -> str:
        return "EXHAUSTED"


EXHAUSTED: Final = Exhausted()


class Strategy(ABC):
    """Base of all strategies: ``ask`` and ``tell`` do the common work, an algorithm writes ``propose``.

    The first proposal is the space's default design, so every run holds a baseline (``baseline = False``: not).
    """

    baseline: ClassVar[bool] = True

    def __init__(self, problem: Problem, *, seed: int = 0) -> None:
        self.problem, self.seed = problem, seed
        self.trials: dict[int, Trial] = {}  # told at least once, by number, in the order of the first telling
        self._started: set[str] = set()

    @abstractmethod
    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        """Return a candidate; it need be neither new nor feasible, ``ask`` sees to that by asking again."""

    def tell(self, trial: Trial) -> None:
        """Take note of a trial after one of its steps; the newest version of a trial replaces the older."""
        self.trials[trial.number] = trial

    def generations(self) -> Sequence[Generation]:
        """Return the log of whole generations, for a tracker to show; empty where there is no such thing."""
        return ()

    def started(self, key: str) -> None:
        """Take note that the design of ``key`` was started, here or before a resume."""
        self._started.add(key)

    def accepts(self, config: Configuration) -> bool:
        """Return whether ``config`` decodes, is not started yet, and holds the linear and the free constraints."""
        if not all(linear.holds(config) for linear in self.problem.space.constraints):
            return False
        try:
            return self.problem.key(config) not in self._started and not self.problem.violation(
                self.problem.measure(config)
            )
        except ValueError:
            return False

    def ask(self, index: int, pending: Sequence[Trial] = ()) -> Configuration | Exhausted:
        """Return a new feasible configuration, or EXHAUSTED when the space holds none.

        ``index`` counts starts; ``pending`` are the trials in flight, without results. A ``ValueError`` says that
        no draw satisfies the constraints.
        """
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index, 0, 0, ASK)))
        if index == 0 and self.baseline and self.accepts(default := self.problem.space.default()):
            return default
        for _ in range(64):
            config = self.propose(rng, index, pending)
            if isinstance(config, Exhausted) or self.accepts(config):
                return config
        for _ in range(5_000):
            config = self.problem.space.sample(rng)
            if self.accepts(config):
                return config
        return self._enumerate()

    def _enumerate(self) -> Configuration | Exhausted:
        space = self.problem.space
        if space.size <= 1_000_000:
            return next((config for config in space.grid() if self.accepts(config)), EXHAUSTED)
        if self._started:
            return EXHAUSTED
        bounds = ", ".join(map(str, self.problem.constraints)) or "(none)"
        raise ValueError(f"none of 5,000 designs drawn satisfies the constraints {bounds}; loosen a bound")
