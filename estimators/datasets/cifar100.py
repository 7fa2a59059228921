"""CIFAR100, read or downloaded by torchvision."""

from pathlib import Path
from typing import Any

from estimators.dataset import Source, datasets
from estimators.split import Split
from estimators.torchvision_sets import read


@datasets.register("cifar100")
class CIFAR100(Source):
    """CIFAR100: 100 classes, official test split."""

    terms = "Krizhevsky 2009, no licence stated, 169 MB to download"

    def load(self, root: Path | None = None, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        return read("CIFAR100", root, self.terms)
