"""Images kept on a device while the process lives: every evaluation of a worker reads the same tensors.

On a CPU they are the memory map itself, shared by all processes; on a GPU they are copied once.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from estimators.dataset import open_saved
from estimators.preprocess import Standardise, to_shape
from estimators.split import Split


@dataclass(frozen=True)
class Images:
    """Images ``x`` (n, C, H, W) uint8 and labels ``y`` (n,) int64 on one device."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Resident:
    """The training and validation images of a data set on one device, and what standardises them per channel."""

    train: Images
    val: Images
    standardise: Standardise


@lru_cache(maxsize=3)
def resident(folder: str, device: str, shape: tuple[int, int, int]) -> Resident:
    """Open the data set saved in ``folder`` on ``device``, brought to ``shape`` (C, H, W) where it differs."""
    dataset = open_saved(folder)
    train, val = place(dataset.train, device, shape), place(dataset.val, device, shape)
    return Resident(train, val, Standardise.fit(train.x))


def place(split: Split, device: str, shape: tuple[int, int, int]) -> Images:
    """Return ``split`` as tensors of ``shape`` (C, H, W) on ``device``; on a CPU they share its arrays' memory."""
    x, y = _tensor(split.x).to(device), _tensor(split.y).to(device)
    return Images(to_shape(x, shape), y)


def _tensor(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():  # a read-only map stays unwritten: nothing here changes an image in place
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def stratified_order(y: np.ndarray, seed: int) -> np.ndarray:
    """Return a permutation (n,) of which every beginning holds the classes in their proportions.

    Shares of the data are nested: the first tenth lies within the first fifth.
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(y))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        place[members] = (rng.permutation(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")
