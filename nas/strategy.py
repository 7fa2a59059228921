"""What a strategy is: it proposes configurations and is told what became of them.

A strategy is a function of (problem, seed, what was told): ``ask`` draws from a generator counted by ``index``, so
that a resumed search asks what the uninterrupted one would have asked. ``tell`` only appends; models are fitted in
``ask``, cached, and never depend on a previous fit.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar, Final

import numpy as np

from nas import prior
from nas.trial import Problem, Trial
from search_spaces.registry import Registry
from search_spaces.space import Configuration

strategies: "Registry[type[Strategy]]" = Registry("strategy", "nas.strategies")

ASK: Final = 1  # PURPOSE of the generator of ``ask``
FADING: Final = 10  # asks after which priors count half
JUDGED: Final = 50  # trials by which priors are judged
FIRST: Final = 5  # asks that draw from priors where the acquisition weighs them


class Exhausted:
    """The space holds no design that was not started: the search ends."""

    def __repr__(self) -> str:
        return "EXHAUSTED"


EXHAUSTED: Final = Exhausted()


class Strategy(ABC):
    """Base of all strategies: ``ask`` and ``tell`` do the common work, an algorithm writes ``propose``.

    The first proposal is the user's guesses, elsewhere the space's defaults, so every run holds a baseline
    (``baseline = False``, for an enumeration: not). With priors, a share ``trust(index)`` of the asks draws from them;
    where an acquisition adds ``trust(index) * problem.log_prior(config)`` itself (``weighs_priors = True``), only among
    the first ``FIRST``.
    """

    baseline: ClassVar[bool] = True
    weighs_priors: ClassVar[bool] = False

    def __init__(self, problem: Problem, *, seed: int = 0) -> None:
        self.problem, self.seed = problem, seed
        self.trials: dict[int, Trial] = {}  # told at least once, by number, in the order of the first telling
        self._started: set[str] = set()
        self._believed: dict[int, float] = {}  # log densities under the priors of the first JUDGED trials

    @abstractmethod
    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        """Return a candidate; it need be neither new nor feasible, ``ask`` sees to that by asking again."""

    def tell(self, trial: Trial) -> None:
        """Take note of a trial after one of its steps; the newest version of a trial replaces the older."""
        self.trials[trial.number] = trial

    def started(self, key: str) -> None:
        """Take note that the design of ``key`` was started, here or before a resume."""
        self._started.add(key)

    def accepts(self, config: Configuration) -> bool:
        """Return whether ``config`` decodes, is a design not started yet, and holds the free constraints."""
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
        if index == 0 and self.baseline and self.accepts(first := self._first()):
            return first
        for _ in range(64):
            config = self._candidate(rng, index, pending)
            if isinstance(config, Exhausted) or self.accepts(config):
                return config
        for _ in range(5_000):
            config = self.problem.space.sample(rng)
            if self.accepts(config):
                return config
        return self._enumerate()

    def _first(self) -> Configuration:
        return prior.mode(self.problem.space, self.problem.priors)

    def _candidate(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        problem = self.problem
        guided = self.baseline and (index < FIRST or not self.weighs_priors)
        if problem.priors and guided and rng.random() < self.trust(index):
            return prior.draw(problem.space, problem.priors, rng)
        return self.propose(rng, index, pending)

    def trust(self, index: int) -> float:
        """Return how much the priors count in ask ``index``, in [0, 1]: it fades with asks, and by how they fare.

        Among the first ``JUDGED`` trials told, of two the one that the priors favour should be the better one. Where
        it is in half of the pairs or more, nothing is taken off; where it is in a quarter, the priors count nothing.
        """
        fading = FADING / (FADING + index)
        told = [trial for trial in islice(self.trials.values(), JUDGED) if trial.steps]
        if len(told) < 4:
            return fading
        for trial in told:
            if trial.number not in self._believed:
                self._believed[trial.number] = self.problem.log_prior(trial.config)
        believed = np.array([self._believed[trial.number] for trial in told])
        ranks = self._ranked(told)
        favoured = believed[:, None] > believed[None, :]
        right = favoured & (ranks[:, None] < ranks[None, :])
        wrong = favoured & (ranks[:, None] > ranks[None, :])
        share = right.sum() / max(right.sum() + wrong.sum(), 1)
        return fading * float(np.clip(4 * share - 1, 0.0, 1.0))

    def _ranked(self, told: Sequence[Trial]) -> np.ndarray:
        """Return ``(n,)`` ranks by the first step of each trial; all that failed share the last one."""
        ranks = np.full(len(told), float(len(told)))
        done = [place for place, trial in enumerate(told) if trial.steps[0].error is None]
        ranks[done] = self.problem.ranks([{**told[at].free, **told[at].steps[0].metrics} for at in done])
        return ranks

    def _enumerate(self) -> Configuration | Exhausted:
        space = self.problem.space
        if space.size <= 1_000_000:
            return next((config for config in space.grid() if self.accepts(config)), EXHAUSTED)
        if self._started:
            return EXHAUSTED
        bounds = ", ".join(map(str, self.problem.constraints)) or "(none)"
        raise ValueError(f"none of 5,000 designs drawn satisfies the constraints {bounds}; loosen a bound")
