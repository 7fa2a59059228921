"""How rows lie in the file of a store: lines that a person can read, and that prove themselves one by one.

Layout (schema 2)
    line 0       header, ``WIDTH`` bytes: schema version, number of rows, hash of the last one, who is writing, and a
                 checksum of all this
    line 1 + i   ``<hash_i> <i> <own_i> <json>``: row i, counted from 0; ``12+1`` for i says that one more row of the
                 same append follows

    own_i  = sha256(i + " " + json)                             16 hex digits: row i is what it was
    hash_i = sha256(hash_{i-1} + i + " " + own_i + " " + json)  16 hex digits: so are all before it

Behind a hole the chain tells nothing any more; the number and the checksum of each row still do (``nas.salvage``).
Schema 1 had lines ``<hash_i> <json>``, hash_i = sha256(hash_{i-1} + json), and no checksum of the header.
"""

import hashlib
import json
import math
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = 2
WIDTH = 160
ROOT = b"0" * 16


@dataclass(frozen=True)
class Header:
    """What the first line says. ``head`` is the hash of the last of ``rows``, ``writer`` who writes or wrote last."""

    rows: int
    head: bytes
    writer: str
    schema: int = SCHEMA

    def line(self) -> bytes:
        """Return the line, ``WIDTH`` bytes."""
        said = {"nas": self.schema, "rows": self.rows, "head": self.head.decode(), "writer": self.writer}
        check = {} if self.schema == 1 else {"check": _checked(said)}
        return json.dumps({**said, **check}).ljust(WIDTH - 1).encode() + b"\n"


@dataclass(frozen=True)
class Whole:
    """The JSON of the rows as far as they chain up, the hash of the last one, and where they end in the file."""

    texts: list[bytes]
    head: bytes
    end: int


def own(text: bytes) -> bytes:
    """Return the checksum of ``text``, 16 hex digits."""
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _checked(said: Mapping[str, Any]) -> str:
    return own(json.dumps(said).encode())[:8].decode()


def me() -> str:
    """Return how this process is named in a header."""
    return f"process {os.getpid()} on {host()}"


def host() -> str:
    """Return how this machine is named in a header."""
    return socket.gethostname()[:32]


def parse_header(line: bytes) -> Header | None:
    """Read the first line; None where it cannot be believed."""
    try:
        said = json.loads(line)
        check = said.pop("check", None)
        header = Header(said["rows"], said["head"].encode(), said["writer"], said["nas"])
        if check is None and header.schema == 1:
            check = _checked(said)
        return header if check == _checked(said) and isinstance(header.rows, int) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def lines(texts: Sequence[bytes], number: int = 0, head: bytes = ROOT, *, together: bool = True) -> Whole:
    """Return the lines of the rows ``texts``, from row ``number`` on behind the hash ``head``.

    ``together`` they are one append: all of them count or none. ``end`` is relative to where they begin.
    """
    made: list[bytes] = []
    for at, text in enumerate(texts):
        after = len(texts) - 1 - at if together else 0
        name = b"%d+%d" % (number + at, after) if after else b"%d" % (number + at)
        rest = b"%s %s %s" % (name, own(b"%s %s" % (name, text)), text)
        head = own(head + rest)
        made.append(b"%s %s\n" % (head, rest))
    return Whole(made, head, sum(map(len, made)))


def store_of(texts: Sequence[bytes]) -> bytes:
    """Return the content of a whole store of the rows ``texts``."""
    made = lines(texts, together=False)
    return Header(len(texts), made.head, me()).line() + b"".join(made.texts)


def chained(content: bytes, header: Header) -> Whole:
    """Return the rows of ``content`` as far as they chain up, without those of an append that was cut short.

    What the ``header`` counts was acknowledged, and is returned as long as it chains up. If rows do that and are not
    those that were acknowledged, none is returned, and no hash.
    """
    texts: list[bytes] = []
    heads, end, sha256 = [ROOT], WIDTH, hashlib.sha256
    found = content[WIDTH:].split(b"\n")[:-1]
    for line in found:
        head, rest = line[:16], line[17:]
        if head != sha256(heads[-1] + rest).hexdigest()[:16].encode() or line[16:17] != b" ":
            break
        texts.append(rest[rest.index(b"{") :])
        heads.append(head)
        end += len(line) + 1
    while (
        header.schema > 1
        and len(texts) > header.rows
        and b"+" in found[len(texts) - 1][17:].split(b" ", 1)[0]
    ):
        texts.pop()
        heads.pop()
        end -= len(found[len(texts)]) + 1
    if len(texts) >= header.rows and heads[header.rows] != header.head:
        return Whole([], b"", WIDTH)
    return Whole(texts, heads[len(texts)], end)


def dumped(rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Return ``rows`` as strict JSON, which has no infinities and no NaN: they become their names."""
    return [json.dumps(_plain(dict(row)), separators=(",", ":")).encode() for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))  # numpy writes np.float64(nan)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def parsed(texts: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the rows of ``texts`` in one call: a third of the time of one a row."""
    rows: list[dict[str, Any]] = json.loads(b"[" + b",".join(texts) + b"]")
    return rows
