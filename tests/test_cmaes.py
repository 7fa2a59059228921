"""CMA-ES against the package ``cmaes``: golden/cmaes.json is what cmaes_reference.py beside it prints."""

import json
from pathlib import Path

import numpy as np
import pytest

from nas.hpo.cmaes import Categorical, Gaussian, Rates

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cmaes.json").read_text())


def agree(ours, row):
    np.testing.assert_allclose(ours.mean, row["mean"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.sigma, row["sigma"], rtol=1e-9)
    np.testing.assert_allclose(ours.cov, row["cov"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_updates_equal_the_reference_given_its_points(n):
    gaussian = Gaussian.start(np.linspace(0.3, 0.6, n), 0.4)
    for row in GOLDEN["updates"][str(n)]:
        gaussian = gaussian.update(Rates(n, len(row["x"])), np.array(row["x"]))
        agree(gaussian, row)


def test_margins_equal_the_reference():
    gaussian = Gaussian.start(np.array([1.0, -1.0, 2.2, 0.4]), 0.7)
    for row in GOLDEN["margins"]["rows"]:
        gaussian = gaussian.update(Rates(4, len(row["x"])), np.array(row["x"]))
        mean = gaussian.mean
        places = np.clip(np.ceil(mean - 0.5), 0, [np.inf, np.inf, 4, 1])
        low, high = places - 0.5, places + 0.5
        low[:2], high[:2] = -np.inf, np.inf
        low[places == 0], high[3:][places[3:] == 1] = -np.inf, np.inf
        high[2] = np.inf if places[2] == 4 else high[2]
        gaussian = gaussian.margined(low, high, GOLDEN["margins"]["alpha"])
        agree(gaussian, row)
        np.testing.assert_allclose(gaussian.scale, row["scale"], rtol=1e-9)


def ellipsoid(x):
    return (10 ** np.linspace(0, 6, x.shape[1]) * x**2).sum(axis=1)


def sphere(x):
    return (x**2).sum(axis=1)


def rosenbrock(x):
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1)


@pytest.mark.parametrize("function", [sphere, ellipsoid, rosenbrock])
def test_evaluations_to_a_loss_of_1e_8_are_those_of_the_reference(function):
    rates, counts = Rates(5, 8), []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        gaussian = Gaussian.start(np.full(5, 0.0 if function is rosenbrock else 3.0), 1.0)
        count, least = 0, np.inf
        while least > 1e-8 and count < 20_000:
            x = gaussian.sample(rng, 8)
            losses = function(x)
            count, least = count + 8, losses.min()
            gaussian = gaussian.update(rates, x[losses.argsort()])
        counts.append(count)
    theirs = np.median(GOLDEN["evaluations"][function.__name__])
    assert 0.8 * theirs < np.median(counts) < 1.25 * theirs


def test_a_margin_keeps_every_integer_in_reach():
    rng = np.random.default_rng(0)
    gaussian = Gaussian.start(np.array([2.1, 0.0]), 1e-6).margined(
        np.array([1.5, -np.inf]), np.array([2.5, np.inf]), 0.02
    )
    drawn = gaussian.sample(rng, 40_000)
    outside = ((drawn[:, 0] < 1.5).mean(), (drawn[:, 0] > 2.5).mean())
    assert min(outside) > 0.008 and abs(drawn[:, 1]).max() < 1e-4


def test_options_that_lead_gain_and_none_is_lost():
    chances = Categorical(np.full(4, 0.25), 0.05)
    for _ in range(100):
        chances = chances.update(np.array([2, 2, 1]), np.array([0.5, 0.3, 0.2]), 0.2)
        assert chances.q.sum() == pytest.approx(1) and chances.q.min() >= 0.05 - 1e-12
    assert chances.q.argmax() == 2 and chances.q[1] > chances.q[0] == pytest.approx(0.05)
