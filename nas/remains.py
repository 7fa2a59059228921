"""What should lie beside a store, and what does: the weights that a study goes on from, and its exported model."""

import ast
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.checkpoints import base_of, folder_beside, folder_of, number_of
from nas.folder import Folder
from nas.history import History
from nas.salvage import LeftOut, Salvaged, consistent, salvaged
from nas.storage import Row
from nas.trial import Step, Trial

EXPORTED = ("model.py", "predict.py", "recipe.json", "check.safetensors")


@dataclass(frozen=True)
class Patient:
    """The files to look at: a store, its folder of checkpoints, and the run folder unless it is a bare study."""

    store: Path
    checkpoints: Path
    folder: Folder | None = None

    @classmethod
    def at(cls, path: str | Path) -> "Patient":
        """Return what lies at ``path``: a run folder, or the file of a study. A ``ValueError`` if it is neither."""
        path = Path(path)
        if path.name == "study.log" and Folder(path.parent).config.exists():
            path = path.parent
        folder = Folder(path)
        if path.is_dir() and any(part.exists() for part in (folder.config, folder.store, folder.status_file)):
            return cls(folder.store, folder.checkpoints, folder)
        if not path.is_file():
            raise ValueError(
                f"no run and no study in {str(path)!r}; give the folder of a run, for example runs/digits, or the file "
                "of a study"
            )
        return cls(path, folder_beside(path))

    @staticmethod
    def plausible(content: bytes) -> bool:
        """Return whether ``content``, of which no row is left, may have been a store: its begin says so, or zeros."""
        begin = b'{"nas"'
        return content.startswith(begin) or begin.startswith(content) or not content.strip(b"\0")

    @property
    def begun(self) -> bool:
        """Whether something beside the store tells that trials were begun."""
        ours = self.folder is not None and self.folder.status_file.exists()
        return ours or any(self.checkpoints.glob("trial-*"))

    @property
    def working(self) -> bool:
        """Whether a process of this machine says that it is at work on the run."""
        return self.folder is not None and self.folder.status()["state"] == "running"


@dataclass(frozen=True)
class Told:
    """What can be trusted of a store: rows, what of them is ``left`` out, and the trials that the others tell of."""

    found: Salvaged
    rows: Sequence[Row]
    left: Sequence[LeftOut]
    history: History

    @classmethod
    def of(cls, content: bytes) -> "Told":
        """Read the content of a store."""
        found = salvaged(content)
        rows, left = (list(found.rows.values()), []) if found.whole else consistent(found.rows)
        history = History()
        history.read(rows)
        return cls(found, rows, left, history)

    @property
    def whole(self) -> bool:
        """Whether the store lacks nothing."""
        return self.found.whole and not self.left

    def forgiven(self) -> set[tuple[int, int]]:
        """Return trials and steps whose weights a salvage or a backup has told to be gone."""
        values = [self.history.events.get(name) for name in ("salvaged", "backup")]
        named = [value.get("without", ()) for value in values if isinstance(value, Mapping)]
        return {(trial, step) for pairs in named for trial, step in pairs}


def unreadable(folder: Path) -> list[Path]:
    """Return the safetensors files below ``folder`` whose header or length is wrong."""
    return [path for path in files_below(folder) if path.suffix == ".safetensors" and not readable(path)]


def files_below(folder: Path) -> list[Path]:
    """Return all files below ``folder``; folders may be dropped while we look."""
    return sorted(Path(at, name) for at, _, names in os.walk(folder) for name in names)


def readable(path: Path) -> bool:
    """Return whether header and length of a safetensors file are right."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return True
    except FileNotFoundError:  # dropped while we looked
        return True
    except (SafetensorError, OSError):
        return False


def due(history: History) -> Iterator[tuple[Trial, Step]]:
    """Yield each trial that is gone on with, of a fork its parent, and the step whose weights it goes on from."""
    ended = {key.partition(" ")[2] for key in history.events if key.startswith("winner ")}
    for trial in history.trials.values():
        if trial.asked is not None and trial.asked.start:
            if (base := base_of(trial, history.trials)) is not None:
                yield base
        elif trial.replicate and trial.asked is None and trial.trained is not None and not trial.failed:
            plan = history.events.get(f"finals {trial.replicate}") or {}
            if str(trial.replicate) not in ended and trial.trained.fidelity.epochs < plan.get("epochs", 0):
                yield trial, trial.trained


def gone(patient: Patient, told: Told) -> list[tuple[int, int]]:
    """Return trial and step of all weights that would be gone on with and are gone, unless that was told before.

    A study without a folder of checkpoints beside it keeps its weights elsewhere.
    """
    if patient.folder is None and not patient.checkpoints.is_dir():
        return []
    lacking = {
        (trial.number, step.index)
        for trial, step in due(told.history)
        if not _usable(patient.checkpoints / folder_of(trial) / str(step.checkpoint))
    }
    return sorted(lacking - told.forgiven())


def strangers(patient: Patient, told: Told) -> list[Path]:
    """Return the folders of checkpoints of trials that the store does not know."""
    found = {path: number_of(path) for path in sorted(patient.checkpoints.glob("trial-*"))}
    return [path for path, number in found.items() if number >= 0 and number not in told.history.trials]


def winner_of(events: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]] | None:
    """Return the newest round that has an export, and its winner."""
    rounds = [
        int(key.split(" ")[1])
        for key in events
        if key.startswith("export ") and key.split(" ")[1].isdecimal()
    ]
    newest = max(rounds, default=0)
    winner = events.get(f"winner {newest}")
    return None if winner is None else (newest, winner)


def unexported(events: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the winners, by round, that have no export."""
    winners = {
        key.removeprefix("winner "): value for key, value in events.items() if key.startswith("winner ")
    }
    return {number: value for number, value in winners.items() if f"export {number}" not in events}


def there(checkpoints: Path, history: History, winner: Mapping[str, Any]) -> bool:
    """Return whether the weights of ``winner`` can be read."""
    trial = history.trials[winner["trial"]]
    step = next(step for step in trial.steps if step.index == winner["step"])
    return _usable(checkpoints / folder_of(trial) / str(step.checkpoint))


def _usable(path: Path) -> bool:
    return path.is_file() and readable(path)


def wrong_in(best: Path, trial: int) -> list[str]:
    """Return what is wrong with an exported model that should be that of ``trial``."""
    wrong = [f"{name} is missing" for name in EXPORTED if not (best / name).is_file()]
    if not any((best / name).is_file() for name in ("weights.safetensors", "model.pt2")):
        wrong.append("its weights are missing")
    wrong += [f"{path.name} cannot be read" for path in unreadable(best)]
    for name in ("model.py", "predict.py", "recipe.json"):
        try:
            known = _parsed(best / name)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, SyntaxError):
            wrong.append(f"{name} cannot be read")
            continue
        if name == "recipe.json" and known.get("trial") != trial:
            wrong.append(f"recipe.json is of trial {known.get('trial')}, and trial {trial} won")
    return wrong


def _parsed(path: Path) -> Any:
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else ast.parse(text)
