"""CIFAR10, read or downloaded by torchvision."""

from pathlib import Path
from typing import Any

from estimators.dataset import Source, datasets
from estimators.split import Split
from estimators.torchvision_sets import read


@datasets.register("cifar10")
class CIFAR10(Source):
    """CIFAR10: 10 classes, official test split."""

    terms = "Krizhevsky 2009, no licence stated, 170 MB to download"

    def load(self, root: Path | None = None, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        return read("CIFAR10", root, self.terms)
