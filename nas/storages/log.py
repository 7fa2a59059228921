"""A checksummed append-only log: one text file that a person can read, and that says when it is not whole.

Layout
    line 0       header, ``WIDTH`` bytes: schema version, number of rows, hash of the last one, who is writing.
                 Rewritten in place after each append.
    line i       ``<hash_i> <json>``, where hash_i = sha256(hash_{i-1} + json), 16 hex digits.

An append is one ``write`` of whole lines, then one of the header. A process killed between the two leaves valid rows
that the header does not count yet: they are kept. One killed inside the first leaves a torn last line that the header
does not count: it was never acknowledged and is cut off. Whatever the header does count must be there and chain up,
so that a missing tail is detected as surely as a missing middle.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import socket
from pathlib import Path
from typing import Any

from nas.storage import Row, Storage, storages

SCHEMA = 1
WIDTH = 160
ROOT = b"0" * 16


def _chain(previous: bytes, text: bytes) -> bytes:
    return hashlib.sha256(previous + text).hexdigest()[:16].encode()


def _plain(value: Any) -> Any:
    """Turn ``value`` into strict JSON, which has no infinities and no NaN: they become their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))  # numpy writes np.float64(nan)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@storages.register("log")
class Log(Storage):
    """The default store. ``path=None`` keeps the rows in memory only."""

    def __init__(self, path: Path | None, *, write: bool = True, durable: bool = False) -> None:
        self.path, self.durable = path, durable
        self._process = os.getpid()
        self._rows: list[Row] = []
        self._head, self._end, self._file = ROOT, 0, -1
        self._appending = False
        if path is None:
            return
        if not write and not path.is_file():
            raise ValueError(f"no store at {str(path)!r}; give the folder of a run")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT if write else os.O_RDONLY, 0o644)
        except OSError as error:
            remedy = "name a file in it" if path.is_dir() else "choose a folder you may write"
            raise ValueError(f"cannot open the store {str(path)!r}: {error.strerror}; {remedy}") from None
        try:
            if write:
                self._lease()
            self._load(write)
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> list[Row]:
        return self._rows

    def _lease(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = self._header(os.pread(self._file, WIDTH, 0)).get("writer", "another process")
            raise ValueError(
                f"{str(self.path)!r} is being written by {holder}; wait for it to end, or stop it, and try again"
            ) from None

    def _header(self, raw: bytes) -> dict[str, Any]:
        try:
            header = json.loads(raw)
            assert isinstance(header, dict) and isinstance(header["rows"], int)
        except (ValueError, KeyError, AssertionError):
            raise ValueError(
                f"{str(self.path)!r} is damaged: its first line is no header; restore a backup"
            ) from None
        if header["nas"] > SCHEMA:
            raise ValueError(
                f"{str(self.path)!r} was written by a newer version (schema {header['nas']}, this one reads up to "
                f"{SCHEMA}); upgrade this package to open it"
            )
        return header

    def _load(self, write: bool) -> None:
        content = self._read()
        if len(content) < WIDTH:
            if content.strip(b"\0 \n") and not b'{"nas"'.startswith(content[:6]):
                raise ValueError(f"{str(self.path)!r} is not a store of this project; choose another name")
            if write:
                os.ftruncate(self._file, 0)
                self._end = WIDTH
                self._write_header()
            return
        header = self._header(content[:WIDTH])
        texts = self._texts(content, header)
        if len(texts) < header["rows"]:
            raise ValueError(
                f"{str(self.path)!r} is damaged: {header['rows']} rows were acknowledged, {len(texts)} are whole; "
                "restore a backup"
            )
        self._rows = json.loads(b"[" + b",".join(texts) + b"]")  # one call: a third of the time of one a row
        if write:
            os.ftruncate(self._file, self._end)
            self._write_header()

    def _texts(self, content: bytes, header: dict[str, Any]) -> list[bytes]:
        """Return the JSON of the rows as far as they chain up; what follows them is not whole."""
        texts: list[bytes] = []
        self._end = WIDTH
        for line in content[WIDTH:].split(b"\n")[:-1]:
            head, text = line[:16], line[17:]
            if head != _chain(self._head, text) or line[16:17] != b" ":
                break
            texts.append(text)
            self._head, self._end = head, self._end + len(line) + 1
            if len(texts) == header["rows"] and head.decode() != header["head"]:
                raise ValueError(
                    f"{str(self.path)!r} is damaged: row {len(texts)} is not the one it was; restore a backup"
                )
        return texts

    def _read(self) -> bytes:
        chunks, at = [], 0
        while chunk := os.pread(self._file, 1 << 22, at):
            chunks.append(chunk)
            at += len(chunk)
        return b"".join(chunks)

    def append(self, *rows: Row) -> None:
        if (
            self._appending
        ):  # Ctrl-C struck inside the last one: what is known here may not be what was written
            raise OSError(
                errno.EBADF, "the last append was interrupted; open the store again", str(self.path)
            )
        if self._file >= 0 and os.getpid() != self._process:  # the lock is shared with a fork
            raise OSError(
                errno.EBADF,
                f"the store belongs to process {self._process}, which forked this one; open another here",
                str(self.path),
            )
        lines, head = [], self._head
        texts = [json.dumps(_plain(dict(row)), separators=(",", ":")).encode() for row in rows]
        for text in texts:
            head = _chain(head, text)
            lines.append(b"%s %s\n" % (head, text))
        parsed = [json.loads(text) for text in texts]
        self._appending = True
        if self._file >= 0:
            self._write(b"".join(lines))
        self._head = head
        self._rows.extend(parsed)
        if self._file >= 0:
            self._write_header()
        self._appending = False

    def _write(self, data: bytes) -> None:
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:], self._end + done)
            if self.durable:
                os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            self._appending = False
            error.filename = str(self.path)
            raise
        self._end += len(data)

    def _write_header(self) -> None:
        writer = f"process {os.getpid()} on {socket.gethostname()[:40]}"
        header = {"nas": SCHEMA, "rows": len(self._rows), "head": self._head.decode(), "writer": writer}
        if os.pwrite(self._file, json.dumps(header).ljust(WIDTH - 1).encode() + b"\n", 0) != WIDTH:
            raise OSError(errno.EIO, "the header was written in part", str(self.path))

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
