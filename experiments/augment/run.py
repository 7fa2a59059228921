"""Augmentations of whole batches against torchvision's of one image after another: pixels, moments, speed, sheets.

    python -m experiments.augment.run [--quick]

Pixels: each op of TrivialAugment at each magnitude on the same images. Moments: statistics of images after random
augmentation, ours and torchvision's, as differences in standard errors. Speed: images per second, in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from estimators.augment import Erase, Moves
from estimators.mix import Mixes
from estimators.trivial import BINS, OPS, SIGNED, Trivial
from experiments.augment.reference import our_op, pictures, reference_op
from experiments.augment.sheets import sheets
from experiments.record import Record
from search_spaces.vision import torchvision

BATCH, SIDE, REPEATS = 64, 28, 3
CPU = torch.device("cpu")
COMMAND = "python -m experiments.augment.run"
Augment = Callable[[Tensor], Tensor]


def pixels(v2: Any, data: dict[str, Tensor]) -> dict[str, float]:
    """Return for each op the largest share of values off by more than one level, over magnitudes and colours."""
    worst = {}
    for op in OPS:
        shares = [
            float(
                ((our_op(op, x, k, s).int() - reference_op(v2, op, x, k, s).int()).abs() > 1).float().mean()
            )
            for x in data.values()
            for k in range(BINS)
            for s in ((1, -1) if op in SIGNED else (1,))
        ]
        worst[op] = max(shares)
    return worst


# moments


def statistics_of(x: Tensor) -> Tensor:
    """Return (n, 4): mean, deviation, share of black, roughness of each image."""
    x = x.double()
    rough = (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3))
    return torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3)), (x == 0).double().mean((1, 2, 3)), rough], 1)


def each(transform: Any) -> Augment:
    return lambda x: torch.stack([transform(image) for image in x])


def mixed(transform: Any) -> Augment:
    return lambda x: torch.cat([transform(part, torch.zeros(len(part)).long())[0] for part in x.split(BATCH)])


def pairs(v2: Any) -> dict[str, tuple[Augment, Augment]]:
    """Return ours and torchvision's of each augmentation; all take (n, C, H, W) and draw anew at each call."""
    generator = torch.Generator().manual_seed(0)
    size, drawn = (SIDE, SIDE), {"generator": generator, "device": CPU}
    pad, whole = SIDE // 8, slice(None)
    moves = v2.Compose([v2.RandomCrop(SIDE, padding=pad), v2.RandomHorizontalFlip()])

    def batches(x: Tensor, kind: str, alpha: float) -> Tensor:
        parts = x.clone().split(BATCH)
        mixes = Mixes.draw(kind, alpha, len(parts), size, generator=generator)
        return torch.cat([mixes.apply(z, torch.zeros(len(z)).long(), i)[0] for i, z in enumerate(parts)])

    return {
        "flip-crop": (lambda x: Moves.draw("flip-crop", len(x), size, **drawn).apply(x, whole), each(moves)),
        "trivial": (
            lambda x: torch.cat(
                [Trivial.draw(len(p), size, **drawn).apply(p, whole) for p in x.split(BATCH)]
            ),
            each(v2.TrivialAugmentWide()),
        ),
        "erase": (
            lambda x: Erase.draw(0.5, len(x), size, **drawn).apply(x.clone(), whole),
            each(v2.RandomErasing(0.5)),
        ),
        "mixup": (
            lambda x: batches(x.float(), "mixup", 0.2),
            lambda x: mixed(v2.MixUp(alpha=0.2, num_classes=2))(x.float()),
        ),
        "cutmix": (lambda x: batches(x, "cutmix", 1.0), mixed(v2.CutMix(alpha=1.0, num_classes=2))),
    }


def moments(ours: Augment, theirs: Augment, x: Tensor, *, per_batch: bool) -> float:
    """Return the largest difference, in standard errors, of the means and mean squares of the statistics.

    Both see the same images, so the differences are paired; images of one batch that were mixed by one draw count once.
    """
    a, b = statistics_of(ours(x)), statistics_of(theirs(x))
    worst = 0.0
    for power in (1, 2):
        difference = a**power - b**power
        if per_batch:
            difference = torch.stack([part.mean(0) for part in difference.split(BATCH)])
        error = difference.std(0) / len(difference) ** 0.5
        worst = max(worst, float((difference.mean(0).abs() / error.clamp(min=1e-9)).max()))
    return worst


def speeds(ours: Augment, theirs: Augment, x: Tensor) -> tuple[float, float]:
    """Return images per second of one core for both, medians of ``REPEATS`` runs in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for augment, taken in zip((ours, theirs), seconds, strict=True):
            began = time.process_time()
            augment(x)
            taken.append(time.process_time() - began)
    return len(x) / statistics.median(seconds[0]), len(x) / statistics.median(seconds[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 images in the place of 10,000")
    quick = parser.parse_args().quick
    torch.manual_seed(0)
    torch.set_num_threads(1)
    record, v2, n = (
        Record(__file__, *(f"estimators/{name}.py" for name in ("augment", "mix", "preprocess", "trivial"))),
        torchvision("transforms.v2"),
        2_000 if quick else 10_000,
    )
    command = COMMAND + (" --quick" if quick else "")
    data = pictures(n)
    off = pixels(v2, {name: x[: 16 if quick else 256] for name, x in data.items()})
    record.add(f"pixels off by more than a level, {n}", off)
    record.show(
        "largest share of values off by more than one level, over ops and magnitudes",
        max(off.values()),
        "<= 0.005 (points halfway between two pixels)",
        max(off.values()) <= 0.005,
        seeds=[0],
        command=command,
    )
    worst, rates = {}, {}
    for name, (ours, theirs) in pairs(v2).items():
        for kind, x in data.items():
            worst[f"{name} {kind}"] = moments(ours, theirs, x, per_batch=name in ("mixup", "cutmix"))
        if name not in ("mixup", "cutmix"):  # torchvision mixes whole batches too
            rates[name] = speeds(ours, theirs, data["colour"][:2_000])
    record.add(f"moments in standard errors, {n}", worst)
    record.add(
        "images per second, ours and torchvision's", {name: list(pair) for name, pair in rates.items()}
    )
    record.show(
        f"largest of {8 * len(worst)} differences of moments on {n:,} images, in standard errors",
        max(worst.values()),
        "<= 4",
        max(worst.values()) <= 4,
        seeds=[0],
        command=command,
    )
    for name, (fast, slow) in rates.items():
        record.show(
            f"images per second of {name} over those of torchvision, image by image",
            fast / slow,
            ">= 3",
            fast / slow >= 3,
            seeds=[0],
            command=command,
        )
    sheets(v2, data, Path(__file__).parent / "runs")
    for show in record.data["shows"]:
        print(f"{show['claim']}: {show['value']:.4g}, bar {show['bar']}")


if __name__ == "__main__":
    main()
