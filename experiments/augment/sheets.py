"""Pictures to be looked at: what the ops do, and what the training loop is fed."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from estimators.batches import epoch_batches
from estimators.preprocess import Standardise
from estimators.resident import Images
from estimators.trivial import BINS, OPS, SIGNED
from experiments.augment.reference import our_op, reference_op
from search_spaces.recipe import Recipe


def sheet(rows: list[Tensor], path: Path, zoom: int = 2) -> None:
    """Write images, a list of rows (k, C, H, W) uint8, as one picture."""
    grid = torch.cat(
        [torch.cat(list(torch.nn.functional.pad(row, (1, 1, 1, 1), value=128)), 2) for row in rows], 1
    )
    picture = Image.fromarray(grid.expand(3, -1, -1).permute(1, 2, 0).numpy())
    path.parent.mkdir(exist_ok=True)
    picture.resize((zoom * picture.width, zoom * picture.height), Image.Resampling.NEAREST).save(path)


def sheets(v2: Any, data: dict[str, Tensor], folder: Path) -> None:
    """Write ops (ours left, torchvision's right) and whole recipes as the training loop feeds them."""
    for name, x in data.items():
        rows = []
        for number, op in enumerate(OPS):
            one = x[number + 20, None]
            for sign in (1, -1) if op in SIGNED else (1,):
                steps = range(0, BINS, 5)
                ours = [our_op(op, one, k, sign) for k in steps]
                rows.append(torch.cat([*ours, *(reference_op(v2, op, one, k, sign) for k in steps)]))
        sheet(rows, folder / f"ops-{name}.png")
        fed = [x[:16]]
        for changes in (
            {"augment": "flip-crop"},
            {"augment": "trivial"},
            {"erase": 0.5},
            {"mix": "mixup", "mix_alpha": 1.0},
            {"mix": "cutmix"},
            {"augment": "trivial", "erase": 0.25, "mix": "cutmix"},
        ):
            recipe = Recipe("sgd", 0.1, batch_size=16, normalize="none", **changes)  # type: ignore[arg-type]
            images = Images(x[:64], torch.zeros(64).long())
            z, _ = next(epoch_batches(images, torch.arange(64), recipe, Standardise.identity(x.shape[1]), 4))
            fed.append((z.contiguous() * 255).round().to(torch.uint8))
        sheet(fed, folder / f"recipes-{name}.png")
