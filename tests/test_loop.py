"""The data path, the schedules, the optimizers, the average, and checkpoints."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from estimators import checkpoint as checkpoints
from estimators.augment import Moves
from estimators.average import Average
from estimators.batches import batch_bounds, epoch_batches
from estimators.checkpoint import Checkpoint
from estimators.divergence import Diverged, LossWatch
from estimators.loop import Training
from estimators.mix import Labels, class_weights
from estimators.optimizer import build_optimizer, factor
from estimators.preprocess import Standardise, to_shape
from estimators.resident import Images, stratified_order
from search_spaces.recipe import AUGMENT, SCHEDULES, Recipe
from search_spaces.vision import torchvision

CPU = torch.device("cpu")


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "optimizer": "sgd",
        "lr": 0.05,
        "weight_decay": 1e-3,
        "momentum": 0.9,
        "nesterov": True,
        "betas": (0.9, 0.99),
        "alpha": 0.9,
        "batch_size": 16,
        "schedule": "cosine",
        "warmup": 0.1,
        "label_smoothing": 0.1,
        "augment": "flip-crop",
        "ema": None,
        "normalize": "data",
        "patience": None,
    }
    return Recipe(**{**values, **changes})


def images(n: int = 40, channels: int = 3, side: int = 8) -> Images:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    return Images(torch.from_numpy(x), torch.from_numpy(rng.integers(0, 4, n)))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    )


# schedules


def rates(scheduler: Any, optimizer: torch.optim.Optimizer, total: int) -> list[float]:
    seen = []
    for _ in range(total):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("total", [7, 40])
@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.4])
def test_one_cycle_is_that_of_torch(total: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        1.0,
        total_steps=total + 1,
        pct_start=warmup,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    want = rates(reference, optimizer, total)
    assert [factor("one-cycle", t, total + 1, warmup) for t in range(total)] == pytest.approx(want)


@pytest.mark.parametrize("total", [1, 7, 40])
def test_cosine_is_that_of_torch(total: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    want = rates(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total), optimizer, total)
    assert [factor("cosine", t, total) for t in range(total)] == pytest.approx(want)


def test_step_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    want = rates(torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 30]), optimizer, 40)
    assert [factor("step", t, 40) for t in range(40)] == pytest.approx(want)


def test_warmup_then_cosine_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    rise = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: (t + 1) / 10)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    want = rates(torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [10]), optimizer, 40)
    assert [factor("cosine", t, 40, 0.25) for t in range(40)] == pytest.approx(want)


def test_constant_after_warmup_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    want = rates(torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=9), optimizer, 40)
    assert [factor("constant", t, 40, 0.25) for t in range(40)] == pytest.approx(want)


def test_wsd_is_flat_then_falls() -> None:
    values = [factor("wsd", t, 100, 0.1) for t in range(100)]
    assert values[9:80] == [1.0] * 71 and values[0] == pytest.approx(0.1)
    assert values[85] == pytest.approx(1 - math.sqrt(0.25)) and values[99] < 0.03


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 50])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
def test_every_schedule_stays_in_range_and_holds_its_last_value(
    schedule: str, total: int, warmup: float
) -> None:
    values = [factor(schedule, t, total, warmup) for t in range(total)]
    assert all(0 <= value <= 1 for value in values)
    assert factor(schedule, total, total, warmup) == factor(schedule, 10 * total, total, warmup) == values[-1]


# batches and augmentation


@pytest.mark.parametrize(
    ("n", "size", "last"), [(40, 16, 32), (39, 16, 32), (41, 16, 41), (33, 2, 32), (5, 16, 5)]
)
def test_batch_bounds_leave_out_small_rests(n: int, size: int, last: int) -> None:
    bounds = batch_bounds(n, size)
    if n == 40:
        last = 40  # a rest of exactly half a batch counts
    assert bounds[0][0] == 0 and bounds[-1][1] == last
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))


def test_one_image_is_no_batch() -> None:
    assert batch_bounds(2, 16) == [(0, 2)] and batch_bounds(3, 2) == [(0, 2)]
    with pytest.raises(
        ValueError, match="1 image to train on, which batch norm cannot take; give at least 2"
    ):
        batch_bounds(1, 16)


def test_an_epoch_visits_every_member_once_and_repeats_by_seed() -> None:
    data, members = images(), torch.arange(3, 35)
    plain = Standardise.identity(3)

    def visit(seed: int) -> torch.Tensor:
        return torch.cat([z for z, _ in epoch_batches(data, members, recipe(augment="none"), plain, seed)])

    first = visit(1)
    assert torch.equal(first, visit(1)) and not torch.equal(first, visit(2))
    want = data.x[members].float().div(255).flatten(1).sum(1).sort().values
    assert torch.allclose(first.flatten(1).sum(1).sort().values, want)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_batches_go_through_all_in_order() -> None:
    """Moved, through TrivialAugment, standardised, erased to 0, mixed; the same by seed, and before by the old seed."""
    data, members, standardise = images(64), torch.arange(64), Standardise.fit(images(64).x)
    everything = recipe(augment="trivial", erase=1.0, mix="cutmix", mix_alpha=1.0, batch_size=32)
    first, again = (list(epoch_batches(data, members, everything, standardise, 5)) for _ in range(2))
    assert all(torch.equal(a, b) and x.share == y.share for (a, x), (b, y) in zip(first, again, strict=True))
    plain = list(epoch_batches(data, members, recipe(batch_size=32), standardise, 5))
    for (z, labels), (_, alone) in zip(first, plain, strict=True):
        assert torch.equal(labels.y, alone.y) and labels.other is not None
        assert torch.equal(labels.other, alone.y.roll(1)) and 0 <= labels.share <= 1
        assert z.is_contiguous(memory_format=torch.channels_last) and (z == 0).all(1).any((1, 2)).sum() > 20
    mixed = recipe(mix="mixup", mix_alpha=1.0, batch_size=32)
    for (z, labels), (own, _) in zip(epoch_batches(data, members, mixed, standardise, 5), plain, strict=True):
        torch.testing.assert_close(z, labels.share * own + (1 - labels.share) * own.roll(1, 0))
        assert z.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("policy", AUGMENT[:-1])
@pytest.mark.parametrize("side", [8, 17])
def test_moves_equal_one_image_at_a_time(policy: str, side: int) -> None:
    x = images(24, 3, side).x[:, :, :, : side - 1]
    moves = Moves.draw(policy, 24, (side, side - 1), generator=torch.Generator().manual_seed(3), device=CPU)
    got = torch.cat([moves.apply(x[:10], slice(0, 10)), moves.apply(x[10:], slice(10, 24))])
    p = max(1, (side - 1) // 8)
    for i in range(24):
        image = x[i].numpy()
        if moves.top is not None and moves.left is not None:
            top, left = int(moves.top[i]), int(moves.left[i])
            padded = np.pad(image, ((0, 0), (p, p), (p, p)))
            image = padded[:, top : top + side, left : left + side - 1]
        if moves.mirrored is not None and moves.mirrored[i]:
            image = image[:, :, ::-1]
        assert np.array_equal(got[i].numpy(), image)
    if "crop" in policy:
        assert moves.top is not None and set(moves.top.tolist()) == set(range(2 * p + 1))


def test_standardised_images_have_mean_0_and_deviation_1() -> None:
    x = images(50).x
    x[:, 2] = 17  # a constant channel is left at 0, not divided by 0
    z = Standardise.fit(x)(x)
    assert z.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert z.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 0], abs=1e-4)


def test_images_are_standardised_one_by_one() -> None:
    x = images(6).x
    x[4] = 9
    z = Standardise.fit(x).of_kind("image")(x)
    for image, got in zip(x.numpy().astype(float), z.numpy(), strict=True):  # as TensorFlow defines it
        want = (image - image.mean()) / max(image.std(), 1 / math.sqrt(image.size))
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert z.is_contiguous(memory_format=torch.channels_last)


def test_fixed_scales_of_pixels() -> None:
    x = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    fitted = Standardise((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert fitted.of_kind("none")(x).flatten().tolist() == pytest.approx([0, 1, 0.2])
    assert fitted.of_kind("half")(x).flatten().tolist() == pytest.approx([-1, 1, -0.6])
    assert fitted.of_kind("data") == fitted


def test_grey_and_smaller_images_are_those_of_pillow_and_torchvision() -> None:
    from PIL import Image

    x = images(3, side=40).x[:, :, :, :36]
    grey = to_shape(x, (1, 40, 36))
    for colours, got in zip(x.permute(0, 2, 3, 1).numpy(), grey, strict=True):
        assert np.array_equal(got[0].numpy(), np.asarray(Image.fromarray(colours).convert("L")))
    torchvision("transforms")
    from torchvision.transforms.v2.functional import resize

    want = resize(x, [20, 18], antialias=True)
    assert (to_shape(x, (3, 20, 18)).int() - want.int()).abs().max() <= 1
    assert torch.equal(to_shape(x, (1, 20, 18)), to_shape(grey, (1, 20, 18)))
    assert to_shape(x, (3, 40, 36)) is x


def test_shares_of_the_data_are_stratified_and_nested() -> None:
    y = np.repeat([0, 1, 2], [600, 300, 100])
    order = stratified_order(y, 5)
    assert sorted(order) == list(range(1000))
    for k in (50, 100, 500):
        assert np.bincount(y[order[:k]], minlength=3) == pytest.approx(
            k * np.array([0.6, 0.3, 0.1]), abs=1.01
        )
    assert not np.array_equal(order, stratified_order(y, 6))


# optimizer steps

REFERENCE = {
    "sgd": lambda groups: torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True, foreach=False),
    "adam": lambda groups: torch.optim.Adam(groups, 0.05, betas=(0.9, 0.99), foreach=False),
    "adamw": lambda groups: torch.optim.AdamW(groups, 0.05, betas=(0.9, 0.99), foreach=False),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, 0.05, alpha=0.9, momentum=0.9, foreach=False),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_training_equals_the_textbook_loop(name: str) -> None:
    data, ours = images(), network()
    textbook = network()
    matrices = [p for p in textbook.parameters() if p.ndim > 1]
    vectors = [p for p in textbook.parameters() if p.ndim <= 1]
    reference = REFERENCE[name](
        [{"params": matrices, "weight_decay": 1e-3}, {"params": vectors, "weight_decay": 0.0}]
    )
    setting = recipe(optimizer=name, augment="none", schedule="constant", warmup=0.0)
    standardise = Standardise.fit(data.x)
    training = Training(ours, setting, standardise, device=CPU, dtype=torch.float32)
    loss = training.epoch(data, torch.arange(40), epoch=1, horizon=1, seeds=(1, 2), watch=lambda: None)
    losses = []
    for z, labels in epoch_batches(data, torch.arange(40), setting, standardise, 1):
        reference.zero_grad()
        value = nn.functional.cross_entropy(textbook(z), labels.y, label_smoothing=0.1)
        value.backward()
        reference.step()
        losses.append(value.item())
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    for mine, theirs in zip(ours.parameters(), textbook.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_clipped_and_balanced_steps_equal_the_textbook_loop() -> None:
    data, ours, textbook = images(), network(), network()
    data = Images(data.x, torch.arange(40).clamp(max=27) % 4)
    setting = recipe(
        augment="none", schedule="constant", warmup=0.0, clip=0.05, balance=True, weight_decay=0.0
    )
    standardise = Standardise.fit(data.x)
    training = Training(ours, setting, standardise, device=CPU, dtype=torch.float32)
    training.epoch(data, torch.arange(40), epoch=1, horizon=1, seeds=(1, 2), watch=lambda: None)
    reference, norms = torch.optim.SGD(textbook.parameters(), 0.05, momentum=0.9, nesterov=True), []
    weights = 10 / torch.bincount(data.y)
    for z, labels in epoch_batches(data, torch.arange(40), setting, standardise, 1):
        reference.zero_grad()
        each = nn.functional.cross_entropy(
            textbook(z), labels.y, weights, label_smoothing=0.1, reduction="none"
        )
        each.mean().backward()
        gradients = [p.grad for p in textbook.parameters() if p.grad is not None]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        for gradient in gradients:
            gradient.mul_(min(1.0, 0.05 / norms[-1]))
        reference.step()
    assert max(norms) > 0.1
    for mine, theirs in zip(ours.parameters(), textbook.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_biases_and_norms_are_not_decayed() -> None:
    net = network()
    groups = build_optimizer(recipe(), net).param_groups
    decayed = {id(p) for group in groups for p in group["params"] if group["weight_decay"]}
    assert decayed == {id(net[0].weight), id(net[5].weight)}  # type: ignore[index]


@pytest.mark.parametrize("changes", [{}, {"balance": True}, {"clip": 0.1}])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("pieces", [2, 3])
def test_pieces_of_a_batch_take_the_same_step(pieces: int, mixed: bool, changes: Any) -> None:
    z, y = torch.randn(16, 3, 8, 8), torch.arange(16) % 4
    labels = Labels(y, y.roll(1), 0.3) if mixed else Labels(y)
    results = []
    for count in (1, pieces):
        net = nn.Sequential(network()[0], nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))  # type: ignore[index]
        torch.manual_seed(1)
        nn.init.normal_(net[3].weight, std=0.1)
        nn.init.zeros_(net[3].bias)
        plain = Standardise.identity(3)
        training = Training(net, recipe(**changes), plain, device=CPU, dtype=torch.float32)
        training.pieces = count
        training.weights = (
            class_weights(torch.tensor([0, 0, 0, 1, 2, 3]), 4) if "balance" in changes else None
        )
        loss = training.step(z, labels, 1.0)
        results.append([loss, *net.parameters()])
    for one, many in zip(*results, strict=True):
        torch.testing.assert_close(one, many)


def test_weights_of_classes_follow_what_is_trained_on() -> None:
    images = Images(torch.zeros(8, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 0, 0, 0, 1, 2, 3]))
    plain = Standardise.identity(3)
    training = Training(network(), recipe(balance=True), plain, device=CPU, dtype=torch.float32)
    members = torch.tensor([0, 1, 2, 5])
    training.epoch(images, members, epoch=1, horizon=1, seeds=(0, 1), watch=lambda: None)
    assert training.weights is not None and len(training.weights) == 4
    torch.testing.assert_close(training.weights[:2], torch.tensor([2 / 3, 2.0]))


def test_pieces_are_kept_for_a_continuation() -> None:
    plain = Standardise.identity(3)
    one, other = (Training(network(), recipe(), plain, device=CPU, dtype=torch.float32) for _ in range(2))
    one.pieces = 4
    other.restore(one.state())
    assert other.pieces == 4


def test_out_of_memory_halves_the_batch_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    net, seen = network(), []
    forward = net.forward

    def tight(x: torch.Tensor) -> Any:
        seen.append(len(x))
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(x)

    net.forward = tight  # type: ignore[method-assign]
    training = Training(net, recipe(), Standardise.identity(3), device=CPU, dtype=torch.float32)
    training.step(torch.randn(16, 3, 8, 8), Labels(torch.randint(4, (16,))), 1.0)
    assert seen == [16, 8, 4, 4, 4, 4]


def test_average_rises_to_its_decay_and_covers_buffers() -> None:
    net = network()
    average = Average(net, 0.9)
    weight, variance = net[5].weight.detach().clone(), torch.ones(4)  # type: ignore[index]
    for t in range(1, 200):
        with torch.no_grad():
            net[5].weight.add_(0.1)  # type: ignore[index]
            net[1].running_var.mul_(1.01)  # type: ignore[index]
            net[1].num_batches_tracked.add_(1)  # type: ignore[index]
        average.update(t)
        decay = min(0.9, (1 + t) / (10 + t))
        weight = decay * weight + (1 - decay) * net[5].weight.detach()  # type: ignore[index]
        variance = decay * variance + (1 - decay) * net[1].running_var  # type: ignore[index]
    torch.testing.assert_close(average.network[5].weight, weight)  # type: ignore[index]
    torch.testing.assert_close(average.network[1].running_var, variance)  # type: ignore[index]
    assert average.network[1].num_batches_tracked == 199  # type: ignore[index]


def test_a_loss_that_is_no_number_ends_the_epoch() -> None:
    data = images()
    training = Training(
        network(), recipe(lr=1e30, weight_decay=1.0), Standardise.fit(data.x), device=CPU, dtype=torch.float32
    )
    with pytest.raises(Diverged, match=r"loss (nan|inf) at epoch 1, step 2 of 3"):
        training.epoch(data, torch.arange(40), epoch=1, horizon=1, seeds=(1, 2), watch=lambda: None)


def test_on_a_gpu_the_loss_is_looked_at_when_it_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, empty = [False], torch.empty

    class Event:
        def record(self) -> None:
            pass

        def query(self) -> bool:
            return arrived[0]

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory: empty(*size))
    losses = LossWatch(torch.device("cuda"), 3, 100)
    for step, total in ((3, 1.0), (4, 2.0), (8, math.nan), (9, math.nan)):
        losses.look(torch.tensor(total), step)  # nothing has arrived
    arrived[0] = True
    with pytest.raises(Diverged, match="loss nan at epoch 3, step 8 of 100"):
        losses.look(torch.tensor(math.nan), 10)


# checkpoints


def test_checkpoint_there_and_back(tmp_path: Path) -> None:
    odd = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    before = Checkpoint(
        {"network": {"a/b.c": odd, "n": torch.tensor(3)}, "empty": {}}, {"curve": [{"loss": 0.1}]}
    )
    checkpoints.save(tmp_path / "c.safetensors", before)
    after = checkpoints.load(tmp_path / "c.safetensors")
    assert torch.equal(after.groups["network"]["a/b.c"], odd) and after.groups["network"]["n"] == 3
    assert after.groups["empty"] == {} and after.values == before.values
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "header", "missing"])
def test_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "c.safetensors"
    checkpoints.save(path, Checkpoint({"network": {"w": torch.randn(50)}}))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-10]
    elif damage == "flip":
        content[-9] ^= 4
    elif damage == "header":
        content[20:40] = b"\xff" * 20
    path.write_bytes(b"" if damage == "empty" else content)
    if damage == "missing":
        path.unlink()
    with pytest.raises(ValueError, match="train the design again"):
        checkpoints.load(path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    checkpoints.save(path, Checkpoint({"network": {"w": torch.ones(2)}}))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(path, Checkpoint({"network": {"w": torch.zeros(2)}}))
    assert torch.equal(checkpoints.load(path).groups["network"]["w"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


class Shared(nn.Module):
    """One rectifier in two places, the first of which is read again."""

    def __init__(self):
        super().__init__()
        act = nn.ReLU()
        self.body, self.act, self.head = nn.Sequential(nn.BatchNorm2d(1), act), act, nn.Linear(1, 4)

    def forward(self, x):
        h = x * self.head.weight.mean()
        return self.head((self.body(x) + self.act(h) + h).mean((2, 3)))


def test_what_a_network_of_ones_own_computes_is_left_alone():
    """Nobody knows who else reads what its rectifiers would write over."""
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    net = Shared()
    want = net(x).detach()
    plain = Standardise.identity(1)
    training = Training(net, recipe(), plain, device=CPU, dtype=torch.float32)
    assert torch.equal(training.network(x), want) and not training.replay.recorded


def test_momentum_begins_at_zero_though_the_first_step_overflows():
    """The fused kernel of SGD leaves new buffers unwritten when the scaler finds an infinity."""
    setting = recipe(optimizer="sgd", lr=0.1, momentum=0.9)
    training = Training(network(), setting, Standardise.identity(3), device=CPU, dtype=torch.float16)
    training.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    z, labels = torch.rand(8, 3, 8, 8), Labels(torch.arange(8) % 4)
    before = [p.detach().clone() for p in training.network.parameters()]
    training.step(z, labels, 1.0)
    assert training.scaler.get_scale() < 2.0**40  # the step was skipped
    assert all(torch.equal(a, b) for a, b in zip(before, training.network.parameters(), strict=True))
    buffers = [training.optimizer.state[p]["momentum_buffer"] for p in training.network.parameters()]
    assert all(bool((buffer == 0).all()) for buffer in buffers)
