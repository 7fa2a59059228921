"""The CUDA side of the one code path; skipped where there is no device. ``python -m experiments.gpu.run`` times it."""

import numpy as np
import pytest
import torch
from torch import nn

from estimators import capture, loop
from estimators.batches import epoch_batches
from estimators.dataset import load, save
from estimators.device import kernels, own_stream
from estimators.divergence import Diverged
from estimators.estimator import Context, Fidelity
from estimators.loop import Training
from estimators.mix import Labels
from estimators.preprocess import Standardise
from estimators.resident import Images
from estimators.sharing.inherited import open_supernet
from estimators.sharing.paths import Paths
from estimators.sharing.supernet import Plan, Supernet
from estimators.train import TrainEstimator, evaluate_split, standardisation, trained_weights
from search_spaces.architecture import SearchSpace
from search_spaces.configuration import Configuration
from search_spaces.recipe import Recipe, recipe_space
from search_spaces.spaces.chain import Chain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return save(load("digits"), tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="module")
def design():
    joint = SearchSpace(Chain((1, 8, 8), 10), recipe_space((1, 8, 8), 10, 1_222))
    return joint.decode(joint.space.default())


def trained(folder, design, scratch, epochs=12, precision="auto", **context):
    scratch.mkdir(exist_ok=True)
    context = Context(seed=1, scratch=scratch, device="cuda", horizon=12, **context)
    estimator = TrainEstimator(folder, metrics=["latency", "memory"], precision=precision)
    return estimator.evaluate(design, Fidelity(epochs), context), scratch


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_it_learns_in_every_precision(digits, design, tmp_path, precision):
    result, _ = trained(digits, design, tmp_path / precision, precision=precision)
    assert result.error is None and result.metrics["accuracy"] > 0.9
    assert result.metrics["latency"] > 0 and result.metrics["memory"] > 0


def test_the_cpu_scores_what_the_gpu_trained(digits, design, tmp_path):
    result, scratch = trained(digits, design, tmp_path / "one")
    checkpoint = scratch / result.checkpoint
    scores = [
        evaluate_split(
            design, trained_weights(checkpoint), load("digits").val, standardisation(checkpoint), device=d
        )
        for d in ("cuda", "cpu")
    ]
    np.testing.assert_allclose(scores[0][1], scores[1][1], rtol=1e-3, atol=1e-3)
    assert scores[0][0]["accuracy"] == pytest.approx(result.metrics["accuracy"], abs=0.01)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_both_devices_see_the_same_batches(mix):
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.integers(0, 256, (90, 3, 20, 24), dtype=np.uint8)), torch.arange(90) % 5
    recipe = Recipe("sgd", 0.1, batch_size=32, augment="trivial", erase=0.5, mix=mix, normalize="image")
    feeds = [
        epoch_batches(Images(x.to(d), y.to(d)), torch.arange(90), recipe, Standardise.identity(3), 1)
        for d in ("cpu", "cuda")
    ]
    for (z, labels), (other, others) in zip(*feeds, strict=True):
        assert torch.equal(labels.y, others.y.cpu()) and labels.share == others.share
        off = (z - other.cpu()).abs() > 1e-3  # a point halfway between two pixels goes to either
        assert off.float().mean() < 0.005


def test_a_training_continues(digits, design, tmp_path):
    half, scratch = trained(digits, design, tmp_path / "half", epochs=6)
    whole, _ = trained(digits, design, tmp_path / "whole", start=6, checkpoint=scratch / half.checkpoint)
    assert whole.error is None and len(whole.curve) == 6 and whole.metrics["accuracy"] > 0.9


def small_network(dropout=0.0):
    shape = (3, 16, 16)
    joint = SearchSpace(Chain(shape, 4), recipe_space(shape, 4, 300))
    return joint.decode(Configuration({**joint.space.default(), "architecture.dropout": dropout})).network(0)


def steps(recipe, dtype, *, recorded, on="cuda"):
    """Two epochs of a little chain; images lie on the GPU or are sent to it."""
    network = small_network()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 256, (300, 3, 16, 16), dtype=np.uint8)).to(on)
    images = Images(x, (torch.arange(300) % 4).to(on))
    training = Training(network, recipe, Standardise.identity(3), device=torch.device("cuda"), dtype=dtype)
    if not recorded:
        training.replay.give_up()
    losses = [
        training.epoch(images, torch.arange(300), epoch=e, horizon=2, seeds=(e, e), watch=lambda: None)
        for e in (1, 2)
    ]
    return training, losses


def distance(a, b):
    """Of two lists of tensors, the square root of the sum of squares."""
    return sum(float((x - y).double().square().sum()) for x, y in zip(a, b, strict=True)) ** 0.5


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("more", [{}, {"mix": "mixup", "clip": 0.5, "ema": 0.9, "balance": True}])
def test_recorded_steps_are_those_taken_one_by_one(optimizer, precision, more, monkeypatch):
    """They part by little of the way they went: adaptive optimizers make much of the least difference.

    In float32 without TF32, whose kernels are others while a graph is recorded.
    """
    monkeypatch.setattr(loop, "kernels", lambda exact: kernels(exact=precision == torch.float32, tuned=False))
    recipe = Recipe(optimizer, 1e-3, momentum=0.9, batch_size=32, augment="flip-crop", **more)
    (one, losses), (other, others) = (steps(recipe, precision, recorded=flag) for flag in (True, False))
    assert losses == pytest.approx(others, rel=1e-3)
    mine, theirs = (list(training.scored.cuda().parameters()) for training in (one, other))
    start = list(small_network().cuda().parameters())
    assert distance(mine, theirs) < 0.05 * distance(theirs, start)


@pytest.mark.parametrize("waits", [False, True])
def test_a_step_is_recorded_unless_it_waits_for_the_device(waits):
    """A recording that fails would leave random numbers unusable: dropout goes on in both."""
    device, recipe = torch.device("cuda"), Recipe("adamw", 1e-3, batch_size=32, augment="none")
    batch = (
        torch.zeros(32, 3, 16, 16, device=device),
        Labels(torch.zeros(32, dtype=torch.int64, device=device)),
    )
    training = Training(
        small_network(dropout=0.2), recipe, Standardise.identity(3), device=device, dtype=torch.float32
    )
    if waits:
        training.network.register_forward_hook(lambda _, x, out: out * float(out.detach().sum() > -1e9))
    training.network.train()
    with own_stream(device):
        losses = [float(training.step(*batch, 1.0)) for _ in range(8)]
    assert training.replay.recorded is not waits and np.isfinite(losses).all()
    assert nn.functional.dropout(torch.ones(64, device=device), 0.5).sum() > 0


def test_images_that_do_not_fit_are_sent_batch_by_batch():
    recipe = Recipe("sgd", 1e-2, momentum=0.9, batch_size=32, augment="trivial", erase=0.2)
    (_, there), (_, sent) = (steps(recipe, torch.float32, recorded=True, on=d) for d in ("cuda", "cpu"))
    assert there == pytest.approx(sent, rel=1e-3)


def test_divergence_is_seen_within_the_epoch():
    with pytest.raises(Diverged, match=r"loss (nan|inf) at epoch 1"):
        steps(Recipe("sgd", 1e30, weight_decay=1.0, batch_size=4), torch.float32, recorded=True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_supernet_trains_here_and_scores_alike_on_the_cpu(digits, design, tmp_path, precision):
    space = SearchSpace(Chain((1, 8, 8), 10), recipe_space((1, 8, 8), 10, 1_222))
    file = tmp_path / "supernet.safetensors"
    net = Supernet(
        space, digits, Plan(2, Paths(each=2, sandwich=True)), file, device="cuda", precision=precision
    )
    net.train()
    assert all(np.isfinite(net.curve))
    here, there = (open_supernet(file, digits, design, device).score(design) for device in ("cuda", "cpu"))
    assert here["loss"] == pytest.approx(there["loss"], rel=1e-2)
    started = TrainEstimator(digits, inherit=file).evaluate(
        design, Fidelity(1), Context(seed=0, scratch=tmp_path, device="cuda")
    )
    assert started.error is None


def test_a_recording_that_fails_for_memory_leaves_random_numbers(monkeypatch):
    """As where another process has just taken what there was. It is the last test: some torches go on recording."""
    device, recipe = torch.device("cuda"), Recipe("adamw", 1e-3, batch_size=32, augment="none")
    monkeypatch.setattr(capture, "has_room", lambda device, taken: True)
    monkeypatch.setattr(capture, "_failed", set())
    training = Training(
        small_network(dropout=0.2), recipe, Standardise.identity(3), device=device, dtype=torch.float32
    )

    class Full(capture.Recorded):
        def __init__(self, work, *others):
            def fails(z, labels):
                loss = work(z, labels)
                torch.cuda.synchronize()  # what no graph can hold: the recording ends badly
                return loss

            super().__init__(fails, *others)

    monkeypatch.setattr(capture, "Recorded", Full)
    batch = (
        torch.zeros(32, 3, 16, 16, device=device),
        Labels(torch.zeros(32, dtype=torch.int64, device=device)),
    )
    training.network.train()
    with own_stream(device):
        losses = [float(training.step(*batch, 1.0)) for _ in range(8)]
    assert not training.replay.recorded and np.isfinite(losses).all()
    assert nn.functional.dropout(torch.ones(64, device=device), 0.5).sum() > 0
