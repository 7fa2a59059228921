"""The strategy gp where it could break: failures, bounds that nothing holds, features that change, odd losses."""

import math
from functools import partial

import numpy as np
import pytest

from nas.hpo.gp import squash
from nas.hpo.pareto import crowding_distance
from nas.models import Models
from nas.rows import Rows
from nas.strategy import strategies
from nas.study import Study
from nas.trial import Problem
from search_spaces.space import Choice, Float, Int, Space

PLANE = Space(x=Float(0, 1), y=Float(0, 1))


@pytest.mark.parametrize("name", ["gp", "auto"])
def test_features_that_change_late_while_trials_fail(name):
    def features(config):
        return {"depth": 1.0 if config["x"] < 0.5 else float(len(seen)), "op:a": 1.0, "odd": math.nan}

    seen = []
    study = Study(PLANE, strategy=name, seed=0, constraints=["g<=0.5"], features=features)
    for _ in range(24):
        trial = study.ask()
        seen.append(trial)
        failed = len(seen) > 9 and len(seen) % 3 == 0
        study.tell(trial, {"loss": math.nan if failed else trial.config["x"], "g": trial.config["y"]})
    assert sum(trial.failed for trial in study.trials) > 3


def test_a_process_is_a_function_of_what_was_told_whenever_it_is_asked():
    """One that was fitted before a failure changed how designs are seen is not used after it."""
    features = [{"depth": 1.0}] * 11 + [{"depth": 2.0}] * 5
    known = {}
    problem = Problem(PLANE, features=lambda config: known[config.id])
    study = Study(PLANE, strategy="random", seed=0)
    early, late = Models(problem, Rows(PLANE)), Models(problem, Rows(PLANE))
    for number, graph in enumerate(features):
        trial = study.ask()
        known[trial.config.id] = graph
        study.tell(trial, math.nan if number == 11 else trial.config["x"])
        early.append(study.trials[number])
        late.append(study.trials[number])
        if number > 8:
            early.success(True), early.objectives(True)
    rows = Rows(PLANE).sample(5, np.random.default_rng(0))
    for row in rows:
        known[Rows(PLANE).config(row).id] = {"depth": 1.5}
    for one, other in zip(early.objectives(True), late.objectives(True), strict=True):
        inputs = early.view(True).inputs(rows)
        np.testing.assert_array_equal(one.predict(inputs)[0], other.predict(late.view(True).inputs(rows))[0])


def test_what_holds_is_found_before_anything_does():
    """A ball of a ten-thousandth of the volume, told through a constraint: random search never meets it."""
    space = Space(**{f"x{i}": Float(0, 1) for i in range(4)})
    study = Study(space, strategy="gp", seed=1, constraints=["far<=0.15"])
    for _ in range(40):
        trial = study.ask()
        far = math.dist([trial.config[f"x{i}"] for i in range(4)], [0.8, 0.3, 0.6, 0.2])
        study.tell(trial, {"loss": far, "far": far})
    assert sum(trial.metrics["far"] <= 0.15 for trial in study.trials) >= 5


def test_what_is_rejected_costs_one_model_an_ask(monkeypatch):
    built = []
    real = Models.objectives
    monkeypatch.setattr(Models, "objectives", lambda self, graphs: built.append(1) or real(self, graphs))
    measure = {"measure": lambda config: {"p": config["x"]}, "constraints": ["p<=0.02"]}
    study = Study(PLANE, strategy="gp", seed=0, **measure)
    study.optimize(lambda config: config["y"], trials=20)
    assert len(built) <= 20 and all(trial.config["x"] <= 0.02 for trial in study.trials)


@pytest.mark.parametrize("acquisition", ["thompson", "ucb", "log-pi"])
def test_acquisitions_of_one_objective_are_refused_for_two(acquisition):
    two = {"objectives": ["a", "b"], "strategy": partial(strategies.get("gp"), acquisition=acquisition)}
    with pytest.raises(ValueError, match=f"acquisition='{acquisition}' is of one objective, not of 2"):
        Study(PLANE, **two)
    one = partial(strategies.get("gp"), acquisition=acquisition)
    study = Study(PLANE, strategy=one, seed=0)
    study.optimize(lambda config: (config["x"] - 0.3) ** 2 + (config["y"] - 0.7) ** 2, trials=30)
    assert study.best.metrics["loss"] < 0.02


def test_squash_stands_any_losses():
    with np.errstate(all="raise"):
        for y in ([1e308, -1e308, 1e200, -1e200, 1.0, 0.0], [1e200, 2e200, -1e200, 3.0]):
            z = squash(np.array(y))
            assert np.isfinite(z).all() and z.std() > 0


def test_a_constant_objective_makes_nobody_an_end():
    losses = np.column_stack([[0.3, 0.1, 0.2, 0.4, 0.25], np.ones(5)])
    assert np.isinf(crowding_distance(losses)).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("name", strategies.names())
def test_integers_of_a_billion_values_and_two_hundred_options(name):
    if name == "grid":
        return
    space = Space(n=Int(0, 10**9), k=Choice([f"o{i}" for i in range(200)]))
    study = Study(space, strategy=name, seed=0)
    study.optimize(lambda config: abs(config["n"] - 3e8) / 1e9 + (config["k"] != "o7"), trials=15)
    assert len(study.trials) == 15


def test_a_continuous_space_is_not_exhausted_by_a_narrow_bound():
    study = Study(
        PLANE, strategy="random", seed=0, constraints=["p<=0.0005"], measure=lambda c: {"p": c["x"]}
    )
    study.enqueue({"x": 0.0004, "y": 0.5})
    study.optimize(lambda config: config["y"], trials=6)
    assert len(study.trials) == 6 and not study.exhausted
