"""A trained supernet, opened to read: scores of designs, and the weights that a design inherits."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from estimators import checkpoint as checkpoints
from estimators.device import find_device
from estimators.sharing.scoring import Scorer
from estimators.sharing.weights import SharedWeights
from search_spaces.configuration import Configuration
from search_spaces.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.architecture import Design


def open_supernet(file: Path, data: Path | str, device: str = "cpu") -> Scorer:
    """Return what scores designs by the supernet in ``file`` on the saved ``data``; without one a ``ValueError``."""
    if not file.exists():
        raise ValueError(f"supernet {str(file)!r} does not exist; train one first")
    status = file.stat()
    return _opened(file, status.st_mtime_ns, str(data), str(find_device(device)))


@lru_cache(maxsize=1)
def _opened(file: Path, stamp: int, data: str, device: str) -> Scorer:
    stored = checkpoints.load(file)
    of = stored.values["of"]
    shared = SharedWeights(seed=of["seed"], kernels=of["kernels"], device=device)
    shared.tensors = {name: tensor.to(shared.device) for name, tensor in stored.groups["shared"].items()}
    recipe = Recipe.parse(Configuration(stored.values["recipe"]))
    images = {name: int(stored.values[name]) for name in ("calibrate", "validate")}
    return Scorer(shared, data, recipe, seed=of["seed"], **images)


def inherited(file: Path, data: Path | str, design: "Design") -> Mapping[str, Tensor]:
    """Return the state_dict of the network of ``design`` with the weights of the supernet in ``file``, on the CPU."""
    return open_supernet(file, data).candidate(design).cut_out()
