"""Population-based training (Jaderberg et al. 2017, algorithm 1), asynchronous: no member waits for another.

Notation
    rung      one of the equal steps in which all members are trained
    member    a trial of a population of ``size`` starts, or the fork that took the place of one
    quarter   of those that stand on a rung, replaced ones too: truncation selection (section 4.1.1)

A member in the worst quarter of the rung it stands on does not go on: a fork takes its place, which begins with weights
and optimizer state of a member of the best quarter (exploit) and a recipe that differs a little (explore). A failed
member is replaced likewise, as soon as another one has passed the rung at which it failed. All of it is read off the
trials: each fork says whom it replaces.

A fork without its parent's weights would be no exploit, so only members with a checkpoint lend; in a population where
nobody has one, all members simply go on.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from estimators.estimator import Fidelity
from nas.operators import perturbed
from nas.rungs import best_first
from nas.scheduler import DONE, WAIT, Action, Continue, Fork, Scheduler, Start, schedulers
from nas.strategy import Strategy
from nas.trial import Trial
from search_spaces.space import Configuration

QUARTER: Final = 4  # one in so many is replaced, and one in so many may be a parent
TRIES: Final = 16  # recipes drawn in search of one that holds all constraints
FORK: Final = 6  # PURPOSE of the generator of a fork
# what the parent's weights were trained as, and to see
FIXED: Final = ("architecture", "recipe.side", "recipe.colour", "recipe.normalize")


@schedulers.register("pbt")
class Pbt(Scheduler):
    """Populations of ``size`` designs, one after the other. Parameters under ``fixed`` are never perturbed.

    In a space of your own ``fixed`` must name all that changes the shape of the network, or a fork cannot load the
    weights of its parent.
    """

    spacing = "even"

    def __init__(
        self,
        strategy: Strategy,
        ladder: Sequence[Fidelity] = (Fidelity(),),
        *,
        size: int = 8,
        fixed: Sequence[str] = FIXED,
    ) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < QUARTER:
            raise ValueError(
                f"pbt: size={size!r} has no worst quarter; give a whole number of {QUARTER} or more"
            )
        texts = isinstance(fixed, Sequence) and all(isinstance(path, str) for path in fixed)
        if isinstance(fixed, str) or not texts:
            raise ValueError(f"pbt: fixed={fixed!r}; give a sequence of paths, for example ('architecture',)")
        super().__init__(strategy, ladder)
        self.size, self.fixed = size, tuple(fixed)
        self.width = size
        self._through: dict[int, list[Trial]] = {}  # populations that ask for nothing more, as they were then

    def ask(self, trials: Mapping[int, Trial], pending: Sequence[int], may_start: bool = True) -> Action:
        for place, members in enumerate(self._populations(trials)):
            if (
                self._through.get(place) == members
            ):  # the same objects, as a rule: nothing is compared field by field
                continue
            if may_start and sum(not member.fork for member in members) < self.size:
                action = self.start(trials, pending, self.ladder[0])
                if isinstance(action, Start):
                    return action
                may_start = False  # exhausted
            if (due := self._due(members, len(trials) + self.lost)) is not None:
                return due
            if len({member.lineage for member in members}) == self.size and not any(m.asked for m in members):
                self._through[place] = members
        if may_start and isinstance(action := self.start(trials, pending, self.ladder[0]), Start):
            return action
        return WAIT if pending else DONE

    def keeps(self, trials: Mapping[int, Trial]) -> set[int]:
        """Return the members that are neither replaced nor through; so are all that may be parents."""
        replaced = {trial.replaces for trial in trials.values()}
        return {number for number, trial in trials.items() if number not in replaced and self._lends(trial)}

    def starts(self, trials: Mapping[int, Trial]) -> int:
        return sum(not trial.fork for trial in trials.values())

    def _populations(self, trials: Mapping[int, Trial]) -> list[list[Trial]]:
        """Return the trials of each population by number: ``size`` starts in order, and what descends from them."""
        roots = sorted(trial.number for trial in trials.values() if not trial.fork)
        at = {root: place // self.size for place, root in enumerate(roots)}
        found: list[list[Trial]] = [[] for _ in range(-(-len(roots) // self.size))]
        for number in sorted(trials):
            found[at[trials[number].lineage]].append(trials[number])
        return found

    def _due(self, members: Sequence[Trial], index: int) -> Continue | Fork | None:
        """Return what is next in a population: the lowest rung first, and on it forks, before their parents go on."""
        replaced = {member.replaces for member in members}
        ready = [member for member in members if member.asked is None and member.number not in replaced]
        for _, level in groupby(sorted(ready, key=self._rung), key=self._rung):
            actions = [self._next(member, members, replaced, index) for member in level]
            found = [action for action in actions if action is not None]
            if found:
                return next((action for action in found if isinstance(action, Fork)), found[0])
        return None

    def _next(
        self, member: Trial, members: Sequence[Trial], replaced: Collection[int | None], index: int
    ) -> Continue | Fork | None:
        """Return how the place of ``member`` goes on; None where it is through, or empty until others are further."""
        if member.failed:
            standing = self._standing(members, self._aim(member))
            parents = self._lenders(standing, replaced)
            return self._fork(parents, member, index) if parents else None
        rung = self._rung(member)
        if rung == len(self.ladder) - 1:
            return None
        standing = self._standing(members, rung)
        worst = {one.number for one in standing[len(standing) - len(standing) // QUARTER :]}
        if member.number in worst and (parents := self._lenders(standing, {*replaced, *worst})):
            return self._fork(parents, member, index)
        return Continue(member.number, self.ladder[rung + 1])

    def _lenders(self, standing: Sequence[Trial], out: Collection[int | None]) -> list[Trial]:
        """Return the best quarter of ``standing``, of those that a fork may begin from."""
        able = [one for one in standing if one.number not in out and self._lends(one)]
        return able[: max(len(standing) // QUARTER, 1)]

    def _aim(self, trial: Trial) -> int:
        """Return the rung of the last step of ``trial``, which failed: who lends to its place has passed it."""
        assert trial.last is not None
        return [one.cost for one in self.ladder].index(trial.last.fidelity.cost)

    def _rung(self, trial: Trial) -> int:
        """Return the place on the ladder of what ``trial`` has reached; -1 before its first success."""
        costs = [step.fidelity.cost for step in trial.steps if step.error is None]
        return max((at for at, one in enumerate(self.ladder) if one.cost in costs), default=-1)

    def _standing(self, members: Iterable[Trial], rung: int) -> list[Trial]:
        """Return the members with a result of exactly this rung, best first: a fork has none of its parent's."""
        cost = self.ladder[rung].cost
        there = [m for m in members if any(s.error is None and s.fidelity.cost == cost for s in m.steps)]
        return best_first(self.strategy.problem, there, self.ladder[rung])

    def _lends(self, trial: Trial) -> bool:
        """Return whether a fork of ``trial`` would have something to begin from, and something left to train."""
        return trial.trained is not None and not trial.failed and self._rung(trial) < len(self.ladder) - 1

    def _fork(self, parents: Sequence[Trial], member: Trial, index: int) -> Fork:
        key = np.random.SeedSequence(self.strategy.seed, spawn_key=(index, 0, 0, FORK))
        rng = np.random.default_rng(key)
        parent = parents[int(rng.integers(len(parents)))]
        fidelity = self.ladder[self._rung(parent) + 1]
        return Fork(parent.number, self._explored(parent.config, rng), fidelity, replaces=member.number)

    def _explored(self, config: Configuration, rng: np.random.Generator) -> Configuration:
        """Return ``config`` perturbed so that all constraints hold, or as it is where no draw does."""
        problem = self.strategy.problem
        for _ in range(TRIES):
            try:
                found = perturbed(problem.space, config, rng, fixed=self.fixed)
                problem.key(found)  # of what decodes to nothing there is none
                if not problem.violation(problem.measure(found)):
                    return found
            except ValueError:
                continue
        return config
