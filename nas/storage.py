"""What a storage is: an ordered list of rows that outlives any process, and says so when it is not whole.

Contract
    append   once it returns, the rows survive SIGKILL of any process (power loss too, with ``durable``); rows of one
             call are kept together or not at all. It raises ``OSError`` when they cannot be kept; then none is.
    rows     what was appended, in order. A missing or altered row is a ``ValueError``, never silent. What a killed
             writer left half-written was never acknowledged and is dropped.
    lease    one writer at a time; the kernel takes the lease back when the process ends. Readers need none.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from search_spaces.registry import Registry

storages: "Registry[type[Storage]]" = Registry("storage", "nas.storages")

Row = Mapping[str, Any]


class Storage(ABC):
    """A store opened for writing (holds the lease) or for reading."""

    @abstractmethod
    def __init__(self, path: Path | None, *, write: bool = True, durable: bool = False) -> None:
        """Open ``path``, made if absent and ``write``; None is a store in memory, if the plug-in has one.

        A ``ValueError`` says that another process is writing, that the file is damaged, or of a newer version.
        """

    @property
    @abstractmethod
    def rows(self) -> list[Row]:
        """All rows in order."""

    @abstractmethod
    def append(self, *rows: Row) -> None:
        """Keep ``rows``: maps of plain JSON values."""

    @abstractmethod
    def close(self) -> None:
        """Give the lease back."""

    def __enter__(self) -> "Storage":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
