"""A checksummed append-only log: one text file that a person can read, and that says when it is not whole.

How rows lie in it says ``nas.layout``. An append is one ``write`` of whole lines, then one of the header. A process
killed between the two leaves valid rows that the header does not count yet: they are kept. One killed inside the first
leaves a torn last line, or a part of the rows of one append, which the header does not count: they were never
acknowledged and are cut off. Whatever the header does count must be there and chain up, so that a missing tail is
detected as surely as a missing middle.

With ``durable`` the rows of an append are on the disk before its header is written, and so is the name of a new file.
The header itself is not waited for: what a power loss leaves counts one append too few, and the rows prove themselves.
"""

import errno
import os
import time
from pathlib import Path

from nas import lease
from nas.layout import (
    ROOT,
    SCHEMA,
    WIDTH,
    Header,
    Whole,
    chained,
    dumped,
    lines,
    me,
    parse_header,
    parsed,
    store_of,
)
from nas.migration import migrated
from nas.storage import Row, Storage, storages

LOOKS = 5  # at a header that cannot be believed: a reader may have met one that was being written


@storages.register("log")
class Log(Storage):
    """The default store. ``path=None`` keeps the rows in memory only; of those in a file none is kept, only read."""

    def __init__(self, path: Path | None, *, write: bool = True, durable: bool = False) -> None:
        self.path, self.durable = path, durable
        self._process, self._leased = os.getpid(), write
        self._count, self._schema = 0, SCHEMA
        self._texts: list[bytes] = []  # of a store in memory, and of a file that was opened and not read yet
        self._head, self._end, self._file = ROOT, 0, -1
        self._appending = False
        if path is None:
            return
        if not write and not path.is_file():
            raise ValueError(f"no store at {str(path)!r}; give the folder of a run")
        try:
            self._file = lease.leased(path) if write else os.open(path, os.O_RDONLY)
        except OSError as error:
            remedy = "name a file in it" if path.is_dir() else "choose a folder you may write"
            raise ValueError(f"cannot open the store {str(path)!r}: {error.strerror}; {remedy}") from None
        try:
            self._open(path, write)
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> list[Row]:
        if self.path is None:
            return [*parsed(self._texts)]
        texts, self._texts = self._texts or self._read(), []
        rows: list[Row] = [*migrated(parsed(texts), self._schema)]
        return rows

    def _read(self) -> list[bytes]:
        """Return the rows of the file again, as many as there are by what is known here."""
        content = lease.content_of(self._file)
        return chained(content, self._header(self.path, content)).texts[: self._count]  # type: ignore[arg-type]

    def _open(self, path: Path, write: bool) -> None:
        content = self._content(write)
        if is_new(content):
            if write:
                self._begin(path)
            return
        header = self._header(path, content)
        whole = chained(content, header)
        if len(whole.texts) < header.rows or not whole.head:
            raise ValueError(
                f"{str(path)!r} is damaged: {header.rows:,} rows were acknowledged, {len(whole.texts):,} are whole; "
                f"see what is left by `nas doctor {path}`, and keep that with --salvage"
            )
        self._texts, self._count, self._schema = whole.texts, len(whole.texts), header.schema
        if write:
            self._take(path, header, whole)

    def _begin(self, path: Path) -> None:
        """Write the header of a new store."""
        os.ftruncate(self._file, 0)
        self._end = WIDTH
        self._write_header(0, ROOT)
        if self.durable:
            os.fsync(self._file)
            lease.sync_folder(path.parent)

    def _content(self, write: bool) -> bytes:
        """Return what the file holds; a reader looks again where it met a header that was just being written."""
        content = lease.content_of(self._file)
        for _ in range(0 if write else LOOKS):
            if parse_header(content[:WIDTH]) is not None:
                break
            time.sleep(0.01)
            content = lease.content_of(self._file)
        return content

    def _header(self, path: Path, content: bytes) -> Header:
        header = parse_header(content[:WIDTH])
        if header is None and not content.startswith(b'{"nas"'):
            raise ValueError(
                f"{str(path)!r} is not a store of this project, or damaged: its first line is no header; choose "
                f"another name, or see by `nas doctor {path}` what is left of it"
            )
        if header is None:
            raise ValueError(
                f"{str(path)!r} is damaged: its first line is no header; see what is left by `nas doctor {path}`, and "
                "keep that with --salvage"
            )
        if header.schema > SCHEMA:
            raise ValueError(
                f"{str(path)!r} was written by a newer version (schema {header.schema}, this one reads up to "
                f"{SCHEMA}); upgrade this package to open it"
            )
        return header

    def _take(self, path: Path, header: Header, whole: Whole) -> None:
        """Make the file ready to be written: upgraded, and without what was never acknowledged."""
        if header.schema < SCHEMA:
            texts = dumped(migrated(parsed(whole.texts), header.schema))
            self._texts, self._schema = texts, SCHEMA
            content, kept = store_of(texts), f"{path.resolve().name}.schema-{header.schema}"
            self._file = lease.replaced(path, self._file, content, kept=kept)
            self._head, self._end = lines(texts, together=False).head, len(content)
            return
        self._head, self._end = whole.head, whole.end
        os.ftruncate(self._file, self._end)
        self._write_header(self._count, self._head)

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
        if self._file < 0 and self.path is not None:
            raise OSError(errno.EBADF, "the store is closed; open the study again", str(self.path))
        texts = dumped(rows)
        added = lines(texts, self._count, self._head)
        self._appending = True
        if self._file >= 0:
            self._write(added, self._count + len(rows))
        else:
            self._texts.extend(texts)
        self._head, self._count = added.head, self._count + len(rows)
        self._texts = self._texts if self.path is None else []
        self._appending = False

    def _write(self, added: Whole, count: int) -> None:
        """Write the lines ``added``, then a header that counts ``count`` rows; on a full disk neither."""
        try:
            data, done = b"".join(added.texts), 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:], self._end + done)
            if self.durable:
                os.fsync(self._file)
            self._write_header(count, added.head)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            self._appending = False
            error.filename = str(self.path)
            raise
        self._end += added.end

    def _write_header(self, count: int, head: bytes) -> None:
        if os.pwrite(self._file, Header(count, head, me()).line(), 0) != WIDTH:
            raise OSError(errno.EIO, "the header was written in part", str(self.path))

    def close(self) -> None:
        if self._file >= 0:
            ours = self._leased and os.getpid() == self._process
            lease.released(self._file) if ours else os.close(self._file)
            self._file = -1


def is_new(content: bytes) -> bool:
    """Return whether ``content`` is that of a store to which nothing was ever appended."""
    begun = Header(0, ROOT, "").line()[: len(b'{"nas": 2, "rows": 0,')]
    return len(content) < WIDTH and (content.startswith(begun) or not content.strip(b"\0"))
