"""The three loops that are compared: ours, the textbook's, and the bare step on ready tensors.

All train the same network from the same weights with the same optimizer settings and batch size. A loop is a call that
trains on a number of images and returns the seconds it took.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from estimators.dataset import load
from estimators.device import MEMORY_FORMAT, keep_memory
from estimators.loop import Training
from estimators.optimizer import build_optimizer
from estimators.preprocess import Standardise
from estimators.resident import Images
from experiments.throughput.networks import design
from search_spaces.recipe import Recipe
from search_spaces.vision import torchvision

CPU = torch.device("cpu")
BATCH, READY = 64, 4  # images of a batch; batches that the bare loop goes round
AUGMENTATIONS = {"none": "none", "flip-crop": "flip-crop", "trivial": "trivial", "mixup": "flip-crop"}
MIXUP = 0.2  # both parameters of its Beta distribution

Loop = Callable[[int], float]


@dataclass(frozen=True)
class Case:
    """A data set (a registered name, or a folder), the name of a network, and one of ``AUGMENTATIONS``."""

    data: str
    network: str
    augment: str

    @property
    def recipe(self) -> Recipe:
        policy, mix = AUGMENTATIONS[self.augment], "mixup" if self.augment == "mixup" else "none"
        betas = (0.9, 0.99)
        return Recipe(
            "adamw", 1e-3, 1e-2, betas=betas, batch_size=BATCH, augment=policy, mix=mix, mix_alpha=MIXUP
        )


def ours(case: Case, dtype: torch.dtype) -> Loop:
    """The loop of the estimator: ``Training.epoch``, as a search runs it."""
    keep_memory()
    split = load(case.data).train
    images = Images(torch.from_numpy(split.x), torch.from_numpy(split.y))
    network = design(case.network, images.x.shape[1:]).network(0)  # type: ignore[arg-type]
    training = Training(network, case.recipe, Standardise.fit(images.x), device=CPU, dtype=dtype)

    def run(n: int) -> float:
        members, began = torch.arange(n), time.perf_counter()
        training.epoch(images, members, epoch=1, horizon=20, seeds=(1, 2), watch=lambda: None)
        return time.perf_counter() - began

    return run


def bare(case: Case, dtype: torch.dtype) -> Loop:
    """Forward, backward and step on channels-last tensors that are there already: what no loop can beat."""
    keep_memory()
    split = load(case.data).train
    z = Standardise.fit(torch.from_numpy(split.x[:10_000]))(torch.from_numpy(split.x[: READY * BATCH]))
    batches = list(zip(z.split(BATCH), torch.from_numpy(split.y[: READY * BATCH]).split(BATCH), strict=True))
    network = design(case.network, z.shape[1:]).network(0).to(memory_format=MEMORY_FORMAT)  # type: ignore
    optimizer = build_optimizer(case.recipe, network)
    network.train()

    def run(n: int) -> float:
        began = time.perf_counter()
        for i in range(n // BATCH):
            images, y = batches[i % READY]
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                logits = network(images)
            nn.functional.cross_entropy(logits.float(), y).backward()
            optimizer.step()
        return time.perf_counter() - began

    return run


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images of an array, each through ``transform``: as PIL images, or as uint8 tensors (C, H, W)."""

    def __init__(self, x: Any, y: Any, transform: Callable[[Any], Any], *, pil: bool) -> None:
        self.x, self.y, self.transform, self.pil = x, y, transform, pil

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        image = torch.from_numpy(self.x[i])
        if self.pil:
            from PIL import Image

            array = self.x[i].transpose(1, 2, 0)
            image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
        return self.transform(image), int(self.y[i])


def transform_of(case: Case, side: int, mean: Any, std: Any, version: str) -> Callable[[Any], Any]:
    """Return torchvision's transforms for one image; ``version`` is "v1" (of PIL images) or "v2" (of tensors)."""
    t = torchvision("transforms" if version == "v1" else "transforms.v2")
    steps: list[Any] = []
    if case.augment != "none":
        steps += [t.RandomCrop(side, padding=side // 8), t.RandomHorizontalFlip()]
    if case.augment == "trivial":
        steps.append(t.TrivialAugmentWide())
    steps += [t.ToTensor()] if version == "v1" else [t.ToDtype(torch.float32, scale=True)]
    composed: Callable[[Any], Any] = t.Compose([*steps, t.Normalize(mean, std)])
    return composed


def textbook(case: Case, version: str, workers: int) -> Loop:
    """The loop of every tutorial, with images already decoded in memory: the folder's JPEG are not read again."""
    split = load(case.data).train
    fitted = Standardise.fit(torch.from_numpy(split.x))
    transform = transform_of(case, split.x.shape[3], fitted.mean, fitted.std, version)
    pictures = Pictures(split.x, split.y, transform, pil=version == "v1")
    network = design(case.network, split.x.shape[1:]).network(0)  # type: ignore[arg-type]
    settings = {"lr": 1e-3, "weight_decay": 1e-2, "betas": (0.9, 0.99)}
    optimizer = torch.optim.AdamW(network.parameters(), foreach=False, fused=False, **settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10**6)
    mixup = torchvision("transforms.v2").MixUp(alpha=MIXUP, num_classes=10)
    loader_of: dict[int, Any] = {}

    def loader(n: int) -> Any:
        if n not in loader_of:
            subset = torch.utils.data.Subset(pictures, range(n))
            keep: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
            if workers:
                keep["multiprocessing_context"] = "fork"  # as by default on Linux
            loader_of[n] = torch.utils.data.DataLoader(subset, BATCH, shuffle=True, drop_last=True, **keep)
        return loader_of[n]

    def run(n: int) -> float:
        batches = loader(n)
        network.train()
        total, began = 0.0, time.perf_counter()
        for x, y in batches:
            x, y = mixup(x, y) if case.augment == "mixup" else (x, y)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        return time.perf_counter() - began

    return run


def make(case: Case, kind: str) -> Loop:
    """Return the loop ``kind``: "ours float32", "bare bfloat16", "textbook v1 2 workers", and so on."""
    name, *rest = kind.split()
    if name == "textbook":
        return textbook(case, rest[0], int(rest[1]))
    dtype = getattr(torch, rest[0])
    return ours(case, dtype) if name == "ours" else bare(case, dtype)
