"""Where a parameter stands in a space, and what makes it active."""

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.configuration import Value
from search_spaces.parameter import Parameter

Conditions = tuple[tuple[str, tuple[Value, ...]], ...]


@dataclass(frozen=True)
class Slot:
    """A parameter at its path, and what makes it active: of each (path, options), one option must be chosen."""

    path: str
    parameter: Parameter
    conditions: Conditions = ()

    def active(self, values: Mapping[str, Value]) -> bool:
        """Return whether the parameter exists, given the values of those that stand before it."""
        if not self.conditions:
            return True
        path, options = self.conditions[-1]  # what it opens is active only where it is active itself
        return path in values and values[path] in options
