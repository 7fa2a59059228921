"""Images kept on a device while the process lives: every evaluation of a worker reads the same tensors.

On a CPU they are a memory map, shared by all processes: of the saved data set, or, where a design takes smaller or grey
images, of an entry of the cache that holds the set so reshaped. On a GPU they are copied and reshaped once, if they
fit. To reshape each batch anew would take 2 to 13 us an image, about 2 % of the default design's step and more of a
smaller one's; to read it from the map takes 0.1 to 0.3 (one AMD EPYC core, torch 2.13, images of 3x32x32).
"""

import contextlib
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from estimators import cache
from estimators.dataset import Dataset, open_saved
from estimators.device import fits, send
from estimators.preprocess import CHUNK, Standardise, to_shape
from estimators.saved import Writer, content_hash
from estimators.split import Split

FORMAT = 1  # of reshaped sets in the cache: a new number when the same images become other ones


@dataclass(frozen=True)
class Images:
    """Images ``x`` (n, C, H, W) uint8 and labels ``y`` (n,) int64 on one device."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the images and labels at ``index`` (k,), which lies where they do, on ``device``."""
        x, y = self.x.index_select(0, index), self.y.index_select(0, index)
        return (x, y) if x.device.type == device.type else (send(x, device), send(y, device))


@dataclass(frozen=True)
class Resident:
    """The training and validation images of a data set on one device, and what standardises them per channel."""

    train: Images
    val: Images
    standardise: Standardise


@lru_cache(maxsize=3)
def resident(folder: str, device: str, shape: tuple[int, int, int]) -> Resident:
    """Open the data set saved in ``folder``, brought to ``shape`` (C, H, W) where it differs, for ``device``.

    On a GPU that it would fill by more than half, it stays in the memory of the computer.
    """
    dataset = open_saved(folder)
    if device != "cpu" and not fits(device, (len(dataset.train) + len(dataset.val)) * prod(shape)):
        device = "cpu"
    if device == "cpu" and dataset.shape != shape:
        with contextlib.suppress(OSError):  # without a cache each process keeps its own
            return _reshaped(folder, dataset, shape)
    train, val = place(dataset.train, device, shape), place(dataset.val, device, shape)
    return Resident(train, val, Standardise.fit(train.x))


def _reshaped(folder: str, dataset: Dataset, shape: tuple[int, int, int]) -> Resident:
    """Return the ``dataset`` of ``folder`` at ``shape``, mapped from the cache; ``OSError`` if there can be none."""
    parts = {"train": dataset.train, "val": dataset.val}

    def make(partial: Path) -> None:
        for name, part in parts.items():
            with Writer(partial / f"{name}.npy", shape) as out:
                for begin in range(0, len(part), CHUNK):
                    out.append(to_shape(_tensor(part.x[begin : begin + CHUNK]), shape).numpy())
        fitted = Standardise.fit(_mapped(partial / "train.npy"))
        (partial / "fitted.json").write_text(json.dumps([fitted.mean, fitted.std]))

    def read(entry: Path) -> Resident:
        train, val = (Images(_mapped(entry / f"{name}.npy"), _tensor(part.y)) for name, part in parts.items())
        mean, std = json.loads((entry / "fitted.json").read_text())
        return Resident(train, val, Standardise(tuple(mean), tuple(std)))

    rounding = torch.__version__, torch.backends.cpu.get_cpu_capability()
    key = cache.key_of(FORMAT, rounding, content_hash(folder), shape)
    return cache.fetch("shaped", key, make, read)


def place(split: Split, device: str, shape: tuple[int, int, int]) -> Images:
    """Return ``split`` as tensors of ``shape`` (C, H, W) on ``device``; on a CPU they share its arrays' memory."""
    x, y = _tensor(split.x), _tensor(split.y).to(device)
    if x.shape[1:] == shape:
        return Images(x.to(device), y)
    parts = [
        to_shape(part.to(device), shape) for part in torch.split(x, CHUNK)
    ]  # a GPU may not hold the larger ones
    return Images(torch.cat(parts), y)


def _mapped(path: Path) -> Tensor:
    return _tensor(np.load(path, mmap_mode="r"))


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
