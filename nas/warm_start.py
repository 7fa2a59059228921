"""A search's first designs by what untrained networks say, as far as that has been measured to be true.

Architectures are drawn from the space and scored by zero-cost proxies before the first trial. The sample is cut into
parts by multiply-accumulates and the best of each part is picked: the picks cost what random designs cost, and no
signal that follows size alone can fill the search with giants. A pick is enqueued as a partial configuration; its
recipe is the strategy's.

    starts 1, 3, 5, 7          a pick; the others, the default design first, are the strategy's own
    starts 11, 15, ... 31      a pick, while the signal has earned its say (see ``nas.trust``)

Of a supernet that was called for during the search (``nas.pretraining``) every fourth of the next ``LAST`` starts is a
pick, while it has earned its say; the results of these, and of the first ones, are what it is compared with.

The models of the strategy hear what a supernet says of its sample, too (``nas.source``), while it is not outranked.

What is enqueued are rows of the store, and so are scores: a resume decides nothing anew. Where time is the budget,
the sample takes about ``SHARE`` of it, and none is drawn where that is too little for ``LEAST`` scores. With a budget
of trials nothing is scored unless a proxy or the vote was named; then the sample is ``COUNTED`` architectures whatever
the number of trials, and no clock has a say, so that a search resumed, or asked for in two parts, is the same search.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from estimators.estimator import Context, Estimator, Fidelity
from estimators.proxy import proxies, vote
from estimators.score import FROM_LOGITS
from nas.draws import draw
from nas.executor import Executor, Limits, Task
from nas.flights import evaluated
from nas.hearing import SOURCE
from nas.study import Study
from nas.trial import Trial
from nas.trust import REFERENCE, SIGNALS, SUPERNET, VOTE, Trust, has_say, outranked, trusts
from search_spaces.registry import nearest
from search_spaces.space import Configuration, Value

if TYPE_CHECKING:
    from search_spaces.architecture import SearchSpace

NONE = "none"
MEMBERS = ("zico", "naswot", "synflow")  # named before any was measured, see experiments/proxies
EVENT = "warm start"
SHARE = 0.02  # of the seconds of a budget, for the sample; scores of trials are a fraction of a training each
SHARED = 0.1  # the same where a supernet was trained for it, which took more
SHORTEST = 150.0  # seconds of a budget below which nothing is scored
LEAST, MOST = (
    32,
    256,
)  # architectures that are enough to pick from, and that are scored under a budget of time
COUNTED = 64  # architectures that are scored under a budget of trials
TRIED = 4  # scores after which it is known whether there is time for LEAST
TRIES = 16  # draws for each architecture that is to be scored
SLOWEST = 30.0  # seconds that one design's scores may take under a budget of time
FIRST, LAST, PICKS = 8, 32, 10
PREFIX = "architecture."


def members_of(name: str | None, strategy: str, *, timed: bool) -> tuple[str, ...]:
    """Return the signals that the setting ``name`` asks for; a ``ValueError`` guesses what was meant.

    ``None`` is the vote for the strategy "auto" where the budget is time (``timed``), and nothing elsewhere: a strategy
    that was named is itself alone, and trials that are counted are the same in one search or in two.
    """
    if name is None:
        name = VOTE if strategy == "auto" and timed else NONE
    if name in (NONE, VOTE):
        return MEMBERS if name == VOTE else ()
    if name != SUPERNET and name not in proxies.names():
        raise ValueError(f"no warm start {name!r}; {nearest(name, [NONE, VOTE, SUPERNET, *proxies.names()])}")
    return (name,)


class WarmStart:
    """Scores architectures and trials by ``members`` in the executor's worker, and enqueues what is due.

    ``reference`` is a further estimator, whose scores of trials are what those of the members are compared with;
    ``memory`` are the bytes that the worker may hold.
    """

    def __init__(
        self,
        study: Study,
        search_space: "SearchSpace",
        executor: Executor,
        estimator: Estimator,
        members: Sequence[str],
        *,
        scratch: Path,
        settings: Mapping[str, Any],
        reference: Estimator | None = None,
        memory: int | None = None,
    ) -> None:
        self.reference = reference
        self.study, self.search_space, self.executor = study, search_space, executor
        self.estimator, self.members = estimator, tuple(members)
        self.scratch, self.settings, self.memory = scratch, settings, memory

    def begin(self, seconds: float | None) -> None:
        """Score a sample unless that was done, or the search has begun without.

        ``seconds`` are those of the budget, None where trials are counted.
        """
        known = self.study.history
        begun, shared = EVENT in known.events or bool(known.trials), self.members == (SUPERNET,)
        if begun or not self.members or (seconds is not None and seconds < SHORTEST and not shared):
            return
        self._score(seconds)

    def anew(self, seconds: float | None, reason: str, since: int | None = None) -> None:
        """Score a sample and the trials that were scored once more, unless that was done for this ``reason``.

        ``seconds`` are those left of the search; trials and sample have a share of them together.
        ``since`` is the start from which on there are picks, where they begin anew.
        """
        events, began = self.study.history.events, self.study.seconds
        before = events[EVENT]
        if before.get("anew") in (reason, True):  # True: of runs of before, which knew one reason
            return
        for trial in list(self.study.history.searched.values()):
            known = events.get(f"{SIGNALS} {trial.number}")
            # after a kill it goes on with those that a supernet has not scored yet
            if known is not None and (since is None or SUPERNET not in known):
                if seconds is not None and self.study.seconds - began > SHARED * seconds:
                    break
                self._compared(trial)
        begun = {name: before[name] for name in ("since", "queued") if name in before}
        if since is not None:
            begun = {"since": since, "queued": len(self.study.history.queue)}
            if outranked(self._trusts(), SUPERNET):  # what it says of the trials so far is enough
                seconds = 0.0
        self._score(seconds, self.study.seconds - began, anew=reason, **begun)

    def _compared(self, trial: Trial) -> None:
        """Store what the members, and what they are compared with, say of ``trial``."""
        limit = SLOWEST if self.study.problem.timed else None
        scores, event = dict(self.scores(trial.config, limit)), f"{SIGNALS} {trial.number}"
        if self.reference is not None and scores:
            known = self.study.history.events.get(event, {})
            told = {REFERENCE: known[REFERENCE]} if REFERENCE in known else None
            scores |= told or self._scores_of(self.reference, trial.config, limit)
        self.study.note(event, scores)

    def _score(self, seconds: float | None, spent: float = 0.0, **more: Any) -> None:
        """Store what a sample of architectures has for scores, and which of them are picked.

        It has a share of the ``seconds``, less what is ``spent`` of that.
        """
        dear = self.members == (SUPERNET,) and "since" not in more
        began, share = self.study.seconds, SHARED if dear else SHARE
        scored = self._sample(None if seconds is None else max(share * seconds - spent, 0.0))
        chosen = picks(scored, self.members) if len(scored) >= LEAST else []
        about = [one.name for one in self.study.problem.objectives if one.name in FROM_LOGITS]
        if chosen and about and self.members == (SUPERNET,):
            self.study.hear([(own_architecture(one), values[SUPERNET]) for one, _, values in scored], about)
        self.study.note(
            EVENT,
            {
                "members": list(self.members),
                "scored": len(scored),
                "seconds": round(self.study.seconds - began, 3),
                "picks": [dict(config) for config in chosen],
                **more,
            },
        )

    def _sample(self, allowed: float | None) -> list[tuple[Configuration, float, Mapping[str, float]]]:
        """Return architectures (configuration, MACs, scores) that were scored in the seconds ``allowed``."""
        began, count = self.study.seconds, COUNTED if allowed is None else MOST
        scored: list[tuple[Configuration, float, Mapping[str, float]]] = []
        met: set[str] = set()
        for number in range(TRIES * count):
            spent = self.study.seconds - began
            if len(met) == count or (allowed is not None and too_slow(spent, len(met), allowed)):
                break
            one = self._architecture(number)
            if one is not None and one[0] not in met:
                met.add(one[0])
                limit = None if allowed is None else min(SLOWEST, max(allowed - spent, 1.0))
                if values := self.scores(one[1], limit):
                    scored.append((one[1], one[2], values))
        return scored

    def _architecture(self, number: int) -> tuple[str, Configuration, float] | None:
        """Return key, configuration with the default recipe, and MACs of a feasible draw."""
        drawn = draw(self.search_space, number, self.study.seed)
        if isinstance(drawn, str):
            return None
        config = with_default_recipe(self.search_space, drawn.design.config)
        try:
            free = self.study.problem.measure(config)
            if self.study.problem.violation(free):
                return None
            return self.search_space.key(config), config, free["macs"]
        except ValueError:
            return None

    def scores(self, config: Configuration, seconds: float | None) -> Mapping[str, float]:
        """Return the members' values of the design of ``config``; empty where there are none within ``seconds``."""
        return self._scores_of(self.estimator, config, seconds)

    def _scores_of(
        self, estimator: Estimator, config: Configuration, seconds: float | None
    ) -> Mapping[str, float]:
        context = Context(seed=self.study.seed, scratch=self.scratch, deadline=seconds, **self.settings)
        limits = Limits(seconds=seconds, memory=self.memory)
        task = Task(estimator, self.search_space.decode(config), Fidelity(), context, limits)
        result = evaluated(self.executor, task)
        return {} if result.error is not None or result.stopped else dict(result.metrics)

    def keep_up(self) -> list[Trust]:
        """Score the trials that were not, enqueue a pick if one is due, and return how true the signals are.

        Nothing is scored or enqueued while all workers have a trial, and with one worker while there is one: the scores
        would wait for it, and after an interruption a decision would be taken without the result that it follows.
        """
        history = self.study.history
        event = history.events.get(EVENT, {})
        chosen, since = event.get("picks", []), event.get("since")
        settled = len(history.asked) < self.executor.slots
        if chosen and self.members and settled and not self.study.ending:
            begun = [trial for trial in history.searched.values() if not trial.fork]
            for trial in begun[: LAST if since is None else max(since, LAST) + LAST]:
                if trial.steps and f"{SIGNALS} {trial.number}" not in history.events:
                    self._compared(trial)
        known = self._trusts()
        waiting = len(history.queue) > self.study.strategy.taken
        earned = has_say(known, SUPERNET if self.members == (SUPERNET,) else VOTE)
        taken = len(history.queue) - event.get("queued", 0)
        if SOURCE in history.events and settled:
            self.study.heed(self.members == (SUPERNET,) and not outranked(known, SUPERNET))
        left = settled and not waiting and taken < len(chosen)
        if left and due(history.starts, earned, since):
            self.study.enqueue(own_architecture(chosen[taken]))
        return known

    def _trusts(self) -> list[Trust]:
        history = self.study.history
        return trusts(history.searched.values(), self.study.problem, history.events, self.members)


def own_architecture(config: Mapping[str, Value]) -> dict[str, Value]:
    """Return what ``config`` says of the network."""
    return {path: value for path, value in config.items() if path.startswith(PREFIX)}


def with_default_recipe(search_space: "SearchSpace", config: Configuration) -> Configuration:
    """Return the architecture of ``config`` with the recipe of the space's default design."""
    default = search_space.space.default()
    recipe = {path: value for path, value in default.items() if not path.startswith(PREFIX)}
    return Configuration({**own_architecture(config), **recipe})


def too_slow(spent: float, count: int, allowed: float) -> bool:
    """Return whether ``count`` scores that took ``spent`` seconds used up, or show to be too few, the ``allowed``."""
    return spent > allowed or (count == TRIED and spent / TRIED * LEAST > allowed)


def due(start: int, earned: bool, since: int | None = None) -> bool:
    """Return whether start ``start``, from 0, is a pick's; after the first ones only if the signal ``earned`` it.

    Where picks begin anew ``since`` a start there are no first ones.
    """
    if since is not None:
        return earned and start < since + LAST and (start - since) % 4 == 0
    if start < FIRST:
        return start % 2 == 1
    return earned and start < LAST and start % 4 == 3


def picks(
    scored: Sequence[tuple[Configuration, float, Mapping[str, float]]], members: Sequence[str]
) -> list[Configuration]:
    """Return the best by the vote of each of ``PICKS`` parts of ``scored`` (configuration, MACs, scores).

    The parts have equal counts and are cut by MACs; the picks come from the middle outwards, so that the first ones are
    of usual size.
    """
    share = vote({name: [values.get(name, np.nan) for _, _, values in scored] for name in members})
    order = np.argsort([macs for _, macs, _ in scored], kind="stable")
    best = [int(part[np.argmax(share[part])]) for part in np.array_split(order, PICKS)]
    outwards = sorted(range(PICKS), key=lambda part: (abs(part - (PICKS - 1) / 2), part))
    return [scored[best[part]][0] for part in outwards]
