"""Exports of what a trial of a run trained: from its checkpoint to a verified folder."""

from collections.abc import Mapping
from pathlib import Path

from estimators.dataset import Dataset, open_saved
from nas.checkpoints import folder_of, number_of
from nas.exporter import Trained, exporters
from nas.folder import Folder, Settings
from nas.history import History, reached
from nas.trial import Step, Trial
from search_spaces.architecture import Design, SearchSpace

CHECKED = 256  # validation images that an export carries along to be verified with


def export_step(
    folder: Folder,
    settings: Settings,
    design: Design,
    dataset: Dataset,
    trial: Trial,
    step: Step,
    target: Path,
    *,
    metrics: Mapping[str, float],
) -> None:
    """Export what ``step`` of ``trial`` trained into the new folder ``target``, and verify it in a clean process.

    ``metrics`` are what it is said to reach.
    """
    from estimators.train import has_inherited, standardisation, trained_weights

    assert step.checkpoint is not None
    checkpoint = folder.checkpoints / folder_of(trial) / step.checkpoint
    standardise = standardisation(checkpoint)
    begun = {"began with": "the weights of a supernet"} if has_inherited(checkpoint) else {}
    trained = Trained(
        design=design,
        weights=trained_weights(checkpoint),
        classes=dataset.classes,
        normalize=(standardise.mean, standardise.std),
        per_image=standardise.per_image,
        images=dataset.val.x[:CHECKED],
        labels=dataset.val.y[:CHECKED],
        metrics=metrics,
        about={
            "data": dataset.name,
            "trial": trial.number,
            "replicate": trial.replicate,
            "epochs": step.fidelity.epochs,
            "share of the data": step.fidelity.data,
            "seed": settings.seed,
            **begun,
        },
    )
    exporter = exporters.get("pytorch")()
    exporter.export(trained, target)
    exporter.verify(target)


def export_trial(
    folder: Folder, settings: Settings, search_space: SearchSpace, history: History, number: int, target: Path
) -> Path:
    """Export trial ``number`` as last trained with success; a ``ValueError`` if it or its weights are not there."""
    if number not in history.trials:
        raise ValueError(f"no trial {number} in this run; it has 0 to {history.next_number - 1}")
    trial = history.trials[number]
    step = trial.trained
    if step is None or not (folder.checkpoints / folder_of(trial) / str(step.checkpoint)).exists():
        kept = sorted(number_of(path) for path in folder.checkpoints.glob("trial-*"))
        raise ValueError(
            f"the weights of trial {number} were not kept; choose one of {', '.join(map(str, kept))}"
        )
    dataset = open_saved(folder.data)
    design = search_space.decode(trial.config)
    metrics = reached(trial, step, history.events.get(f"latency measured {settings.round}"))
    export_step(folder, settings, design, dataset, trial, step, target, metrics=metrics)
    return target
