"""The Parzen mixtures against loops over components, and what the strategy promises."""

import math

import numpy as np
import pytest
from scipy.stats import norm, truncnorm

from estimators.estimator import Result
from nas.hpo.standing import Standing
from nas.hpo.tpe import Axes, Parzen
from nas.strategies.tpe import TPE
from nas.strategy import strategies
from nas.study import Study
from nas.trial import Objective, Problem
from search_spaces.space import Choice, Float, Int, Linear, Space

SPACE = Space(
    x=Float(-1, 1),
    rate=Float(1e-4, 1, log=True),
    width=Int(4, 32, log=True),
    steps=Int(0, 10_000),
    order=Choice((1, 2, 4), ordered=True),
    kind=Choice({"a": None, "b": Space(m=Float(0, 1), n=Choice(tuple("pqr"), weights=(2, 1, 1))), "c": None}),
    only=Choice(("one",)),
)


def encoded(strategy, configs):
    rows = np.array([strategy._encode(config) for config in configs])
    u, a = np.hsplit(rows, 2)
    return u, a.astype(bool)


def mixture(n=25, seed=0):
    rng = np.random.default_rng(seed)
    strategy = TPE(Problem(SPACE))
    u, a = encoded(strategy, [SPACE.sample(rng) for _ in range(n)])
    w = rng.random(n + 1)
    return strategy, Parzen(strategy.axes, u, a, w / w.sum(), strategy.axes.bandwidths(u, a))


def kernel(axes, s, x, centre, h):
    """The density of one kernel over that of the prior, by scipy and by hand."""
    if s in axes.continuous:
        return truncnorm.pdf(x, -centre / h, (1 - centre) / h, loc=centre, scale=h)
    edges = axes.edges[s]
    at = next(k for k in range(len(edges) - 1) if edges[k] <= x < edges[k + 1])
    own = next(k for k in range(len(edges) - 1) if edges[k] <= centre < edges[k + 1])
    prior = edges[at + 1] - edges[at]
    if not axes.ordered[s]:
        return ((1 - h) * (at == own) + h * prior) / prior
    middle = 0.5 * (edges[own] + edges[own + 1])
    mass = norm.cdf(edges[at + 1], middle, h) - norm.cdf(edges[at], middle, h)
    return mass / (norm.cdf(1, middle, h) - norm.cdf(0, middle, h)) / prior


def test_densities_equal_a_loop_over_components():
    strategy, model = mixture()
    rng = np.random.default_rng(1)
    u, a = encoded(strategy, [SPACE.sample(rng) for _ in range(30)])
    expected = []
    for x, active in zip(u, a, strict=True):
        total = model.w[-1]
        for centre, known, w in zip(model.u, model.a, model.w, strict=False):
            shared = [s for s in range(len(x)) if active[s] and known[s]]
            total += w * math.prod(kernel(strategy.axes, s, x[s], centre[s], model.h[s]) for s in shared)
        expected.append(math.log(total))
    np.testing.assert_allclose(model.log_ratio(u, a), expected, rtol=1e-12, atol=1e-12)


def test_densities_integrate_to_one_and_draws_follow_them():
    """Over the prior the mean of the ratio is 1; over draws the mean of its inverse is."""
    axes = Axes([None, np.array([0.0, 0.1, 0.4, 1.0]), np.array([0.0, 0.5, 1.0])], [True, True, False])
    rng = np.random.default_rng(0)
    u = np.column_stack([rng.random(8), rng.choice(axes.middles[1], 8), rng.choice(axes.middles[2], 8)])
    a = np.ones((8, 3), bool)
    model = Parzen(axes, u, a, np.full(9, 1 / 9), np.array([0.2, 0.3, 0.4]))
    nothing = Parzen(axes, u[:0], a[:0], np.ones(1), model.h)
    for drawn, sign in ((nothing, 1), (model, -1)):
        points = drawn.sample(rng, 40_000)
        ratio = np.exp(sign * model.log_ratio(points, np.ones(points.shape, bool)))
        assert ratio.mean() == pytest.approx(1, abs=0.03)


def test_draws_are_valid_configurations():
    strategy, model = mixture()
    rows = strategy._rows(model.sample(np.random.default_rng(0), 200))
    configs = [SPACE.check(strategy.rows.config(row)) for row in rows]
    assert {"a", "b", "c"} == {config["kind"] for config in configs}
    _, a = encoded(strategy, configs)
    np.testing.assert_array_equal(a, ~np.isnan(rows))


def test_dominance_kept_up_equals_counting():
    """Scores are told, and told anew at dearer fidelities; the counts are those of a double loop at the end."""
    rng, standing = np.random.default_rng(0), Standing(2)
    for place in [*range(40), *rng.integers(40, size=30)]:
        cost, violation = -float(rng.integers(1, 3)), float(rng.choice([0.0, 0.0, 0.5, math.inf]))
        standing.put(place, np.array([*rng.integers(0, 6, 2), cost, violation], float))

    def dominates(a, b):
        if tuple(a[:1:-1]) != tuple(b[:1:-1]):
            return tuple(a[:1:-1]) < tuple(b[:1:-1])
        return (a[:2] <= b[:2]).all() and (a[:2] < b[:2]).any()

    expected = [sum(dominates(a, b) for a in standing.scores) for b in standing.scores]
    np.testing.assert_array_equal(standing.above, expected)
    order = standing.order(10)
    assert (np.diff(standing.above[order]) >= 0).all() and sorted(order) == list(range(40))


def test_one_objective_is_ordered_by_violation_then_fidelity_then_loss():
    standing = Standing(1)
    for place, score in enumerate(
        [(1, -1, 0), (2, -3, 0), (0, -3, 0.2), (math.inf, -3, math.inf), (0, -1, 0)]
    ):
        standing.put(place, np.array(score, float))
    assert list(standing.order(2)) == [1, 4, 0, 2, 3] and standing.succeeded == 4


@pytest.mark.parametrize("strategy", ["tpe", pytest.param("forest", marks=pytest.mark.slow)])
def test_a_region_of_nan_beside_the_optimum_is_left(strategy):
    def function(config):
        return math.nan if config["x"] < 0.5 else (config["x"] - 0.52) ** 2 + config["y"]

    study = Study(Space(x=Float(0, 1), y=Float(0, 1)), strategy=strategy, seed=0)
    study.optimize(function, trials=200)
    assert sum(trial.failed for trial in study.trials) < 40
    assert study.best.metrics["loss"] < 0.01


@pytest.mark.parametrize("strategy", ["tpe", "forest"])
def test_when_all_trials_fail_the_search_goes_on(strategy):
    study = Study(Space(x=Float(0, 1), k=Choice(tuple("abc"))), strategy=strategy, seed=0)
    study.optimize(lambda config: math.nan, trials=20)
    assert len({trial.config for trial in study.trials}) == 20 and study.best is None


@pytest.mark.parametrize("strategy", ["tpe", "forest"])
def test_linear_constraints_hold(strategy):
    space = Space(x=Float(0, 1), y=Float(0, 1), constraints=[Linear({"x": 1, "y": 1}, 1.1)])
    study = Study(space, strategy=strategy, seed=0)
    study.optimize(lambda config: -config["x"] - 2 * config["y"], trials=25)
    assert all(trial.config["x"] + trial.config["y"] <= 1.1 for trial in study.trials)
    assert study.best.metrics["loss"] < -1.8


@pytest.mark.parametrize("strategy", ["tpe", "forest"])
def test_a_measured_constraint_is_learned(strategy):
    """The objective falls towards a bound on a metric that only an evaluation tells."""
    study = Study(Space(x=Float(0, 1), y=Float(0, 1)), constraints=["memory<=0.4"], strategy=strategy, seed=1)
    for _ in range(40):
        trial = study.ask()
        x, y = trial.config["x"], trial.config["y"]
        study.tell(trial, Result({"loss": (y - 0.5) ** 2 - x, "memory": x}))
    assert study.best.config["x"] > 0.3
    late = [trial.config["x"] for trial in study.trials[20:]]
    assert np.median(late) < 0.5  # the objective alone would have it at 1


@pytest.mark.parametrize("strategy", ["tpe", "forest"])
def test_two_objectives_are_covered(strategy):
    def function(config):
        x, y = config["x"], config["y"]
        return {"first": x**2 + y, "second": (x - 1) ** 2 + y}

    objectives = [Objective("first"), Objective("second")]
    study = Study(Space(x=Float(0, 1), y=Float(0, 1)), objectives=objectives, strategy=strategy, seed=0)
    study.optimize(function, trials=50)
    along = [trial.config["x"] for trial in study.pareto]
    assert len(along) >= 6 and min(along) < 0.3 and max(along) > 0.7


def test_pending_trials_are_bad_and_the_bad_are_capped(monkeypatch):
    study = Study(Space(x=Float(0, 1), y=Float(0, 1)), strategy="tpe", seed=0)
    for _ in range(12):
        trial = study.ask()
        study.tell(trial, (trial.config["x"] - 0.7) ** 2)
    good, bad = study.strategy._mixtures([])
    assert (len(good.u), len(bad.u)) == (2, 10) and good.w[0] > good.w[1]
    assert len(study.strategy._mixtures(study.trials[:3])[1].u) == 13
    monkeypatch.setattr("nas.strategies.tpe.BAD", 4)
    assert len(study.strategy._mixtures([])[1].u) == 4


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("tpe", {"gamma": 1.0}),
        ("tpe", {"candidates": 0}),
        ("tpe", {"initial": 0}),
        ("forest", {"initial": 0}),
    ],
)
def test_options_are_checked(name, option):
    with pytest.raises(ValueError, match=f"^{name}: .*{next(iter(option))}=.*needs"):
        strategies.get(name)(Problem(SPACE), **option)
