"""Stores of earlier versions: a chain of functions, each from the rows of one schema to those of the next.

A new schema adds one function under the number of the schema that it upgrades. A store that is opened for reading stays
as it is; one that is opened for writing is upgraded, and its old file kept as ``study.log.schema-1``.
"""

from collections.abc import Callable, Sequence
from typing import Any

from nas.layout import SCHEMA

Rows = list[dict[str, Any]]

MIGRATIONS: dict[int, Callable[[Rows], Rows]] = {}


def _migration(schema: int) -> Callable[[Callable[[Rows], Rows]], Callable[[Rows], Rows]]:
    def register(function: Callable[[Rows], Rows]) -> Callable[[Rows], Rows]:
        MIGRATIONS[schema] = function
        return function

    return register


def migrated(rows: Sequence[dict[str, Any]], schema: int) -> Rows:
    """Return ``rows`` of ``schema`` as this version writes them."""
    rows = list(rows)
    for number in range(schema, SCHEMA):
        rows = MIGRATIONS[number](rows)
    return rows


@_migration(1)
def _places(rows: Rows) -> Rows:
    """Lines are numbered, and what is enqueued has its place in the queue: a row that is lost shifts no other."""
    place, upgraded = 0, Rows()
    for row in rows:
        if row.get("kind") == "queue":
            row, place = {**row, "place": place}, place + 1
        upgraded.append(row)
    if upgraded and upgraded[-1].get("kind") == "start":
        upgraded.pop()  # a kill has torn off the step that was appended with it
    return upgraded
