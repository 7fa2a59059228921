"""The CUDA side of the one code path; skipped where there is no device. ``python -m experiments.gpu.run`` times it."""

import numpy as np
import pytest
import torch

from estimators.batches import epoch_batches
from estimators.dataset import load, save
from estimators.estimator import Context, Fidelity
from estimators.preprocess import Standardise
from estimators.resident import Images
from estimators.train import TrainEstimator, evaluate_split, standardisation, trained_weights
from search_spaces.architecture import SearchSpace
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
