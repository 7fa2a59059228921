"""torchvision, imported beside any build of torch."""

import importlib
import re
import sys
from typing import Any

import torch

_declared: list[Any] = []  # a library lives as long as somebody holds it


def torchvision(module: str) -> Any:
    """Return ``torchvision.MODULE``.

    A torchvision built for CUDA beside a torch for CPU cannot load its compiled operators, and then fails to import
    because they are unknown. Data sets, models and transforms need none of them: each is declared, so that the
    import goes through.
    """
    for _ in range(20):
        try:
            return importlib.import_module(f"torchvision.{module}")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            _declared.append(torch.library.Library("torchvision", "FRAGMENT"))  # type: ignore[no-untyped-call]
            _declared[-1].define(f"{missing[1]}(Tensor x) -> Tensor")
    raise RuntimeError("torchvision does not import; install the build that belongs to this torch")
