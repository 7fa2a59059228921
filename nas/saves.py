"""What a user's own function saves: which file has the weights of its last report, and whether it still has them.

A checkpoint is of its last report only if it was saved since the one before and, while the call stands still, before
that report: what was saved later may hold weights that were trained further, or be half written. A process may be
killed after the function wrote over the file that a step names, so beside it ``SEALS`` says when it was written.
"""

import json
from pathlib import Path

SEALS = "seals.json"  # epochs and time of writing of the checkpoints in a folder, by name


class Saves:
    """The ``*.safetensors`` in the folder ``scratch``, as they were at the last two reports of a call."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._before = self._last = self._look()
        self._first: bool | None = None  # whether something was saved before the first report

    def reported(self) -> None:
        """Note what lies there as a report comes in."""
        self._before, self._last = self._last, self._look()
        if self._first is None:
            self._first = self._last != self._before

    def newest(self, ended: bool) -> Path | None:
        """Return the checkpoint of the last report; of a call that has ``ended`` it may have been saved later.

        A call that reported before it first saved may save each epoch after its report. Then, with something newer
        there, what lay there at the last report is of the epoch before.
        """
        now = self._look()
        newer = [path for path, stamp in now.items() if self._last.get(path) != stamp]
        if ended and newer:
            return max(newer, key=now.__getitem__)
        if newer and not self._first:
            return None
        new = [path for path, stamp in self._last.items() if self._before.get(path) != stamp]
        path = max(new, key=self._last.__getitem__, default=None)
        return path if path is not None and now.get(path) == self._last[path] else None

    def _look(self) -> dict[Path, tuple[int, int, int]]:
        """Return time, inode and size of each: a clock of files that ticks slowly does not tell two saves apart."""
        found = {path: path.stat() for path in self._scratch.glob("*.safetensors")}
        return {path: (one.st_mtime_ns, one.st_ino, one.st_size) for path, one in found.items()}


def seal(path: Path, epochs: int) -> None:
    """Note that ``path``, as it is now, has the weights after ``epochs`` epochs."""
    kept = {name: one for name, one in _seals(path.parent).items() if (path.parent / name).exists()}
    text = json.dumps({**kept, path.name: [epochs, path.stat().st_mtime_ns]})
    (path.parent / SEALS).write_text(text, encoding="utf-8")


def sealed(path: Path, epochs: int) -> bool:
    """Return whether ``path`` still has the weights after ``epochs`` epochs."""
    return path.exists() and _seals(path.parent).get(path.name) == [epochs, path.stat().st_mtime_ns]


def _seals(folder: Path) -> dict[str, list[int]]:
    try:
        found: dict[str, list[int]] = json.loads((folder / SEALS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # torn by a kill
        return {}
    return found
