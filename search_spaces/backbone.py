"""A classifier of torchvision with another head, frozen up to a stage, for images of any side and colour."""

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from search_spaces.vision import torchvision


class Backbone(nn.Module):
    """``network`` on images (n, C, H, W) brought to ``side`` pixels and three channels.

    The ``frozen`` stages stay as they are, batch statistics included: they are in evaluation mode in training too.
    """

    def __init__(self, network: nn.Module, side: int, frozen: list[nn.Module]) -> None:
        super().__init__()
        self.network, self.side = network, side
        self._frozen = tuple(frozen)
        for stage in self._frozen:
            stage.requires_grad_(False)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode of all but the frozen stages."""
        super().train(mode)
        for stage in self._frozen:
            stage.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        height, width = (int(pixels) for pixels in x.shape[2:])
        if (shorter := min(height, width)) != self.side:
            size = [round(pixels * self.side / shorter) for pixels in (height, width)]
            x = interpolate(x, size=size, mode="bilinear", antialias=False)
        logits: Tensor = self.network(x)
        return logits


def with_head(
    name: str,
    classes: int,
    *,
    side: int,
    hidden: int | None = None,
    dropout: float = 0.0,
    weights: str | None = None,
    frozen: float = 0.0,
) -> Backbone:
    """Return torchvision's ``name`` with its last linear map replaced by a head for ``classes``.

    The head is dropout and a linear map, behind one of ``hidden`` units if given. ``weights`` is a state_dict file
    whose head is left out; one that does not fit is a ``ValueError``. A network on torch's meta device, which is only
    counted, gets none: its file is looked at once in a process. ``frozen`` is the share of stages, from the image on,
    that is not trained.
    """
    network: nn.Module = torchvision("models").get_model(name, weights=None)
    path = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    last = network.get_submodule(path)
    assert isinstance(last, nn.Linear)
    if weights is not None and last.weight.is_meta:
        _check(name, weights, path)
    elif weights is not None:
        _load(network, Path(weights), path)
    head: list[nn.Module] = [nn.Dropout(dropout)]
    if hidden is not None:
        head = [nn.Linear(last.in_features, hidden), nn.ReLU(), *head]
    head.append(nn.Linear(hidden or last.in_features, classes))
    parent, _, attribute = path.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Sequential(*head))
    stages = _stages(network, path)
    return Backbone(network, side, stages[: round(frozen * len(stages))])


@lru_cache(maxsize=64)
def _check(name: str, weights: str, head: str) -> None:
    """Raise a ``ValueError`` if the file ``weights`` does not fit the backbone ``name``."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loading weights there does nothing, and says so
        _load(torchvision("models").get_model(name, weights=None), Path(weights), head)


def _load(network: nn.Module, path: Path, head: str) -> None:
    own = network.state_dict()
    try:
        state = _read(path)
        fits = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
        network.load_state_dict({**fits, **{key: own[key] for key in own if key.startswith(f"{head}.")}})
    except Exception as error:
        cause = " ".join(str(error).split())[:160]
        raise ValueError(
            f"weights {str(path)!r} do not fit their backbone ({cause}); give the state_dict that torchvision "
            "publishes under this name"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _stages(network: nn.Module, head: str) -> list[nn.Module]:
    """Return the parts that hold weights, in the order of the forward pass, without what holds the head."""
    parts: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        inner = list(child.named_children()) if isinstance(child, nn.Sequential) else []
        opened = inner and name in ("features", "trunk_output", "classifier")
        parts += [(f"{name}.{key}", one) for key, one in inner] if opened else [(name, child)]
    return [
        part for name, part in parts if not head.startswith(name) and any(True for _ in part.parameters())
    ]
