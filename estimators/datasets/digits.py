"""The 1,797 handwritten digits of scikit-learn (8x8, grey): the embedded default, needs no download."""

from typing import Any

import numpy as np

from estimators.dataset import Source, datasets
from estimators.split import Split


@datasets.register("digits")
class Digits(Source):
    """Optical recognition of handwritten digits. No official test split."""

    terms = "Alpaydin and Kaynak 1998, CC BY 4.0, comes with scikit-learn"

    def load(self, **options: Any) -> dict[str, Split | tuple[str, ...]]:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        pixels = np.rint(x * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        return {"train": Split(pixels, y.astype(np.int64)), "classes": tuple(map(str, range(10)))}
