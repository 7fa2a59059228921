"""The folders of checkpoints, one per trial, and which of them nobody needs any more."""

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from nas.history import History
from nas.trial import Step, Trial


def folder_of(trial: Trial) -> str:
    """Return the name of the folder of a trial's checkpoints."""
    return f"trial-{trial.number:04d}"


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


def _bases(history: History) -> dict[int, set[str]]:
    """Return the checkpoints, by trial, that forks in flight begin from."""
    found = dict[int, set[str]]()
    for trial in history.asked.values():
        if not trial.steps and (base := base_of(trial, history.trials)) is not None:
            found.setdefault(base[0].number, set()).add(str(base[1].checkpoint))
    return found


def tidy(history: History, trial: Trial, folder: Path, kept: Callable[[], Collection[int]]) -> None:
    """Remove the older checkpoints of ``trial``, and all of those below ``folder`` whose trials are not ``kept``.

    Repeats and trials in flight keep theirs, and so does what a fork in flight begins from. Where ``trial`` left no
    checkpoint and had none, nothing is looked at.
    """
    own, last = folder / folder_of(trial), trial.last
    if last is None or (last.checkpoint is None and len(trial.steps) < 2 and not trial.failed):
        return
    good = trial.trained  # what failed late is still the model it was before
    bases = _bases(history)
    keep = {good.checkpoint if good is not None else None} | bases.get(trial.number, set())
    for path in own.glob("*.safetensors") if own.exists() else ():
        if path.name not in keep:
            path.unlink(missing_ok=True)
    if not (found := list(folder.glob("trial-*"))):
        return
    known = {folder_of(other): other for other in history.trials.values()}
    wanted = {*kept(), *bases}
    for path in found:
        other = known.get(path.name, trial)
        if other.number not in wanted and other.asked is None and other.replicate == 0:
            shutil.rmtree(path, ignore_errors=True)
