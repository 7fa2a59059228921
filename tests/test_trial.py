"""Objectives, constraints, budgets and trials."""

import pytest

from estimators.estimator import Fidelity
from nas.trial import Budget, Constraint, Objective, Problem, Step, Trial
from search_spaces.space import Configuration, Float, Space


def test_objectives_know_their_direction():
    assert Objective("accuracy").maximize and not Objective("latency").maximize
    assert Objective("score", maximize=True).loss(2.0) == -2.0 and Objective("loss").loss(2.0) == 2.0


@pytest.mark.parametrize(
    ("text", "metrics", "violation"),
    [
        ("params<=1e6", {"params": 2e6}, 1.0),
        ("params<=1e6", {"params": 1e6}, 0.0),
        ("accuracy >= 0.9", {"accuracy": 0.45}, 0.5),
        ("latency<=5", {}, 0.0),
        ("latency<=5", {"latency": float("nan")}, float("inf")),
    ],
)
def test_violations_are_relative(text, metrics, violation):
    assert Constraint.parse(text).violation(metrics) == pytest.approx(violation)
    assert Constraint.parse(str(Constraint.parse(text))) == Constraint.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params<1e6", "write METRIC<=NUMBER"),
        ("params<=many", "write METRIC<=NUMBER"),
        ("accuracy>=2", "accuracy is never above 1; give at most 1"),
        ("macro_f1>=1.01", "macro_f1 is never above 1; give at most 1"),
        ("latency<=-1", "latency is never below 0; give a bound from 0 up"),
        ("parms<=1e6", "no metric 'parms'; did you mean 'params'?"),
    ],
)
def test_constraint_messages(text, message):
    with pytest.raises(ValueError, match=message):
        Constraint.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), (2.5, 2.5), ("30m", 1800), ("1.5h", 5400), ("1h30m", 5400), ("1d", 86400)],
)
def test_budgets(text, seconds):
    assert Budget.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "0", "5 weeks", "m30", "inf", "nan"])
def test_budget_messages(text):
    with pytest.raises(ValueError, match="write a positive time such as 90s, 30m"):
        Budget.parse_seconds(text)


def test_a_trial_reports_its_newest_success():
    steps = (
        Step(0, 3, Fidelity(1), metrics={"loss": 2.0}, seconds=1.0),
        Step(1, 3, Fidelity(3), start=1, seconds=2.0, error="nan: loss is nan"),
    )
    trial = Trial(3, Configuration({"a": 1}), free={"params": 10.0}, steps=steps)
    assert trial.failed and trial.metrics == {"params": 10.0, "loss": 2.0} and trial.seconds == 3.0


def test_ranks_put_violations_last_and_break_ties_by_the_loss():
    problem = Problem(Space(x=Float(0, 1)), (Objective("accuracy"),), (Constraint.parse("params<=10"),))
    metrics = [
        {"accuracy": 0.9, "params": 50.0, "loss": 0.0},
        {"accuracy": 0.8, "params": 5.0, "loss": 0.4},
        {"accuracy": 0.8, "params": 5.0, "loss": 0.3},
        {"accuracy": 0.9, "params": 11.0, "loss": 0.0},
    ]
    assert problem.ranks(metrics) == [3, 1, 0, 2]
    two = Problem(Space(x=Float(0, 1)), (Objective("accuracy"), Objective("latency")))
    rows = [
        {"accuracy": 1.0, "latency": 1.0},
        {"accuracy": 0.5, "latency": 3.0},
        {"accuracy": 0.7, "latency": 2.0},
    ]
    assert two.ranks(rows) == [0, 2, 1]
