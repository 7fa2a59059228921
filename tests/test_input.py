"""Bad input: one clear error with the value, the rule and the remedy, and a study that goes on as if nothing was."""

import math
from decimal import Decimal

import numpy as np
import pytest

from nas.hpo.pareto import nondominated
from nas.study import Finished, Study
from nas.trial import Objective
from search_spaces.space import Choice, Float, Int, Linear, Space

SPACE = Space(x=Float(0, 1), k=Int(1, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Study(Space()), "the space is empty; give it at least one Float, Int or Choice"),
        (lambda: Study({"x": (0, 1)}), r"space=\{'x': \(0, 1\)\}; give a Space"),
        (lambda: Float(1.0, 0.0), "low=1.0 lies above high=0.0; swap them"),
        (lambda: Int(5, 1), "low=5 lies above high=1; swap them"),
        (lambda: Float(0, 1, log=True), "low=0 with log=True; a log scale needs low > 0"),
        (lambda: Int(0, 8, log=True), "a log scale needs low > 0"),
        (lambda: Float(0, math.inf), "high=inf is not a finite number"),
        (lambda: Float("0", 1), "low='0' is not a finite number"),
        (
            lambda: Float(0, 1, default=2.0),
            r"default=2.0 lies outside \[0, 1\]; give one inside, or leave it out",
        ),
        (lambda: Float(0, 1, default=math.nan), "default=nan lies outside"),
        (lambda: Float(0, 1, default="high"), "default='high' is not a number; give one from 0 to 1"),
        (lambda: Int(1, 9, default=12), r"default=12 lies outside \[1, 9\]; give one inside"),
        (lambda: Int(1, 9, step=2, default=4), "default=4 is not 1 plus a multiple of step=2"),
        (lambda: Choice(tuple("ab"), default="c"), r"default='c' is not one of \['a', 'b'\]"),
        (
            lambda: Study(SPACE, strategy="grid"),
            "strategy 'grid': parameter 'x' is continuous; use an Int or a Choice",
        ),
        (lambda: Study(SPACE, objectives="loss"), r"objectives='loss': give a list of names"),
        (lambda: Study(SPACE, objectives=[]), r"objectives=\[\]: give a list of names"),
        (lambda: Study(SPACE, objectives=[3]), "objectives: 3 is neither a name nor an Objective"),
        (lambda: Study(SPACE, objectives=["loss", "loss"]), "one stands twice; name each once"),
        (lambda: Study(SPACE, constraints="loss<=1"), r"constraints='loss<=1': give a list"),
        (lambda: Study(SPACE, constraints=["drop<0.1"]), "write METRIC<=NUMBER or METRIC>=NUMBER"),
        (lambda: Study(SPACE, seed=-1), "seed=-1; give a whole number from 0 up"),
        (lambda: Study(SPACE, seed=None), "seed=None; give a whole number"),
        (lambda: Study(SPACE).optimize(len, trials=-1), "trials=-1; give how many to start"),
        (lambda: Study(SPACE).optimize(3, trials=1), "optimize got 3; give a function"),
        (lambda: Study(SPACE).optimize(len), "optimize has no end; give trials=, budget="),
        (
            lambda: Study(
                Space(a=Int(0, 9, default=9), b=Float(0, 1), constraints=[Linear({"a": 1, "b": 1}, 8)])
            ),
            "the defaults a=9 break the constraints 1 a .* change a default=, or loosen a bound",
        ),
    ],
)
def test_what_makes_no_study(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": 1.0}, r"metrics \{'loss': 1.0\} lack 'size', an objective or constraint; tell it too"),
        ({"loss": 1.0, "size": 2.0}, "lack 'drop', an objective or constraint"),
        ({"loss": "low", "size": 1.0, "drop": 0.0}, "metric 'loss' is 'low'; tell a number"),
        ({"loss": None, "size": 1.0, "drop": 0.0}, "metric 'loss' is None; tell a number"),
        ({"loss": [1.0], "size": 1.0, "drop": 0.0}, r"metric 'loss' is \[1.0\]; tell a number"),
        ({"loss": Decimal(1), "size": 1.0, "drop": 0.0}, "tell a number, such as float"),
        ({"loss": 1 + 2j, "size": 1.0, "drop": 0.0}, "tell a number"),
        ({"loss": True, "size": 1.0, "drop": 0.0}, "metric 'loss' is True"),
        (0.5, r"metrics \{'loss': 0.5\} lack 'size'"),
        ("good", "metrics {'loss': 'good'} lack 'size'"),
        (None, "tell got neither values nor an error"),
    ],
)
def test_what_cannot_be_told_leaves_the_study_unharmed(values, message, tmp_path):
    options = {"objectives": ["loss", "size"], "constraints": ["drop<=0.1"], "strategy": "random"}
    path = tmp_path / "study.log"
    with Study(SPACE, storage=path, **options) as study:
        trial = study.ask()
        content = path.read_bytes()
        with pytest.raises(ValueError, match=message):
            study.tell(trial, values)
        assert path.read_bytes() == content and not study.trials[0].steps
        for unknown in (7, -1, "0", None, [0]):
            with pytest.raises(ValueError, match=r"no trial .* in this study; tell what ask returned"):
                study.tell(unknown, 1.0)
        with pytest.raises(ValueError, match=r"both values 1.0 and error 'mine'; give one"):
            study.tell(trial, 1.0, error="mine")
        study.tell(trial, {"loss": np.float64(1), "size": np.int64(2), "drop": 0})
        with pytest.raises(ValueError, match="trial 0 was told already; ask for another"):
            study.tell(trial, {"loss": 1.0, "size": 2.0, "drop": 0.0})
    with Study(SPACE, storage=path, **options) as study:
        assert study.best.metrics == {"loss": 1.0, "size": 2.0, "drop": 0.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_not_finite_is_a_failed_trial(value):
    study = Study(SPACE, strategy="random", constraints=["drop<=0.1"])
    assert study.tell(study.ask(), {"loss": value, "drop": 0.0}).last.error == f"nan: loss is {float(value)}"
    assert study.tell(study.ask(), {"loss": 1.0, "drop": value}).last.error == f"nan: drop is {float(value)}"
    assert study.tell(study.ask(), {"loss": 1.0, "drop": 0.0, "note": value}).last.error is None
    assert [trial.failed for trial in study.trials] == [True, True, False] and study.best.number == 2


def test_more_asks_than_points_left():
    study = Study(Space(a=Choice(tuple("abc")), b=Int(1, 2)), strategy="random")
    trials = [study.ask() for _ in range(6)]
    assert not study.exhausted
    with pytest.raises(
        Finished, match=r"no design that was not started: 6 were; widen a range or add an option"
    ):
        study.ask()
    assert study.exhausted and len({trial.config for trial in trials}) == 6
    for trial in trials:
        study.tell(trial, 1.0)
    assert study.optimize(lambda config: 1.0, trials=5).number == 0 and len(study.trials) == 6


def test_constraints_on_metrics_of_ones_own():
    study = Study(
        SPACE, objectives=[Objective("score", maximize=True)], constraints=["Drop/val<=0.2", "k>=2"]
    )
    study = Study(
        SPACE,
        objectives=[Objective("score", maximize=True)],
        constraints=["Drop/val<=0.2", "k>=2"],
        strategy="random",
        seed=0,
    )
    study.optimize(
        lambda c: {"score": c["x"], "Drop/val": c["x"] / 2, "k": float(c["k"])},
        trials=40,
    )
    feasible = [t for t in study.trials if t.config["x"] <= 0.4 and t.config["k"] >= 2]
    assert study.best == max(feasible, key=lambda trial: trial.config["x"])
    assert {trial.number for trial in study.pareto} == {study.best.number}


def test_the_front_is_that_of_all_feasible_trials():
    rng = np.random.default_rng(0)
    objectives = [Objective("a"), Objective("b", maximize=True), Objective("c")]
    study = Study(SPACE, objectives=objectives, constraints=["d<=0.5"], strategy="random")
    for values in rng.integers(0, 4, size=(60, 3)).tolist():
        told = dict(zip("abc", values, strict=True)) | {"d": float(rng.random())}
        study.tell(study.ask(), told)
    feasible = [trial for trial in study.trials if trial.metrics["d"] <= 0.5]
    losses = np.array([[t.metrics["a"], -t.metrics["b"], t.metrics["c"]] for t in feasible])
    expected = {trial.number for trial, on in zip(feasible, nondominated(losses), strict=True) if on}
    assert {trial.number for trial in study.pareto} == expected and study.best.number in expected


def test_a_table_of_trials():
    pytest.importorskip("pandas")
    study = Study(SPACE, strategy="random")
    study.tell(study.ask(), 0.5)
    study.tell(study.ask(), error="exception: mine")
    study.ask()
    frame = study.to_dataframe()
    assert list(frame["state"]) == ["finished", "failed", "running"] and list(frame["number"]) == [0, 1, 2]
    assert frame["loss"][0] == 0.5 and set(frame.columns) >= {"config.x", "config.k", "seconds"}
