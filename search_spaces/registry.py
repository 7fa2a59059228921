"""Registries: one name, one file, one decorator; nothing is imported until it is used.

A registry lists the files of one folder and the entry points of one group *without importing* them, so that
``nas list`` and ``nas --help`` cost no torch. ``get`` imports the one module that is asked for.
"""

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


def nearest(name: str, names: list[str]) -> str:
    """Return the tail of an error message: the nearest guess, or all there is to choose from."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(map(repr, names))}"


class Registry(Generic[T]):
    """The plug-ins of one kind: the files of ``package`` and the entry points of the group of the same name.

    ``kind`` is the singular noun used in messages. A plug-in's name is its file's name with ``_`` as ``-``.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated object as ``name``; a second object of that name is a ``ValueError``."""

        def add(entry: T) -> T:
            known = self._entries.get(name)
            if known is not None and getattr(known, "__module__", None) != getattr(entry, "__module__", None):
                raise ValueError(
                    f"{self.kind} {name!r} is registered twice: by {known!r} and by {entry!r}; rename one"
                )
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        """Return every known name in order, without importing a plug-in: a file is one if it registers its own name."""
        plugins = {name for name, path in self._files().items() if f'register("{name}")' in path.read_text()}
        return sorted({*plugins, *self._entry_points(), *self._entries})

    def get(self, name: str) -> T:
        """Return the plug-in called ``name``; an unknown name is a ``ValueError`` with the nearest guess."""
        if name not in self._entries:
            if path := self._files().get(name):
                importlib.import_module(f"{self.package}.{path.stem}")
            elif point := self._entry_points().get(name):
                self.register(name)(cast(T, point.load()))
            else:
                raise ValueError(f"no {self.kind} {name!r}; {nearest(name, self.names())}")
        if name not in self._entries:
            raise ValueError(
                f"{self.package}.{name} registers no {self.kind} {name!r}; decorate one with register({name!r})"
            )
        return self._entries[name]

    def _files(self) -> dict[str, Path]:
        folders = importlib.import_module(self.package).__path__
        paths = (path for folder in folders for path in Path(folder).glob("[!_]*.py"))
        return {path.stem.replace("_", "-"): path for path in paths}

    def _entry_points(self) -> dict[str, Any]:
        return {point.name: point for point in importlib.metadata.entry_points(group=self.package)}
