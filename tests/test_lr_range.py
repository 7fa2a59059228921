"""The range test of learning rates."""

import math

import numpy as np
import pytest
import torch

from estimators.lr_range import DECAY, FIRST, LAST, lr_range, read_off, smoothed
from estimators.preprocess import Standardise
from estimators.resident import Images, Resident
from search_spaces.architecture import Design
from search_spaces.configuration import Configuration
from search_spaces.graph import Graph, Node


def sweep(loss):
    rates = np.geomspace(FIRST, LAST, 100)
    return [(float(rate), loss(rate)) for rate in rates]


def test_a_known_curve_is_read_off():
    """A fall in the middle of the logarithm of the rate, about 1e-3, and a burst above 0.3."""
    found = read_off(sweep(lambda r: 2.3 - 2 / (1 + math.exp(-3 * math.log(r / 1e-3))) + (r / 0.3) ** 4))
    assert 1e-4 < found.lowest < 1e-3 < found.steepest < 1e-2 < 0.05 < found.highest < 0.5
    assert found.losses[0][0] == FIRST


def test_a_loss_that_does_not_fall_is_said():
    with pytest.raises(
        ValueError, match=r"fell from 2\.3 to no less than 2\.\d+ at any rate from 1e-06 to 10"
    ):
        read_off(sweep(lambda r: 2.3 + r))


def test_smoothing_is_an_exponential_mean_without_bias():
    losses = [3.0, 1.0, 4.0, 1.0, 5.0]
    for t, got in enumerate(smoothed(losses)):
        weights = [DECAY ** (t - at) for at in range(t + 1)]
        assert got == pytest.approx(np.average(losses[: t + 1], weights=weights))


def two_blobs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 256)
    x = (rng.integers(0, 60, (256, 1, 8, 8)) + 120 * y[:, None, None, None]).astype(np.uint8)
    images = Images(torch.from_numpy(x), torch.from_numpy(y))
    return Resident(images, images, Standardise.fit(images.x))


def design(**recipe):
    nodes = (
        Node.make("x", "input"),
        Node.make("one", "conv", ["x"], filters=8),
        Node.make("pool", "global-pool", ["one"]),
        Node.make("out", "linear", ["pool"], units=2),
    )
    return Design(Configuration({}), Configuration(recipe), (1, 8, 8), 2, graph=Graph(nodes, "out"))


def test_a_sweep_is_the_same_for_a_seed_and_differs_by_optimizer():
    one = design(optimizer="adam", batch_size=32)
    state = torch.get_rng_state()
    adam, again = (lr_range(one, two_blobs(), seed=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert adam == again != lr_range(one, two_blobs(), seed=2)
    sgd = lr_range(one, two_blobs(), seed=1, optimizer="sgd")
    assert sgd != adam and adam.lowest <= adam.steepest <= adam.highest
    assert len(adam.losses) <= 100 and adam.losses[-1][0] <= LAST * 1.0001
