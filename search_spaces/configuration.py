"""Configurations: what a search draws, as a frozen map from the path of a parameter to its value."""

import hashlib
import json
from collections.abc import ItemsView, Iterator, KeysView, Mapping

Value = bool | int | float | str | None


class Configuration(Mapping[str, Value]):
    """A frozen map from path to value. Holds active parameters only, and values, never unit coordinates."""

    __slots__ = ("_id", "_values")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values: dict[str, Value] = dict(sorted(values.items()))
        self._id: str | None = None

    def __getitem__(self, path: str) -> Value:
        return self._values[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, path: object) -> bool:
        return path in self._values

    def keys(self) -> KeysView[str]:
        return self._values.keys()

    def items(self) -> ItemsView[str, Value]:
        return self._values.items()

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and self.id == other.id

    def __repr__(self) -> str:
        return f"Configuration({', '.join(f'{path}={value!r}' for path, value in self.items())})"

    def __reduce__(self) -> tuple[type["Configuration"], tuple[dict[str, Value]]]:
        return Configuration, (self._values,)

    @property
    def id(self) -> str:
        """Hash of the canonical typed JSON: equal values have equal ids on every machine (1 and 1.0 differ)."""
        if self._id is None:
            text = json.dumps(self._values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
            self._id = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._id

    def part(self, prefix: str) -> "Configuration":
        """Return what lies under ``prefix``, with the prefix taken off the paths."""
        head = prefix + "."
        return Configuration(
            {path[len(head) :]: value for path, value in self.items() if path.startswith(head)}
        )
