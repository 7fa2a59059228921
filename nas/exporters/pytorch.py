"""A trained design as plain PyTorch: source that a person can read, weights, and what verifies them.

    model.py             the network; ``load()`` returns it trained, ``preprocess`` makes its input from uint8 images
    weights.safetensors  float32        recipe.json   how it was found and trained        graph.json   as data
    predict.py           classifies picture files        check.safetensors   images with the logits they must give

A design built by a user's own function has no graph to print: it is traced by ``torch.export`` into ``model.pt2``.
"""

import itertools
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.exporter import Exporter, Trained, exporters
from nas.exporters.clean import logits_of
from nas.exporters.templates import PREDICT, README, module_text, traced_text

if TYPE_CHECKING:
    from torch import nn

ABSOLUTE = RELATIVE = 1e-4  # how far logits may be off: ABSOLUTE + RELATIVE * |expected|
MOST_CHECKED = 256
_serial = itertools.count()


@exporters.register("pytorch")
class PyTorch(Exporter):
    """The default exporter. What it writes needs torch and safetensors, ``predict.py`` pillow too."""

    def export(self, trained: Trained, folder: Path) -> Path:
        folder = Path(folder)
        if folder.exists():
            raise ValueError(f"{str(folder)!r} exists; choose a folder that does not")
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _write(trained, partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder

    def verify(self, folder: Path) -> Mapping[str, float]:
        return verify_all([folder])[0]


def verify_all(folders: Sequence[Path]) -> list[Mapping[str, float]]:
    """Verify several folders in one clean process; see ``Exporter.verify``."""
    checks = [_check_of(Path(folder)) for folder in folders]
    logits = logits_of([(folder, images) for folder, (images, _) in zip(folders, checks, strict=True)])
    return [
        _compare(folder, got, expected)
        for folder, got, (_, expected) in zip(folders, logits, checks, strict=True)
    ]


def evaluate_exported(folder: Path, images: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
    """Return the float32 logits (n, classes) of the exported model on ``images`` (n, C, H, W) uint8.

    They come from a clean process: it is the exported files that are scored.
    """
    return logits_of([(folder, images)], batch_size=batch_size)[0]


def to_module(folder: Path) -> "nn.Module":
    """Return the trained module of an export, in evaluation mode, loaded into this process."""
    path = Path(folder) / "model.py"
    if not path.is_file():
        raise ValueError(f"no exported model in {str(folder)!r}; give a folder that `nas export` wrote")
    module = ModuleType(f"nas_exported_{next(_serial)}")
    module.__file__ = str(path)
    exec(
        compile(path.read_text(), str(path), "exec"), module.__dict__
    )  # as an import would, but without a cache file
    network: nn.Module = module.load()
    return network


def _write(trained: Trained, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from estimators.preprocess import Standardise, to_shape

    design = trained.design
    network = design.network(0)
    weights = {name: torch.from_numpy(np.array(array)) for name, array in trained.weights.items()}
    network.load_state_dict(weights)
    network.eval()
    images = torch.from_numpy(np.array(trained.images[:MOST_CHECKED]))
    standardise = Standardise(*trained.normalize, per_image=trained.per_image)
    z = standardise(to_shape(images, design.shape)).contiguous()
    with torch.inference_mode():
        logits = network(z)
    facts: dict[str, Any] = {
        "classes": trained.classes,
        "image": tuple(images.shape[1:]),
        "shape": design.shape,
        "standardise": standardise,
    }
    if design.graph is not None:
        from search_spaces.source import source

        graph = design.graph.simplified()
        text = module_text(source(graph, design.shape), **facts)
        (folder / "graph.json").write_text(json.dumps(graph.to_json(), indent=1) + "\n")
        save_file(
            {name: tensor.contiguous() for name, tensor in weights.items()}, folder / "weights.safetensors"
        )
    else:
        text = traced_text(**facts)
        _trace(network, z, folder / "model.pt2")
    labels = torch.from_numpy(np.array(trained.labels[:MOST_CHECKED]))
    save_file({"images": images, "labels": labels, "logits": logits}, folder / "check.safetensors")
    (folder / "model.py").write_text(text)
    (folder / "predict.py").write_text(PREDICT)
    (folder / "README.md").write_text(README.format(about=_about(trained), classes=len(trained.classes)))
    (folder / "requirements.txt").write_text("torch\nsafetensors\nnumpy\npillow\n")
    recipe = {
        "architecture": dict(design.config.part("architecture")),
        "recipe": dict(design.recipe),
        "validation": dict(trained.metrics),
        **trained.about,
    }
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")


def _trace(network: "nn.Module", z: Any, path: Path) -> None:
    """Trace ``network`` for any number of images like the first of ``z``; two stand for them, as one would mean one."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    pair = z[:1].repeat(2, 1, 1, 1)
    program = torch.export.export(network, (pair,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def _about(trained: Trained) -> str:
    facts = {**trained.about, **{f"validation {k}": v for k, v in trained.metrics.items()}}
    return "\n".join(
        f"- {name}: {value:.6g}" if isinstance(value, float) else f"- {name}: {value}"
        for name, value in facts.items()
    )


def _check_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and the logits they must give."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    for name in ("model.py", "check.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{str(folder)!r} has no {name}; give a folder that `nas export` wrote, or export again"
            )
    try:
        check = load_file(folder / "check.safetensors")
        return check["images"], check["logits"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{str(folder / 'check.safetensors')!r} is damaged ({error}); export again"
        ) from None


def _compare(folder: Path, got: np.ndarray, expected: np.ndarray) -> Mapping[str, float]:
    """Return how the logits agree; a ``ValueError`` if they do not."""
    difference = np.abs(got - expected) / (ABSOLUTE + RELATIVE * np.abs(expected))
    worst = float(difference.max()) if np.isfinite(got).all() else float("inf")
    equal = float((got.argmax(1) == expected.argmax(1)).mean())
    if worst > 1 or equal < 1:
        raise ValueError(
            f"{str(folder)!r} does not compute what was trained: top-1 equal on {equal:.1%} of {len(got)} images, "
            f"logits off by up to {np.abs(got - expected).max():.3g} ({worst:.3g} of what is allowed); export again"
        )
    return {"images": float(len(got)), "top1_equal": equal, "worst": worst}
