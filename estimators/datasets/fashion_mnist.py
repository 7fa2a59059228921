"""Fashion-MNIST (60,000 + 10,000 grey 28x28): Debian's package, a torchvision root, or torchvision's download."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from estimators.dataset import Source, datasets
from estimators.split import Split
from estimators.torchvision_sets import read

PACKAGE = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@datasets.register("fashion-mnist")
class FashionMNIST(Source):
    """60,000 + 10,000 pictures of clothes in 10 classes."""

    terms = "Xiao et al. 2017, MIT licence, 30 MB to download unless Debian's package is installed"

    def load(self, root: Path | None = None, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        if root is None and (PACKAGE / "train-images-idx3-ubyte.gz").is_file():
            return {"train": _idx(PACKAGE, "train"), "test": _idx(PACKAGE, "t10k"), "classes": CLASSES}
        remedy = "install Debian's package dataset-fashion-mnist"
        return {**read("FashionMNIST", root, self.terms, remedy), "classes": CLASSES}


def _idx(folder: Path, name: str) -> Split:
    """Read a pair of idx files: a big-endian header of 16 or 8 bytes, then bytes."""
    with gzip.open(folder / f"{name}-images-idx3-ubyte.gz") as file:
        raw = file.read()
    n, h, w = np.frombuffer(raw, ">i4", 3, 4)
    with gzip.open(folder / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return Split(np.frombuffer(raw, np.uint8, offset=16).reshape(n, 1, h, w), labels.astype(np.int64))
