"""What a damaged store still holds: the rows that can be trusted, by number, and which are missing, all of them.

A row of schema 2 proves itself by its number and its checksum, wherever it lies. Of schema 1 only the rows before the
first damage do, by their chain. How many there were says the header, or, where that is not to be believed, the last row
that is left; then more may have followed, and that is said.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from nas.layout import WIDTH, Header, chained, own, parse_header, parsed
from nas.migration import migrated
from nas.storage import Row

BEGIN = re.compile(rb"(\d+)(?:\+\d+)? ([0-9a-f]{16}) (?=\{)")
HASH = 16 + 1  # bytes that a row has before its number


@dataclass(frozen=True)
class Salvaged:
    """``rows`` by number, from 0. ``total`` is how many there were; None if the first line does not say so any more."""

    rows: Mapping[int, Row]
    total: int | None
    whole: bool  # whether nothing is damaged at all

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The first and the last number of each gap among the rows; what may have followed the last one is none."""
        gaps, after = list[tuple[int, int]](), 0
        for number in [*sorted(self.rows), max(self.total or 0, len(self.rows) and max(self.rows) + 1)]:
            if number > after:
                gaps.append((after, number - 1))
            after = number + 1
        return gaps

    @property
    def lost(self) -> int:
        """How many rows are known to be missing."""
        return sum(last - first + 1 for first, last in self.missing)


@dataclass(frozen=True)
class LeftOut:
    """A row that tells of something lost, and why it means nothing without it."""

    number: int
    kind: str
    why: str


def salvaged(content: bytes) -> Salvaged:
    """Return what can be trusted of ``content``, that of the file of a store."""
    header = parse_header(content[:WIDTH])
    if header is not None:
        whole = chained(content, header)
        if whole.head and len(whole.texts) >= header.rows:
            rows = migrated(parsed(whole.texts), header.schema)
            return Salvaged(dict(enumerate(rows)), len(rows), True)
        if header.schema == 1:
            return _before_the_damage(content, header)
    proven = _proven(content)
    if header is None and not proven and (old := _before_the_damage(content, None)).rows:
        return old
    numbers = sorted(proven)
    rows = parsed([proven[number] for number in numbers])
    total = None if header is None else max(header.rows, numbers[-1] + 1 if numbers else 0)
    return Salvaged(dict(zip(numbers, rows, strict=True)), total, False)


def _before_the_damage(content: bytes, header: Header | None) -> Salvaged:
    """Return the rows of schema 1 that chain up from the first one on."""
    whole = chained(content, Header(len(content), b"", "", 1))
    rows = migrated(parsed(whole.texts), 1)
    return Salvaged(dict(enumerate(rows)), None if header is None else max(header.rows, len(rows)), False)


def _proven(content: bytes) -> dict[int, bytes]:
    """Return the JSON of all rows of schema 2 that prove themselves; two that differ under one number prove nothing."""
    found: dict[int, bytes] = {}
    doubtful = set[int]()
    begins = list(BEGIN.finditer(content))
    for begin, after in zip_longest(begins, begins[1:]):
        newline = content.find(b"\n", begin.end())
        ends = [newline, -1 if after is None else after.start() - HASH - 1]
        for end in ends:
            text = content[begin.end() : end if end >= 0 else len(content)]
            if own(begin[0].rsplit(b" ", 2)[0] + b" " + text) == begin[2]:
                if found.setdefault(int(begin[1]), text) != text:
                    doubtful.add(int(begin[1]))
                break
    return {number: text for number, text in found.items() if number not in doubtful}


def consistent(rows: Mapping[int, Row]) -> tuple[list[Row], list[LeftOut]]:
    """Return ``rows`` in order without those that mean nothing on their own, and these with the reason.

    What is left is a study whose trials all have a parent, if they need one, and a step; whose steps have a trial and
    whose results a step; and whose winner was evaluated.
    """
    kept, out = _of_trials(rows)
    kept, undecided = _of_rounds(kept)
    left = [
        LeftOut(number, str(rows[number].get("kind")), why)
        for number, why in sorted({**out, **undecided}.items())
    ]
    return [row for _, row in sorted(kept.items())], left


def _of_trials(rows: Mapping[int, Row]) -> tuple[dict[int, Row], dict[int, str]]:
    """Return the rows without those of trials and steps that are lost, and why by number."""
    kept, out = dict[int, Row](), dict[int, str]()
    stepped = {row["trial"] for row in rows.values() if row.get("kind") == "step"}
    trials, asked = set[int](), dict[int, int]()
    for number, row in sorted(rows.items()):
        kind, trial = row.get("kind"), row.get("trial")
        why = None
        if kind == "start":
            if row["parent"] is not None and row["parent"] not in trials:
                why = f"trial {trial} descends from trial {row['parent']}, which is lost"
            elif trial not in stepped:
                why = f"what trial {trial} was asked for is lost"
            else:
                trials.add(row["trial"])
        elif kind in ("step", "result") and trial not in trials:
            why = f"trial {trial} is lost"
        elif kind == "step":
            asked[row["trial"]] = row["step"]
        elif kind == "result" and asked.pop(row["trial"], None) != row["step"]:
            why = f"step {row['step']} of trial {trial} is lost"
        if why is None:
            kept[number] = row
        else:
            out[number] = why
    return kept, out


def _of_rounds(rows: Mapping[int, Row]) -> tuple[dict[int, Row], dict[int, str]]:
    """Return the rows without decisions about what is lost: a resume decides these anew."""
    evaluated = {(row["trial"], row["step"]) for row in rows.values() if row.get("kind") == "result"}
    trials = {row["trial"] for row in rows.values() if row.get("kind") == "start"}
    won = set[str]()
    out = dict[int, str]()
    for number, row in rows.items():
        what, _, number_of_round = str(row.get("name", "")).partition(" ")
        if row.get("kind") != "event" or not number_of_round.isdecimal():
            continue
        value: Any = row["value"]
        if what == "finals" and not set(value.get("trials", ())) <= trials:
            out[number] = "a trial that was to be trained again is lost"
        elif what == "winner" and (value["trial"], value["step"]) not in evaluated:
            out[number] = f"trial {value['trial']}, which won, or its result is lost"
        elif what == "winner":
            won.add(number_of_round)
        elif what in ("export", "test") and number_of_round not in won:
            out[number] = "which trial won is lost"
    return {number: row for number, row in rows.items() if number not in out}, out


def report(found: Salvaged, left: Sequence[LeftOut]) -> dict[str, Any]:
    """Return as plain values what a salvage lost, for the store to keep."""
    kinds = Counter(one.kind for one in left)
    return {
        "rows": len(found.rows) - len(left),
        "of": found.total,
        "missing": [list(gap) for gap in found.missing],
        "left_out": [[one.number, one.kind, one.why] for one in left],
        "left_out_by_kind": dict(kinds),
    }
