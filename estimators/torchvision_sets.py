"""The sets that torchvision reads and downloads, as uint8 arrays with their official test split."""

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from estimators.split import Split

_declared: list[Any] = []  # a library lives as long as somebody holds it


def read(name: str, root: Path | None, terms: str, remedy: str = "") -> dict[str, Split | tuple[str, ...]]:
    """Return the official splits of torchvision's data set ``name`` below ``root``, downloaded if absent.

    ``root`` is by default ``$NAS_DATA``, else ``~/.cache/nas``. Before a download its ``terms`` (authors, licence,
    size) go to standard error; one that fails is a ``ValueError``.
    """
    torchvision_sets = _import_sets()
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


def _import_sets() -> Any:
    """Return ``torchvision.datasets``.

    A torchvision built for CUDA beside a torch for CPU cannot load its compiled operators, and then fails to import
    because they are unknown. Its data sets need none of them: each is declared, so that the import goes through.
    """
    for _ in range(20):
        try:
            return importlib.import_module("torchvision.datasets")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            _declared.append(torch.library.Library("torchvision", "FRAGMENT"))  # type: ignore[no-untyped-call]
            _declared[-1].define(f"{missing[1]}(Tensor x) -> Tensor")
    raise RuntimeError("torchvision does not import; install the build that belongs to this torch")


def _arrays(source: Any) -> Split:
    x = np.asarray(source.data)
    y = np.asarray(source.labels if hasattr(source, "labels") else source.targets)
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[3] == 3:
        x = x.transpose(0, 3, 1, 2)
    return Split(np.ascontiguousarray(x, np.uint8), y.astype(np.int64))
