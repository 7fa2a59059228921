"""What a strategy is: it proposes configurations and is told what became of them.

A strategy is a function of (problem, seed, what was told): ``ask`` draws from a generator counted by ``index``, so
that a resumed search asks what the uninterrupted one would have asked. ``tell`` appends, and may keep up a population
or a distribution that the order of the results alone determines; models are fitted in ``ask``, cached, and never depend
on a previous fit.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from nas import prior
from nas.operators import mutate
from nas.operators.generations import Generation
from nas.trial import Problem, Trial
from search_spaces.registry import Registry
from search_spaces.space import Configuration, Value

if TYPE_CHECKING:
    from nas.source import Source

strategies: "Registry[type[Strategy]]" = Registry("strategy", "nas.strategies")

ASK: Final = 1  # PURPOSE of the generator of ``ask``
FADING: Final = 10  # asks after which priors count half
JUDGED: Final = 50  # trials by which priors are judged
DRAWS: Final = 5_000  # random designs tried before a space counts as exhausted; a tenth, where each is moved
NEAR: Final = 500  # mutations of what was started, tried where draws are in vain
MANY: Final = 1_000_000  # designs that are enumerated then
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
        self.queue: list[Mapping[str, Value]] = []  # configurations, whole or in part, that are asked first
        self.taken = 0  # of the queue
        self.skipped: list[Mapping[str, Value]] = []  # of those taken: started already, or not feasible
        self.server = ""  # of those that this strategy asks, the one that served the last ask; "" if none did
        self.source: Source | None = None  # a cheaper one than results, heard where the algorithm can
        self._believed: dict[int, float] = {}  # log densities under the priors of the first JUDGED trials

    @abstractmethod
    def propose(
        self, rng: np.random.Generator, index: int, pending: Sequence[Trial]
    ) -> Configuration | Exhausted:
        """Return a candidate; it need be neither new nor feasible, ``ask`` sees to that by asking again."""

    def tell(self, trial: Trial) -> None:
        """Take note of a trial after one of its steps; the newest version of a trial replaces the older."""
        self.trials[trial.number] = trial

    def hear(self, source: "Source | None") -> None:
        """Take ``source`` as heard from now on, beside what is told; None: no longer."""
        self.source = source

    def generations(self) -> Sequence[Generation]:
        """Return the log of whole generations, for a tracker to show; empty where there is no such thing."""
        return ()

    def started(self, key: str) -> None:
        """Take note that the design of ``key`` was started, here or before a resume."""
        self._started.add(key)

    def accepts(self, config: Configuration) -> bool:
        """Return whether ``config`` decodes, is a design not started yet, and holds the constraints known of it."""
        problem = self.problem
        try:
            return (
                all(limit.holds(config) for limit in problem.space.limits)
                and problem.key(config) not in self._started
                and not problem.violation(problem.measure(config))
            )
        except ValueError:
            return False

    def ask(self, index: int, pending: Sequence[Trial] = ()) -> Configuration | Exhausted:
        """Return a new feasible configuration, enqueued ones first, or EXHAUSTED when the space holds none.

        ``index`` counts starts; ``pending`` are the trials in flight, without results. A ``ValueError`` says that
        no draw satisfies the constraints.
        """
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index, 0, 0, ASK)))
        self.server = ""
        if (queued := self._queued(rng, index, pending)) is not None:
            return queued
        if index == 0 and self.baseline and self.accepts(first := self._first()):
            return first
        for _ in range(64):
            config = self._candidate(rng, index, pending)
            if isinstance(config, Exhausted) or self.accepts(config):
                return config
        for _ in range(DRAWS // 10 if self.problem.space.limits else DRAWS):
            config = self.problem.space.sample(rng)
            if self.accepts(config):
                return config
        if (near := self._beside_started(rng, [*self.trials.values(), *pending])) is not None:
            return near
        return self._enumerate()

    def _beside_started(self, rng: np.random.Generator, started: Sequence[Trial]) -> Configuration | None:
        """Return a mutation of what was ``started`` that is accepted, as there may be where draws are in vain."""
        for _ in range(NEAR if started else 0):
            parent = started[int(rng.integers(len(started)))].config
            config = mutate(self.problem.space, parent, rng)
            if self.accepts(config):
                return config
        return None

    def _queued(self, rng: np.random.Generator, index: int, pending: Sequence[Trial]) -> Configuration | None:
        """Return the next of the queue that is a new feasible design, or None when there is none."""
        while self.taken < len(self.queue):
            partial = self.queue[self.taken]
            self.taken += 1
            rest = self._rest(rng, index, pending)
            for completed in (rest, *({},) * 63):
                config = self._completed(completed, partial, rng)
                if config is not None and self.accepts(config):
                    return config
            self.skipped.append(partial)
        return None

    def _completed(
        self, rest: Mapping[str, Value], partial: Mapping[str, Value], rng: np.random.Generator
    ) -> Configuration | None:
        try:
            return self.problem.space.complete(rest, rng, fixed=partial)
        except ValueError:  # no draw of the choices that are left holds the constraints of the space
            return None

    def _rest(self, rng: np.random.Generator, index: int, pending: Sequence[Trial]) -> Mapping[str, Value]:
        """Return what a partial configuration is completed with; an enumeration is not asked, it would miss it."""
        if not self.baseline:
            return {}
        proposed = self._first() if index == 0 else self._candidate(rng, index, pending)
        return proposed if isinstance(proposed, Configuration) else {}

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
        agreed = prior.agreement(believed, self._first_ranks(told))
        return fading * min(max(4 * agreed - 1, 0.0), 1.0)

    def _first_ranks(self, told: Sequence[Trial]) -> np.ndarray:
        """Return ``(n,)`` ranks by the first step of each trial; all that failed share the last one."""
        ranks = np.full(len(told), float(len(told)))
        done = [place for place, trial in enumerate(told) if trial.steps[0].error is None]
        ranks[done] = self.problem.ranks([{**told[at].free, **told[at].steps[0].metrics} for at in done])
        return ranks

    def _enumerate(self) -> Configuration | Exhausted:
        """Return the first design of a discrete space that is accepted; of a continuous one, what was drawn counts."""
        space = self.problem.space
        if space.size <= MANY or (space.limits and space.discrete):
            return next((config for config in islice(space.grid(), MANY) if self.accepts(config)), EXHAUSTED)
        if self._started:
            return EXHAUSTED
        bounds = ", ".join(map(str, self.problem.constraints)) or "(none)"
        raise ValueError(
            f"none of {DRAWS:,} designs drawn satisfies the constraints {bounds}; loosen a bound"
        )
