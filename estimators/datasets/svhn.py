"""SVHN, read or downloaded by torchvision."""

from pathlib import Path
from typing import Any

from estimators.dataset import Source, datasets
from estimators.split import Split
from estimators.torchvision_sets import read


@datasets.register("svhn")
class SVHN(Source):
    """SVHN: 10 classes, official test split."""

    terms = "Netzer et al. 2011, for non-commercial use only, 246 MB to download"

    def load(self, root: Path | None = None, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        return read("SVHN", root, self.terms)
