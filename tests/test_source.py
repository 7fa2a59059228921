"""A cheaper source of what designs are worth, heard by models beside the results."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from estimators.estimator import Fidelity
from nas.doctor import rows_of
from nas.hearing import HEARD, SOURCE, Ear
from nas.hpo.gp import GaussianProcess, Posterior, fit
from nas.hpo.kernel import SLOPE, Hyperparameters, Inputs
from nas.replay import replay
from nas.rows import Rows
from nas.source import Source
from nas.strategies.gp import GP
from nas.strategy import Strategy
from nas.study import Study
from nas.trial import Problem
from search_spaces.linear import Linear
from search_spaces.space import Choice, Float, Int, Space

SPACE = Space(
    a=Float(0, 1),
    b=Float(0, 1),
    c=Float(0, 1),
    k=Int(1, 9),
    kind=Choice({"plain": Space(), "odd": Space(d=Float(0, 1))}),
)


def loss(config) -> float:
    far = sum((config[name] - 0.8) ** 2 for name in "abc") + ((config["k"] - 7) / 8) ** 2
    return far + (0.2 if config["kind"] == "plain" else 0.3 * config["kind.odd.d"])


def sample(n=40, seed=1, noise=0.1, space=SPACE):
    """Designs with what a noisy source says, more is better."""
    rng = np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(n)]
    return [(config, -loss(config) + noise * rng.standard_normal()) for config in drawn]


def played(study, trials):
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, loss(trial.config))
    return [dict(trial.config) for trial in study.trials]


def inputs_of(n, seed):
    rng = np.random.default_rng(seed)
    return replace(Inputs.plain(rng.random((n, 2))), source=rng.standard_normal(n))


def test_a_process_with_a_source_is_the_mean_over_all_slopes():
    """f = rho t + delta: by quadrature over rho, each with the process of delta alone."""
    told, points = inputs_of(12, 0), inputs_of(5, 1)
    y = 0.7 * told.source + np.sin(3 * told.x[:, 0])
    theta = Hyperparameters(np.array([0.6, 0.9]), 0.5, 0.3, 0.05)
    mean, deviation = GaussianProcess(told, y, theta).predict(points)
    rho = np.linspace(-3, 3, 601)
    bare, at = replace(told, source=None), replace(points, source=None)
    k = theta.covariance(bare, bare) + 0.05 * np.eye(12)
    weights, means, variances = [], [], []
    for one in rho:
        rest = y - one * told.source
        weights.append(norm.pdf(one, scale=SLOPE) * multivariate_normal.pdf(rest, cov=k))
        own, spread = GaussianProcess(bare, rest, theta).predict(at)
        means.append(own + one * points.source)
        variances.append(spread**2)
    w = np.array(weights)[:, None] / np.sum(weights)
    expected = (w * means).sum(0)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    second = (w * (np.array(variances) + np.array(means) ** 2)).sum(0)
    np.testing.assert_allclose(deviation, np.sqrt(second - expected**2), atol=1e-6)


def test_gradients_with_a_source_equal_finite_differences():
    told = inputs_of(20, 3)
    posterior = Posterior(told, 0.5 * told.source + told.x[:, 1])
    theta = np.array([-0.3, 0.2, 0.1, -0.4, -3.0])
    _, gradient = posterior.negative_log(theta)
    for place in range(len(theta)):
        step = 1e-5 * np.eye(len(theta))[place]
        above, below = (posterior.negative_log(theta + sign * step)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)


def test_who_was_told_without_a_source_predicts_without():
    told, points = inputs_of(10, 0), inputs_of(4, 1)
    bare, at = replace(told, source=None), replace(points, source=None)
    process = fit(bare, told.x[:, 0])
    for got, expected in zip(process.predict(points), process.predict(at), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert process.believing(points).inputs.source is None
    np.testing.assert_array_equal(
        process.sample(points, np.random.default_rng(0)), process.sample(at, np.random.default_rng(0))
    )


def test_a_source_is_told_of_any_design_and_of_no_difference_that_its_sample_lacks():
    scored = sample(60)
    source = Source(Problem(SPACE), *zip(*scored, strict=True), ["loss"])
    fresh = [SPACE.sample(np.random.default_rng(n)) for n in range(200, 260)]
    rows = np.array([Rows(SPACE).row(config) for config in fresh])
    said = source.at(rows, graphs=False)
    assert np.corrcoef(said, [loss(config) for config in fresh])[0, 1] > 0.85

    own = "abck"
    alike = [({path: config[path] for path in own} | {"kind": "plain"}, value) for config, value in scored]
    problem = Problem(
        SPACE, features=lambda config: {"width": config["k"], "odd": config.get("kind.odd.d", 0.0)}
    )
    source = Source(problem, [SPACE.default(config) for config, _ in alike], [v for _, v in alike], ["loss"])
    one, other = SPACE.default({"a": 0.3, "kind": "plain"}), SPACE.default({"a": 0.3, "kind.odd.d": 0.9})
    pair = np.array([Rows(SPACE).row(config) for config in (one, other)])
    for graphs in (False, True):
        first, second = source.at(pair, graphs)
        assert first == second != source.at(pair[:1] * 0.5, graphs)[0]


def test_a_search_that_hears_it_is_sooner_where_it_is_true():
    def best(seed, heard):
        study = Study(SPACE, strategy="gp", seed=seed)
        if heard:
            study.hear(sample(seed=seed))
        played(study, 20)
        return study.best.metrics["loss"]

    without, beside = ([best(seed, heard) for seed in range(4)] for heard in (False, True))
    assert np.mean(beside) < 0.8 * np.mean(without)


def test_where_trials_are_ended_early_auto_asks_who_hears_it_every_second_time():
    study = Study(SPACE, strategy="auto", scheduler="asha", ladder=[Fidelity(1), Fidelity(3)], seed=0)
    while study.history.starts < 24 or study.history.asked:
        trial = study.ask()
        study.tell(trial, loss(trial.config) / trial.asked.fidelity.epochs)
    assert [trial.server for trial in study.trials][-3:] == ["tpe"] * 3
    study.hear(sample())
    while study.history.starts < 30:
        trial = study.ask()
        study.tell(trial, loss(trial.config) / trial.asked.fidelity.epochs)
    servers = [trial.server for trial in study.trials if trial.number >= 25]
    assert servers.count("gp") >= 2 and servers.count("tpe") >= 2


def test_one_that_is_heard_no_longer_has_no_say():
    with_it, without = (Study(SPACE, strategy="gp", seed=3) for _ in range(2))
    with_it.hear(sample())
    with_it.heed(False)
    assert played(with_it, 16) == played(without, 16)
    with_it.heed(True)
    assert played(with_it, 1)[-1] != played(without, 1)[-1]


@pytest.mark.parametrize("strategy", ["gp", "auto"])
def test_what_was_heard_is_heard_after_a_resume_and_in_a_replay(tmp_path, strategy):
    def opened(path, until=0):
        study = Study(SPACE, strategy=strategy, seed=5, storage=path)
        for number in range(len(study.trials), until):
            if number == 6:
                study.hear(sample())
            if number in (12, 15):
                study.heed(number == 15)
            played(study, 1)
        return study

    whole, parts = tmp_path / "whole.log", tmp_path / "parts.log"
    with opened(whole, 18) as study:
        expected = [dict(trial.config) for trial in study.trials]
    for until in (9, 14, 18):
        with opened(parts, until) as study:
            found = [dict(trial.config) for trial in study.trials]
    assert found == expected
    told = replay(Study(SPACE, strategy=strategy, seed=5), rows_of(whole))
    assert told.divergence is None and told.asked == 18
    rows = [row for row in rows_of(whole) if row.get("name") != SOURCE]
    assert replay(Study(SPACE, strategy=strategy, seed=5), rows).divergence is not None


def test_a_space_that_has_grown_hears_what_is_of_it_still(tmp_path):
    path = tmp_path / "study.log"
    with Study(SPACE, strategy="gp", seed=0, storage=path) as study:
        study.hear(scored := sample())
        played(study, 10)
    more = Space(**SPACE.parts, e=Float(0, 1, default=0.5))
    with Study(more, strategy="gp", seed=0, storage=path) as study:
        played(study, 3)
        said = study.strategy.source.at(
            study.strategy.models.designs(study.strategy.models.seen), graphs=False
        )
        assert np.corrcoef(said, [loss(trial.config) for trial in study.trials])[0, 1] > 0.7

    narrow = Space(**{**SPACE.parts, "k": Int(1, 4)})
    ear = Ear(Problem(narrow), SimpleNamespace(hear=(heard := []).append))
    row = {"objectives": ["loss"], "scores": [[dict(config), value] for config, value in scored]}
    ear.follow({SOURCE: row, HEARD: True})
    fewer = [(config, value) for config, value in scored if config["k"] <= 4]
    expected = Source(Problem(narrow), *zip(*fewer, strict=True), ["loss"])
    rows = np.array([Rows(narrow).row(config) for config, _ in fewer])
    np.testing.assert_array_equal(heard[0].at(rows, graphs=False), expected.at(rows, graphs=False))
    ear.follow({SOURCE: {**row, "scores": row["scores"][:1]}, HEARD: True})
    assert heard[1:] == [None]


def test_scores_stay_with_their_designs_whatever_constraints_hold():
    space = Space(x=Float(0, 1), y=Float(0, 1), constraints=[Linear({"x": 1, "y": 1}, 0.5)])
    study = Study(space, strategy="gp", seed=0)
    study.hear([({"x": 0.9, "y": 0.1 * i}, i) for i in range(8)])
    trial = study.ask()
    rows = np.array([[0.9, 0.0], [0.9, 0.7]])
    worst, best = study.strategy.source.at(rows, graphs=False)
    assert best < -0.9 < 0.9 < worst and trial.config["x"] + trial.config["y"] <= 0.5 + 1e-9


def test_of_many_scores_some_are_heard_evenly(monkeypatch):
    monkeypatch.setattr("nas.source.MOST", 8)
    scored = [({"x": i / 30}, float(i)) for i in range(31)]
    space = Space(x=Float(0, 1))
    source = Source(Problem(space), [space.default(config) for config, _ in scored], range(31), ["loss"])
    assert len(source._designs) == 8 and source._designs[[0, -1], 0].tolist() == [0.0, 1.0]
    assert np.all(np.diff(source.at(np.linspace(0, 1, 20)[:, None], graphs=False)) < 0)


def test_a_kill_between_two_events_leaves_nothing_half_said(tmp_path, monkeypatch):
    path = tmp_path / "study.log"
    with Study(SPACE, strategy="gp", seed=0, storage=path) as study:
        calls, append = [], study._storage.append

        def counted(*rows):
            calls.append(len(rows))
            return append(*rows)

        monkeypatch.setattr(study._storage, "append", counted)
        study.hear(sample())
        study.heed(True)  # nothing new
    assert calls == [2]


def test_who_keeps_something_else_under_its_name_keeps_it():
    class Own(Strategy):
        def __init__(self, problem, *, seed=0):
            super().__init__(problem, seed=seed)
            self.source = "mine"

        def propose(self, rng, index, pending):
            return self.problem.space.sample(rng)

    study = Study(SPACE, strategy=Own, seed=0)
    study.note("source", "git abc")  # a user's event
    study.heed(False)
    played(study, 2)
    assert study.strategy.source == "mine" and HEARD not in study.history.events


def test_of_several_objectives_only_those_it_speaks_of_hear_it():
    study = Study(SPACE, objectives=["loss", "size"], strategy="gp", seed=0)
    study.hear(sample(), ["loss"])
    for _ in range(12):
        trial = study.ask()
        study.tell(trial, {"loss": loss(trial.config), "size": trial.config["k"]})
    study.ask()
    assert isinstance(study.strategy, GP)
    first, second = study.strategy.models.objectives(graphs=False)
    assert first.inputs.source is not None and second.inputs.source is None
    assert study.history.events[SOURCE]["objectives"] == ["loss"] and study.history.events[HEARD]


@pytest.mark.parametrize(
    ("scored", "objectives", "said"),
    [
        (lambda: [*sample(5), ({"a": 2.0}, 1.0)], (), "parameter 'a': 2.0"),
        (lambda: [*sample(5), ({"q": 2.0}, 1.0)], (), "'q'"),
        (
            lambda: [*sample(5), ({"a": 0.5}, math.nan)],
            (),
            "a source says nan of {'a': 0.5}; give a finite number",
        ),
        (lambda: [*sample(5), ({"a": 0.5}, True)], (), "a source says True"),
        (lambda: [*sample(5), ({"a": 0.5}, 10**400)], (), "of {'a': 0.5}; give a finite number"),
        (lambda: [*sample(5), ("a", 0.5)], (), "give a pair of a map from path to value and a score"),
        (lambda: [*sample(5), 0.5], (), "a source says 0.5; give a pair"),
        (lambda: None, (), "a source of None; give a list of (configuration, score)"),
        (lambda: iter(sample(3)), (), "a source of 3 designs; give the scores of 4 or more"),
        (lambda: sample(5), "loss", "objectives='loss': give a list of names"),
        (lambda: sample(5), ["los"], "no objective 'los'; did you mean 'loss'"),
    ],
)
def test_what_is_no_source_is_refused_and_nothing_is_stored(scored, objectives, said):
    study = Study(SPACE)
    with pytest.raises(ValueError) as caught:
        study.hear(scored(), objectives)
    assert said in str(caught.value)
    assert not {SOURCE, HEARD} & study.history.events.keys()
