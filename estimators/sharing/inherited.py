"""A trained supernet, opened to read: scores of designs, and the weights that a design inherits.

The file of one that was split holds both halves; which of them a design borrows from follows from its configuration.
"""

import errno
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from estimators import checkpoint as checkpoints
from estimators.checkpoint import Checkpoint
from estimators.device import find_device
from estimators.sharing.scoring import Scorer
from estimators.sharing.splitting import Split
from estimators.sharing.weights import SharedWeights
from search_spaces.configuration import Configuration
from search_spaces.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.architecture import Design

WHOLE, HALVES = ("shared",), ("shared 0", "shared 1")  # groups of a file that hold the tensors


def open_supernet(file: Path, data: Path | str, design: "Design", device: str = "cpu") -> Scorer:
    """Return what scores ``design`` by the supernet in ``file`` on the saved ``data``; without one a ``ValueError``."""
    if not file.exists():
        raise ValueError(f"supernet {str(file)!r} does not exist; train one first")
    split, scorers = _opened(file, file.stat().st_mtime_ns, str(data), str(find_device(device)))
    return scorers[0 if split is None else split.group(design.config)]


@lru_cache(maxsize=1)
def _opened(file: Path, stamp: int, data: str, device: str) -> tuple[Split | None, list[Scorer]]:
    stored = checkpoints.load(file)
    of, halves = stored.values["of"], stored.values.get("halves")
    recipe = Recipe.parse(Configuration(stored.values["recipe"]))
    images = {name: int(stored.values[name]) for name in ("calibrate", "validate")}
    scorers = []
    for group in WHOLE if halves is None else HALVES:
        shared = SharedWeights(seed=of["seed"], kernels=of["kernels"], device=device)
        shared.tensors = {name: tensor.to(shared.device) for name, tensor in stored.groups[group].items()}
        scorers.append(Scorer(shared, data, recipe, seed=of["seed"], **images))
    return None if halves is None else Split.of(halves), scorers


def joined(file: Path, halves: tuple[Path, Path], split: Split) -> None:
    """Write into ``file`` the supernets of ``halves``, trained on one group each of ``split``, in its place."""
    first, second = (checkpoints.load(half) for half in halves)
    groups = dict(zip(HALVES, (first.groups["shared"], second.groups["shared"]), strict=True))
    checkpoints.save(file, Checkpoint(groups, {**first.values, "halves": split.row()}))


def inherited(file: Path, data: Path | str, design: "Design", device: str = "cpu") -> Mapping[str, Tensor]:
    """Return the state_dict of the network of ``design`` with the weights of the supernet in ``file``, on ``device``.

    A file that is missing or damaged is an ``OSError``, which says nothing about the design.
    """
    try:
        scorer = open_supernet(file, data, design, device)
    except ValueError as error:
        raise OSError(errno.EIO, f"the weights that a training begins with: {error}", str(file)) from None
    return scorer.candidate(design).cut_out()
