"""A torchvision backbone with a searched head: which one, at which side, how much of it stays frozen.

Its weights are random, or come from files that the user gives: nothing is downloaded.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Opaque, spaces
from search_spaces.space import Choice, Configuration, Float, Space

if TYPE_CHECKING:
    from torch import nn

NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "regnet_y_400mf",
    "densenet121",
    "convnext_tiny",
)
SUFFIXES = (".pth", ".pt", ".safetensors")
SIDES = (32, 64, 96, 128, 160, 192, 224)
PIXELS = 64  # least side that an image is brought to by default: these networks halve it five times


@spaces.register("backbone")
class Backbone(Opaque):
    """Backbones of torchvision. ``weights`` is a state_dict file, or a folder of them, named after their backbones.

    A file is one that torchvision publishes or ``state_dict()`` saved: ``resnet18.pth``, ``resnet18-f37072fd.pth``,
    ``resnet18.safetensors``. With weights, only backbones that have some are searched.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, weights: str | None = None) -> None:
        self.files = _files(Path(weights)) if weights is not None else dict.fromkeys(NAMES, "")
        build = BackboneBuild(shape, classes, tuple(self.files.items()))
        super().__init__(shape, classes, Space(), build)

    @cached_property
    def space(self) -> Space:
        """Backbone, side in pixels, head, dropout, and, with weights, the share of the stages that stays frozen."""
        side = min(self.shape[1:])
        near = min(SIDES, key=lambda one: abs(one - max(side, PIXELS)))
        names = tuple(self.files)
        parts: dict[str, Any] = {}
        if any(self.files.values()):
            parts["frozen"] = Choice((0.0, 0.25, 0.5, 0.75, 1.0), ordered=True, default=0.5)
        return Space(
            backbone=Choice(names),
            side=Choice(SIDES, ordered=True, default=near),
            head=Choice({"linear": None, "hidden": Space(units=Choice((64, 128, 256, 512), ordered=True))}),
            dropout=Float(0.0, 0.5, default=0.1),
            **parts,
        )


def _files(path: Path) -> dict[str, str]:
    """Return the weights file of each backbone that has one in the folder (or is the file) ``path``."""
    paths = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    found: dict[str, str] = {}
    for name in NAMES:
        for file in paths:
            if file.suffix in SUFFIXES and file.stem.split("-")[0] == name:
                found.setdefault(name, str(file.resolve()))
    if not found:
        raise ValueError(
            f"weights {str(path)!r}: no file there is named after a backbone; name it like resnet18.pth "
            f"(backbones: {', '.join(NAMES)}; suffixes: {', '.join(SUFFIXES)})"
        )
    return found


@dataclass(frozen=True)
class BackboneBuild:
    """Builds the network of a configuration; pickles, so that workers can."""

    shape: tuple[int, int, int]
    classes: int
    files: tuple[tuple[str, str], ...]

    def __call__(self, config: Configuration) -> "nn.Module":
        from search_spaces.backbone import with_head

        name = str(config["backbone"])
        units = config.get("head.hidden.units")
        return with_head(
            name,
            self.classes,
            side=_number(config["side"]),
            hidden=None if units is None else _number(units),
            dropout=float(config["dropout"]),  # type: ignore[arg-type]
            weights=dict(self.files)[name] or None,
            frozen=float(config.get("frozen", 0.0)),  # type: ignore[arg-type]
        )


def _number(value: Any) -> int:
    assert isinstance(value, int)
    return value
