"""The batches of an epoch: drawn at once from one seed, cut and augmented one by one on the device.

Notation
    n   images trained on       B   batch size       z   (B, C, H, W) float32, channels last
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from estimators.augment import Erase, Moves
from estimators.device import send
from estimators.mix import Labels, Mixes
from estimators.preprocess import Standardise
from estimators.resident import Images
from estimators.trivial import Trivial
from search_spaces.recipe import Recipe


def batch_bounds(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Return (begin, end) of an epoch's batches.

    A remainder of less than half a batch, or of one image (which batch norm cannot take), is left out. A ``ValueError``
    says that there is one image in all.
    """
    if n < 2:
        raise ValueError(f"{n} image to train on, which batch norm cannot take; give at least 2")
    full, rest = divmod(n, batch_size)
    bounds = [(i * batch_size, (i + 1) * batch_size) for i in range(full)]
    if (rest > 1 and 2 * rest >= batch_size) or not full:
        bounds.append((full * batch_size, n))
    return bounds


def epoch_batches(
    images: Images,
    members: Tensor,
    recipe: Recipe,
    standardise: Standardise,
    seed: int,
    *,
    device: torch.device | None = None,
) -> Iterator[tuple[Tensor, Labels]]:
    """Yield the augmented, standardised, mixed batches ``(z, labels)`` of one epoch over ``members`` (n,).

    They are made on ``device``, by default where ``images`` lie; to another one these are sent batch by batch.
    """
    generator = torch.Generator().manual_seed(seed)
    n, device = len(members), device or images.x.device
    bounds = batch_bounds(n, recipe.batch_size)
    order = send(members[torch.randperm(n, generator=generator)], images.x.device)
    size = (images.x.shape[2], images.x.shape[3])
    trivial = erase = mixes = None
    policy = recipe.augment
    if policy == "trivial":
        policy = "flip-crop" if images.x.shape[1] == 3 else "crop"
    moves = Moves.draw(policy, n, size, generator=generator, device=device)
    if recipe.augment == "trivial":
        trivial = Trivial.draw(n, size, generator=generator, device=device)
    if recipe.erase:
        erase = Erase.draw(recipe.erase, n, size, generator=generator, device=device)
    if recipe.mix != "none":
        mixes = Mixes.draw(recipe.mix, recipe.mix_alpha, len(bounds), size, generator=generator)
    for i, (begin, end) in enumerate(bounds):
        index, part = order[begin:end], slice(begin, end)
        x, y = images.take(index, device)
        x = moves.apply(x, part)
        z = standardise(trivial.apply(x, part) if trivial else x)
        z = erase.apply(z, part) if erase else z
        yield mixes.apply(z, y, i) if mixes else (z, Labels(y))
