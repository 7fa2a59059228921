"""Which cheaper source of what designs are worth a strategy hears: events of a study say it (see ``nas.source``)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from nas.strategy import Strategy
from nas.trial import Problem
from search_spaces.configuration import Configuration, Value
from search_spaces.registry import nearest

if TYPE_CHECKING:
    from nas.source import Source

SOURCE, HEARD = "cheaper source", "cheaper source heard"  # scores of a sample; whether strategies hear them
LEAST = 4  # designs of a sample


def checked_row(
    problem: Problem, scored: Iterable[tuple[Mapping[str, Value], float]], objectives: Sequence[str]
) -> dict[str, Any]:
    """Return the value of an event ``SOURCE``: configurations, whole or in part, with their scores.

    ``objectives`` are those that it speaks of, all where none is named. A ``ValueError`` says what is wrong with one of
    them, or that they are too few.
    """
    named = [one.name for one in problem.objectives]
    if isinstance(objectives, str):
        raise ValueError(f"objectives={objectives!r}: give a list of names, for example [{named[0]!r}]")
    if unknown := [name for name in objectives if name not in named]:
        raise ValueError(f"no objective {unknown[0]!r}; {nearest(str(unknown[0]), named)}")
    if not isinstance(scored, Iterable):
        raise ValueError(f"a source of {scored!r}; give a list of (configuration, score)")
    rows = [_checked(problem, one) for one in scored]
    if len(rows) < LEAST:
        raise ValueError(f"a source of {len(rows)} designs; give the scores of {LEAST} or more")
    return {"objectives": [name for name in named if name in objectives] or named, "scores": rows}


def _checked(problem: Problem, one: Any) -> list[Any]:
    """Return a configuration and its score as plain JSON."""
    if not isinstance(one, tuple | list) or len(one) != 2 or not isinstance(one[0], Mapping):
        raise ValueError(f"a source says {one!r}; give a pair of a map from path to value and a score")
    config, score = one
    try:
        value = float(score) if isinstance(score, Real) and not isinstance(score, bool) else math.nan
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"a source says {score!r} of {dict(config)!r}; give a finite number")
    return [problem.space.partial(config), value]


class Ear:
    """Has ``strategy`` hear what events say that it hears; of ``problem``'s space, which may have grown since."""

    def __init__(self, problem: Problem, strategy: Strategy) -> None:
        self.problem, self.strategy = problem, strategy
        self._row: Mapping[str, Any] | None = None  # that ``_source`` was read from
        self._source: Source | None = None
        self._said: Source | None = None  # what the strategy was told last

    def follow(self, events: Mapping[str, Any]) -> None:
        """Let the strategy know whether, by the newest ``events``, there is a source, and which."""
        heard = self._read(events[SOURCE]) if events.get(HEARD) and SOURCE in events else None
        if heard is not self._said:
            self.strategy.hear(heard)
            self._said = heard

    def _read(self, row: Mapping[str, Any]) -> "Source | None":
        """Return the source of ``row``; None where hardly a design of it is one of the space still."""
        from nas.source import Source

        if row is self._row:
            return self._source
        space, configs, values = self.problem.space, [], []
        for known, value in row["scores"]:
            try:
                configs.append(Configuration(space.filled(space.partial(known))))
            except ValueError:
                continue
            values.append(value)
        enough = len(configs) >= LEAST
        self._source = Source(self.problem, configs, values, row["objectives"]) if enough else None
        self._row = row
        return self._source
