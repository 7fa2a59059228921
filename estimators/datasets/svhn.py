"""SVHN, read or downloaded by torchvision."""

from pathlib import Path
from typing import Any

from estimators.dataset import Source, datasets
from estimators.split import Split
from estimators.torchvision_sets import read


@datasets.register("svhn")
class SVHN(Source):
    """Netzer et al. 2011, for non-commercial use, 246 MB to download."""

    def load(self, root: Path | None = None, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        return read("SVHN", root)
