"""The folders of checkpoints, one per trial, and which of them nobody needs any more, or needs the least."""

import contextlib
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from estimators.estimator import Fidelity
from nas.history import History
from nas.trial import Step, Trial

SHARE = 0.1  # of the free disk that checkpoints may take where no quota is named
FEW = 48  # folders that are searched for checkpoints after each step that names none
LEAST = 64_000_000  # bytes that they may take in any case


def folder_of(trial: Trial) -> str:
    """Return the name of the folder of a trial's checkpoints."""
    return name_of(trial.number)


def name_of(number: int) -> str:
    """Return the name of the folder of the checkpoints of trial ``number``."""
    return f"trial-{number:04d}"


def number_of(folder: Path) -> int:
    """Return the number of the trial whose checkpoints lie in ``folder``; -1 where the name is of none."""
    digits = folder.name.removeprefix("trial-")
    return int(digits) if digits.isdecimal() and folder.name == name_of(int(digits)) else -1


def folder_beside(store: Path) -> Path:
    """Return the folder of the checkpoints of a study in the file ``store``."""
    return store.with_name(f"{store.name.removesuffix('.log')}-checkpoints")


@contextlib.contextmanager
def beside(store: Path | None) -> Iterator[Path]:
    """Yield the folder of the checkpoints of a study in the file ``store``; one for the time being if it is in memory.

    That of ``study.log`` is ``study-checkpoints``. It stays for a resume, without the folders that hold no checkpoint.
    """
    if store is None:
        with TemporaryDirectory(prefix="nas-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    folder = folder_beside(store)
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        for path in folder.glob("trial-*"):
            if not any(path.rglob("*.safetensors")):
                shutil.rmtree(path, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def base_of(trial: Trial, trials: Mapping[int, Trial]) -> tuple[Trial, Step] | None:
    """Return the trial and the step of it whose checkpoint ``trial`` goes on from; None where it begins afresh.

    A fork begins from what its parent had reached when it was asked for, wherever the parent has gone since.
    """
    if trial.last is not None:
        return (trial, trial.last) if trial.last.checkpoint is not None else None
    if trial.parent is None or not trial.fork:
        return None
    parent, asked = trials[trial.parent], trial.asked
    if asked is None:
        return None if parent.trained is None else (parent, parent.trained)
    done = [step for step in parent.steps if step.error is None and step.checkpoint]
    bases = [step for step in done if step.index < asked.index and step.fidelity.epochs == asked.start]
    return (parent, bases[-1]) if bases else None


def begins_at(trial: Trial, trials: Mapping[int, Trial], fidelity: Fidelity) -> int:
    """Return the epochs from which ``trial`` is evaluated to ``fidelity`` next; 0 is afresh.

    More data or pixels alone are no way on: with them it is trained anew.
    """
    base = base_of(trial, trials)
    start = 0 if base is None else base[1].fidelity.epochs
    return start if start < fidelity.epochs else 0


def _bases(history: History) -> dict[int, set[str]]:
    """Return the checkpoints, by trial, that forks in flight begin from."""
    found = dict[int, set[str]]()
    for trial in history.asked.values():
        if not trial.steps and (base := base_of(trial, history.trials)) is not None:
            found.setdefault(base[0].number, set()).add(str(base[1].checkpoint))
    return found


def tidy(
    history: History,
    trial: Trial,
    folder: Path,
    kept: Callable[[], Collection[int]],
    *,
    quota: float = math.inf,
    promising: Callable[[Collection[int]], Sequence[int]] = sorted,
) -> list[int]:
    """Remove the older checkpoints of ``trial``, and all of those below ``folder`` whose trials are not ``kept``.

    Repeats and trials in flight keep theirs, and so does what a fork in flight begins from. Where there are few
    folders and none holds a checkpoint, that is all. If what is left takes more than ``quota`` bytes, the least
    promising go too (``promising`` orders numbers, the first is never dropped), until it does not. Those are returned.
    """
    if trial.last is None or (trial.last.checkpoint is None and _bare(folder)):
        return []
    bases = _bases(history)
    _trim(trial, folder / folder_of(trial), bases.get(trial.number, set()))
    if not (paths := _folders(folder)):
        return []
    found = {path: history.trials.get(number_of(path), trial) for path in paths}
    free = {
        o.number for o in found.values() if o.asked is None and o.replicate == 0 and o.number not in bases
    }
    unwanted = free - set(kept())
    for path, other in found.items():
        if other.number in unwanted:
            shutil.rmtree(path, ignore_errors=True)
    if quota == math.inf:
        return []
    held = {other.number: bytes_in(path) for path, other in found.items() if other.number not in unwanted}
    return _dropped(folder, held, free - unwanted, quota, promising)


def _bare(folder: Path) -> bool:
    """Return whether ``folder`` has few folders of trials, and no checkpoint in them, named by a step or not."""
    folders = _folders(folder)
    return len(folders) <= FEW and not any(map(_holds_weights, folders))


def _holds_weights(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(".safetensors") for entry in entries)


def _folders(folder: Path) -> list[Path]:
    """Return the folders of trials below ``folder``; a glob takes several times as long, at each result."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.name.startswith("trial-") and entry.is_dir()]
    return []


def _trim(trial: Trial, own: Path, bases: Collection[str]) -> None:
    """Remove from its folder ``own`` the checkpoints of ``trial`` but the newest good one and those in ``bases``."""
    good = trial.trained  # what failed late is still the model it was before
    for path in own.glob("*.safetensors") if own.exists() else ():
        if path.name not in bases and (good is None or path.name != good.checkpoint):
            path.unlink(missing_ok=True)


def _dropped(
    folder: Path,
    held: dict[int, int],
    free: Collection[int],
    quota: float,
    promising: Callable[[Collection[int]], Sequence[int]],
) -> list[int]:
    """Drop the least promising of ``free`` until what is ``held``, bytes by trial, is within ``quota``; return them."""
    dropped: list[int] = []
    total = sum(held.values())
    order = list(promising([number for number in free if held[number]])) if total > quota else []
    while total > quota and len(order) > 1:
        dropped.append(order.pop())
        total -= held[dropped[-1]]
        shutil.rmtree(folder / name_of(dropped[-1]), ignore_errors=True)
    return dropped


def bytes_in(folder: Path) -> int:
    """Return what the checkpoints in ``folder`` take."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def share_of_disk(folder: Path) -> int:
    """Return the quota where none is named: a ``SHARE`` of what is free or taken by checkpoints, or ``LEAST`` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = sum(bytes_in(path) for path in folder.glob("trial-*"))
    return max(int(SHARE * (shutil.disk_usage(folder).free + taken)), LEAST)


def parse_bytes(text: str | float) -> int:
    """Read ``2000000``, ``"500MB"`` or ``"2.5GB"`` (powers of ten) as bytes; else a ``ValueError``."""
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([KMGT]?)B?\s*", str(text), re.IGNORECASE)
    size = float(match[1]) * units[match[2].upper()] if match else 0.0
    if size < 1:
        raise ValueError(f"checkpoint quota {text!r}: write a size such as 500MB, 2.5GB or 2000000000")
    return int(size)
