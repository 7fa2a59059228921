"""The sets that torchvision reads and downloads, as uint8 arrays with their official test split."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from estimators.split import Split
from search_spaces.vision import torchvision


def read(name: str, root: Path | None, terms: str, remedy: str = "") -> dict[str, Split | tuple[str, ...]]:
    """Return the official splits of torchvision's data set ``name`` below ``root``, downloaded if absent.

    ``root`` is by default ``$NAS_DATA``, else ``~/.cache/nas``. Before a download its ``terms`` (authors, licence,
    size) go to standard error; one that fails is a ``ValueError``.
    """
    torchvision_sets = torchvision("datasets")
    folder = root or Path(os.environ.get("NAS_DATA", "~/.cache/nas")).expanduser()
    make = getattr(torchvision_sets, name)
    splits: dict[str, Split | tuple[str, ...]] = {}
    for split, official in (("train", True), ("test", False)):
        own: dict[str, Any] = {"split": split} if name == "SVHN" else {"train": official}
        try:
            try:
                source = make(folder, download=False, **own)
            except RuntimeError:
                print(f"downloading {name} into {folder}: {terms}", file=sys.stderr, flush=True)
                folder.mkdir(parents=True, exist_ok=True)
                source = make(folder, download=True, **own)
        except Exception as error:
            cause = " ".join(str(error).split())[:160]
            hint = f"{remedy}, or put" if remedy else "put"
            raise ValueError(
                f"{name} is not below {str(folder)!r} and its download failed ({cause}); "
                f"{hint} torchvision's files there"
            ) from None
        splits[split] = _arrays(source)
        splits["classes"] = tuple(map(str, getattr(source, "classes", range(10))))
    return splits


def _arrays(source: Any) -> Split:
    x = np.asarray(source.data)
    y = np.asarray(source.labels if hasattr(source, "labels") else source.targets)
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[3] == 3:
        x = x.transpose(0, 3, 1, 2)
    return Split(np.ascontiguousarray(x, np.uint8), y.astype(np.int64))
