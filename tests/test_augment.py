"""Augmentations against torchvision's: TrivialAugment pixel by pixel, the random ones in distribution."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from estimators.augment import Erase
from estimators.mix import Labels, Mixes, class_weights
from estimators.trivial import BINS, OPS, SIGNED, Trivial, inverse_maps, magnitudes
from search_spaces.vision import torchvision

CPU = torch.device("cpu")
NAMES = {"autocontrast": "AutoContrast"}


@pytest.fixture(scope="module")
def v2() -> Any:
    torchvision("transforms")
    from torchvision.transforms import v2

    return v2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Smooth pictures of all levels, and one of a single level, one of two and one of noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(7 * (x * a + y * b) + p) for a, b, p in rng.random((n * channels, 3)) * 2]
    images = ((np.stack(waves).reshape(n, channels, height, width) + 1) * 127.5).astype(np.uint8)
    images[0], images[1] = 77, np.where(x > 0.3, 20, 200)
    images[2] = rng.integers(0, 256, images[2].shape)
    return torch.from_numpy(images)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 20, 27), (1, 2, 2)])
def test_each_op_is_that_of_torchvision_at_each_magnitude(v2: Any, op: str, shape: Any) -> None:
    reference = v2.TrivialAugmentWide()
    name = NAMES.get(op, "".join(part.capitalize() for part in op.split("-")))
    x, size = pictures(5, *shape), shape[1:]
    table = reference._AUGMENTATION_SPACE[name][0](BINS, *size)
    for signed in (1, -1) if op in SIGNED else (1,):
        m = signed * magnitudes(op)
        if table is not None and not op.startswith("translate"):
            torch.testing.assert_close(m, signed * table.double())
        m = m.repeat_interleave(len(x))
        ops = torch.full((len(m),), OPS.index(op))
        got = Trivial(ops, m, inverse_maps(ops, m, size)).apply(x.repeat(BINS, 1, 1, 1), slice(None))
        for k, row in enumerate(got.split(len(x))):
            value = 0.0 if table is None else signed * float(table[k])
            want = torch.stack(
                [
                    reference._apply_image_or_video_transform(
                        image, name, value, reference.interpolation, reference._fill
                    )
                    for image in x
                ]
            )
            off = (row.int() - want.int()).abs()
            if op in ("shear-x", "shear-y", "rotate"):  # a point halfway between two pixels goes to either
                assert (off > 1).float().mean() < 0.005, (k, signed)
            else:
                assert off.max() <= 1 and (off > 0).float().mean() < 0.002, (k, signed, off.max())


def test_ops_of_a_batch_are_done_each_to_its_own_image(v2: Any) -> None:
    x = pictures(200, 3, 16, 16)
    drawn = Trivial.draw(300, (16, 16), generator=generator(), device=CPU)
    got = drawn.apply(x, slice(50, 250))
    for i in range(200):
        alone = Trivial(drawn.ops[50 + i, None], drawn.m[50 + i, None], drawn.maps[50 + i, None])
        assert torch.equal(alone.apply(x[i, None], slice(None))[0], got[i]), OPS[drawn.ops[50 + i]]
    assert got.dtype == torch.uint8 and torch.equal(x, pictures(200, 3, 16, 16))


def test_ops_magnitudes_and_signs_are_uniform() -> None:
    n = 42_000
    drawn = Trivial.draw(n, (32, 32), generator=generator(1), device=CPU)
    counts = torch.bincount(drawn.ops, minlength=len(OPS)).double()
    assert float(((counts - n / 14) ** 2 / (n / 14)).sum()) < 34.5  # chi-square, 13 degrees, p = 0.001
    for op in ("shear-x", "rotate", "solarize", "brightness"):
        m = drawn.m[drawn.ops == OPS.index(op)]
        bins = torch.stack([(m.abs() - value).abs() < 1e-6 for value in magnitudes(op)]).sum(1).double()
        assert bins.sum() == len(m)
        assert float(((bins - len(m) / BINS) ** 2 / (len(m) / BINS)).sum()) < 59.7  # 30 degrees
        share = float((m < 0).double().mean())
        assert abs(share - (0.5 * 30 / 31 if op in SIGNED else 0)) < 0.04


def test_trivial_is_torchvisions_in_distribution(v2: Any) -> None:
    """The mean image and its square over many draws differ by no more than two samples of one distribution do."""
    torch.manual_seed(3)
    x, n = pictures(4, 3, 16, 16)[3], 4_000
    transform = v2.TrivialAugmentWide()
    theirs = torch.stack([transform(x) for _ in range(n)]).double()
    ours = Trivial.draw(n, (16, 16), generator=generator(2), device=CPU).apply(
        x.expand(n, -1, -1, -1), slice(None)
    )
    for a, b in ((ours.double(), theirs), (ours.double() ** 2, theirs**2)):
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        z = (a.mean(0) - b.mean(0)) / error
        assert float(z.square().mean()) < 2.5 and float(z.abs().max()) < 6


def moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.double().mean(0), values.double().std(0) / math.sqrt(len(values))


def assert_alike(a: torch.Tensor, b: torch.Tensor) -> None:
    """Means and mean squares of (n, k) samples agree within five standard errors."""
    for left, right in ((a, b), (a.double() ** 2, b.double() ** 2)):
        (mean, error), (mean_b, error_b) = moments(left), moments(right)
        assert bool(((mean - mean_b).abs() <= 5 * (error**2 + error_b**2).sqrt() + 1e-12).all()), (
            mean,
            mean_b,
        )


@pytest.mark.parametrize("size", [(32, 32), (8, 13)])
def test_erased_rectangles_are_torchvisions(v2: Any, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    n = 6_000
    transform = v2.RandomErasing(p=0.4)
    theirs = torch.stack([transform(torch.ones(1, *size)) for _ in range(n)])
    drawn = Erase.draw(0.4, n, size, generator=generator(), device=CPU)
    ours = torch.cat(
        [drawn.apply(torch.ones(n // 2, 1, *size), part) for part in (slice(n // 2), slice(n // 2, n))]
    )
    assert_alike((1 - ours).flatten(1), (1 - theirs).flatten(1))
    sides = [torch.stack([(1 - x.amin((1, k))).sum(1) for k in (2, 3)], 1) for x in (ours, theirs)]
    assert_alike(*sides)
    share = float((ours.amin((1, 2, 3)) == 0).double().mean())
    assert abs(share - 0.4) < 0.025


@pytest.mark.parametrize(
    ("kind", "alpha"), [("mixup", 0.2), ("mixup", 1.0), ("cutmix", 1.0), ("cutmix", 0.5)]
)
def test_mixes_are_torchvisions(v2: Any, kind: str, alpha: float) -> None:
    torch.manual_seed(0)
    n, size = 3_000, (12, 9)
    drawn = Mixes.draw(kind, alpha, n, size, generator=generator())
    theirs = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[kind](alpha=alpha, num_classes=2)
    z = torch.stack([torch.zeros(1, *size), torch.ones(1, *size)])
    y = torch.tensor([0, 1])
    rows, references = [], []
    for i in range(n):
        mixed, labels = drawn.apply(z.clone(), y, i)
        assert labels.other is not None and labels.other.tolist() == [1, 0]
        rows.append(torch.cat([mixed[0].flatten(), torch.tensor([labels.share])]))
        image, target = theirs(z, y)
        references.append(torch.cat([image[0].flatten(), target[0, :1]]))
        if kind == "cutmix":  # the label follows the pixels
            assert float(mixed[1].mean()) == pytest.approx(labels.share)
    assert_alike(torch.stack(rows), torch.stack(references))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mixed_loss_is_that_of_soft_labels(weighted: bool) -> None:
    logits, y, share = torch.randn(12, 4, generator=generator()), torch.arange(12) % 4, 0.3
    weights = torch.tensor([0.5, 2.0, 1.0, 0.7]) if weighted else None
    soft = share * one_hot(y, 4) + (1 - share) * one_hot(y.roll(1), 4)
    want = cross_entropy(logits, soft.float(), weights, label_smoothing=0.1)
    labels = Labels(y, y.roll(1), share)
    torch.testing.assert_close(labels.loss(logits, 0.1, weights), want)
    parts = [
        part.loss(piece, 0.1, weights) * (len(piece) / 12)
        for part, piece in zip(labels.chunk(5), logits.tensor_split(5), strict=True)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), want)


def test_class_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = np.repeat([0, 1, 2], [70, 20, 10])
    want = compute_class_weight("balanced", classes=np.arange(3), y=y)
    weights = class_weights(torch.from_numpy(y), 3)
    assert weights.tolist() == pytest.approx(want.tolist()) and float(weights[y].mean()) == pytest.approx(1)
    some = class_weights(torch.tensor([0, 0, 2, 2]), 4)  # a class without an image does not count
    assert some[[0, 2]].tolist() == [1.0, 1.0]
