"""The user's guesses: densities, draws, and that they help where right and cost little where wrong."""

import math
from statistics import median

import numpy as np
import pytest

from nas import prior
from nas.prior import Prior
from nas.strategy import strategies
from nas.study import Study
from search_spaces.space import Choice, Float, Int, Space

SPACE = Space(
    lr=Float(1e-5, 1, log=True),
    w=Float(0, 1),
    k=Int(1, 16),
    opt=Choice({"sgd": Space(m=Float(0, 1)), "adam": None, "rms": None}),
)
GOOD = {"lr": Prior(2e-3, 0.6), "w": Prior(0.6), "k": Prior(7), "opt": Prior("adam")}
WRONG = {"lr": Prior(0.3, 0.6), "w": Prior(0.1), "k": Prior(15), "opt": Prior("rms")}


def loss(config):
    value = 0.3 * (math.log10(config["lr"]) + 3) ** 2 + 2 * (config["w"] - 0.7) ** 2
    return value + ((config["k"] - 6) / 8) ** 2 + {"adam": 0.0, "sgd": 0.3, "rms": 0.6}[config["opt"]]


@pytest.mark.parametrize(
    ("parameter", "guess"),
    [
        (Float(1e-5, 1, log=True), 1e-3),
        (Float(0, 1), 0.0),
        (Int(1, 50, step=4, log=True), 5),
        (Int(1, 3), 3),
        (Choice(tuple("abcd"), weights=(1, 2, 3, 4)), "b"),
        (Choice((1, 2, 4, 8), ordered=True), 4),
    ],
)
def test_densities_are_those_of_the_draws(parameter, guess):
    """The density relative to a uniform draw has mean 1, its peak at the guess, and never falls below 1 - c."""
    believed = Prior(guess, 0.7)
    units = (np.arange(20_000) + 0.5) / 20_000
    density = np.array([believed.density(parameter, parameter.value(u)) for u in units])
    assert density.mean() == pytest.approx(1, abs=1e-3) and density.min() >= 0.3 - 1e-12
    assert believed.density(parameter, guess) >= density.max() - 1e-3
    rng = np.random.default_rng(0)
    space = Space(p=parameter)
    drawn = [prior.draw(space, {"p": believed}, rng)["p"] for _ in range(1_500)]
    near = abs(np.array([parameter.unit(v) for v in drawn]) - parameter.unit(guess)) < 0.15
    exact = density[
        abs(np.array([parameter.unit(parameter.value(u)) for u in units]) - parameter.unit(guess)) < 0.15
    ]
    assert near.mean() == pytest.approx(exact.sum() / 20_000, abs=0.04)


def test_only_active_parameters_count():
    study = Study(SPACE, priors={"opt.sgd.m": Prior(0.9), "opt": Prior("sgd", 0.8)}, strategy="random")
    log = study.problem.log_prior
    adam, sgd = SPACE.default({"opt": "adam"}), SPACE.default({"opt": "sgd", "opt.sgd.m": 0.9})
    assert log(adam) == pytest.approx(math.log(0.2))
    assert log(sgd) > math.log(0.2 + 0.8 * 3) and study.ask().config["opt.sgd.m"] == 0.9
    assert Study(SPACE).problem.log_prior(adam) == 0.0


@pytest.mark.parametrize("strategy", [name for name in strategies.names() if name != "grid"])
def test_the_first_trial_is_the_mode(strategy):
    config = Study(SPACE, priors=GOOD, strategy=strategy).ask().config
    assert dict(config) == {"lr": 2e-3, "w": 0.6, "k": 7, "opt": "adam"}


def searched(priors, strategy="random", seed=0, trials=60):
    study = Study(SPACE, strategy=strategy, priors=priors, seed=seed)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, loss(trial.config))
    return study


def regrets(strategy, priors, seeds=range(14)):
    """Return the median regret after 20 and after 60 trials."""
    best = []
    for seed in seeds:
        losses = [trial.metrics["loss"] for trial in searched(priors, strategy, seed).trials]
        best.append((min(losses[:20]), min(losses)))
    return [median(column) for column in zip(*best, strict=True)]


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_good_priors_help_and_wrong_ones_do_not_ruin_the_start(strategy):
    plain, good, wrong = (regrets(strategy, priors)[0] for priors in ({}, GOOD, WRONG))
    assert good < 0.5 * plain and wrong < 1.5 * plain


def test_wrong_priors_are_made_good_in_the_end():
    plain, wrong = (regrets("random", priors)[1] for priors in ({}, WRONG))
    assert wrong < 1.3 * plain


def test_priors_that_are_wrong_lose_their_say():
    study = Study(SPACE, strategy="random", priors=WRONG, seed=0)
    assert study.strategy.trust(0) == 1.0 and study.strategy.trust(10) == 0.5
    assert searched(WRONG, trials=30).strategy.trust(30) < 0.1
    assert searched(GOOD, trials=30).strategy.trust(30) == 0.25


def test_a_search_with_priors_resumes_into_the_same(tmp_path):
    def configs(path, stops):
        for stop in stops:
            with Study(SPACE, strategy="random", priors=GOOD, seed=3, storage=path) as study:
                study.optimize(loss, trials=stop - len(study.trials))
        return [trial.config for trial in study.trials]

    assert configs(tmp_path / "study.log", (5, 6, 20)) == configs(None, (20,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prior(1, 1.0), "confidence=1.0; give a number between 0 and 1"),
        (lambda: Prior(1, 0), "confidence=0; give"),
        (lambda: Prior(1, "high"), "confidence='high'; give"),
        (lambda: Study(SPACE, priors={"lrr": Prior(1)}), "did you mean 'lr'"),
        (
            lambda: Study(SPACE, priors={"lr": Prior(7.0)}),
            "'lr': 7.0 lies outside .* guess a value it can have",
        ),
        (lambda: Study(SPACE, priors={"lr": 0.1}), r"'lr' has 0.1; give a Prior, for example Prior\(0.1"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()
