"""The folders of checkpoints, one per trial, and which of them nobody needs any more."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from nas.history import History
from nas.trial import Trial


def folder_of(trial: Trial) -> str:
    """Return the name of the folder of a trial's checkpoints."""
    return f"trial-{trial.number:04d}"


def tidy(history: History, trial: Trial, folder: Path, kept: Callable[[], Collection[int]]) -> None:
    """Remove the older checkpoints of ``trial``, and all of those below ``folder`` whose trials are not ``kept``.

    Repeats and trials in flight keep theirs. Where ``trial`` left no checkpoint and had none, nothing is looked at.
    """
    own, last = folder / folder_of(trial), trial.last
    if last is None or (last.checkpoint is None and len(trial.steps) < 2 and not trial.failed):
        return
    good = trial.trained  # what failed late is still the model it was before
    keep = good.checkpoint if good is not None else None
    for path in own.glob("*.safetensors") if own.exists() else ():
        if path.name != keep:
            path.unlink(missing_ok=True)
    if not (found := list(folder.glob("trial-*"))):
        return
    known = {folder_of(other): other for other in history.trials.values()}
    wanted = kept()
    for path in found:
        other = known.get(path.name, trial)
        if other.number not in wanted and other.asked is None and other.replicate == 0:
            shutil.rmtree(path, ignore_errors=True)
