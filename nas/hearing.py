"""Which cheaper source of what designs are worth a strategy hears: events of a study say it (see ``nas.source``)."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from nas.strategy import Strategy
from nas.trial import Problem
from search_spaces.registry import nearest
from search_spaces.space import Value

if TYPE_CHECKING:
    from nas.source import Source

SOURCE, HEARD = "source", "source heard"  # the scores of a sample; whether strategies hear them
LEAST = 4  # designs of a sample


def checked_row(
    problem: Problem, scored: Sequence[tuple[Mapping[str, Value], float]], objectives: Sequence[str]
) -> dict[str, Any]:
    """Return the value of an event ``SOURCE``: configurations, whole or in part, with their scores.

    ``objectives`` are those that it speaks of, all where none is named. A ``ValueError`` says what is wrong with one of
    them, or that they are too few.
    """
    named = [one.name for one in problem.objectives]
    if unknown := [name for name in objectives if name not in named]:
        raise ValueError(f"no objective {unknown[0]!r}; {nearest(str(unknown[0]), named)}")
    for config, value in scored:
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"a source says {value!r} of {dict(config)!r}; give a finite number")
    if len(scored) < LEAST:
        raise ValueError(f"a source of {len(scored)} designs; give the scores of {LEAST} or more")
    rows = [[problem.space.partial(config), float(value)] for config, value in scored]
    return {"objectives": list(objectives) or named, "scores": rows}


class Ear:
    """Has ``strategy`` hear what events say that it hears; of ``problem``'s space, which may have grown since."""

    def __init__(self, problem: Problem, strategy: Strategy) -> None:
        self.problem, self.strategy = problem, strategy
        self._row: Mapping[str, Any] | None = None  # that the strategy was told of
        self._source: Source | None = None

    def follow(self, events: Mapping[str, Any]) -> None:
        """Let the strategy know whether, by the newest ``events``, there is a source, and which."""
        row = events.get(SOURCE)
        if row is not self._row:
            self._row, self._source = row, None if row is None else self._read(row)
        heard = self._source if events.get(HEARD) else None
        if heard is not self.strategy.source:
            self.strategy.hear(heard)

    def _read(self, row: Mapping[str, Any]) -> "Source | None":
        """Return the source of ``row``; None where hardly a design of it is one of the space still."""
        from nas.source import Source

        configs, values = [], []
        for partial, value in row["scores"]:
            try:
                configs.append(self.problem.space.default(partial))
            except ValueError:
                continue
            values.append(float(value))
        return Source(self.problem, configs, values, row["objectives"]) if len(configs) >= LEAST else None
