"""MNIST, read or downloaded by torchvision."""

from pathlib import Path
from typing import Any

from estimators.dataset import Source, datasets
from estimators.split import Split
from estimators.torchvision_sets import read


@datasets.register("mnist")
class MNIST(Source):
    """MNIST: 10 classes, official test split."""

    terms = "LeCun et al. 1998, CC BY-SA 3.0, 12 MB to download"

    def load(self, root: Path | None = None, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        return read("MNIST", root, self.terms)
