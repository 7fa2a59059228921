"""Cross-validation: scores kept per fold, errors in their place, the mean over what succeeded."""

import math
from statistics import fmean, stdev

import pytest

from estimators.estimator import Context, Fidelity
from nas.executor import Limits
from nas.function import Folded, Function
from nas.study import Study
from search_spaces.space import Float, Space

SPACE = Space(x=Float(0, 1))


def scores(config, context):
    assert context.folds == 5
    return {"loss": config["x"] + context.fold**2, "fold": float(context.fold)}


def patchy(config, context):
    if context.fold == 1:
        raise RuntimeError("no such fold")
    if context.fold == 3:
        return math.nan
    return float(context.fold)


def broken(config, context):
    if context.fold != 2:
        return {"other": 1.0} if context.fold else {"loss": "high"}
    return 0.5


def test_mean_and_spread_are_right_and_kept(tmp_path):
    path = tmp_path / "study.log"
    with Study(SPACE, strategy="random", storage=path, seed=0) as study:
        study.optimize(scores, trials=3, folds=5)
        before = study.trials
    with Study(SPACE, strategy="random", storage=path, seed=0) as study:
        assert study.trials == before
    for trial in before:
        values = [trial.config["x"] + fold**2 for fold in range(5)]
        step = trial.last
        assert [fold["loss"] for fold in step.folds] == values
        assert step.metrics["loss"] == pytest.approx(fmean(values)) and step.metrics["fold"] == 2.0
        assert step.spread("loss") == pytest.approx(stdev(values)) and math.isnan(step.spread("none"))


def test_a_fold_that_fails_is_an_error_in_its_place():
    study = Study(SPACE, strategy="random")
    study.optimize(patchy, trials=1, folds=5)
    step = study.trials[0].last
    assert step.error is None and step.metrics == {"loss": 2.0}
    assert "RuntimeError: no such fold" in step.folds[1] and step.folds[3] == "nan: loss is nan"
    assert step.spread("loss") == pytest.approx(2.0)


def test_more_failures_than_successes_are_a_failure():
    study = Study(SPACE, strategy="random")
    study.optimize(broken, trials=1, folds=5)
    trial = study.trials[0]
    assert trial.failed and study.best is None
    assert trial.last.error.startswith("exception: metric 'loss' is 'high'; tell a number")
    assert trial.last.error.endswith("(in 4 of 5 folds)") and trial.last.folds[2] == {"loss": 0.5}
    assert "lack 'loss'" in trial.last.folds[1]


def test_folds_run_under_limits_in_a_child():
    study = Study(SPACE, strategy="random")
    study.optimize(scores, trials=2, folds=5, limits=Limits(seconds=30.0))
    assert [len(trial.last.folds) for trial in study.trials] == [5, 5] and not study.trials[0].failed


def reporting(config, context):
    for epoch in range(context.start, context.epochs):
        context.report(epoch + 1, {"loss": config["x"] + 1 / (epoch + 1) + context.fold})
        if context.stopping():
            return


def test_folds_with_rungs():
    study = Study(SPACE, strategy="random", scheduler="halving", ladder=(Fidelity(1), Fidelity(3)), seed=0)
    study.optimize(reporting, trials=6, folds=2)
    twice = [trial for trial in study.trials if len(trial.steps) == 2]
    assert twice and all(
        step.metrics["loss"] == pytest.approx(trial.config["x"] + 0.5 + 1 / step.fidelity.epochs)
        for trial in twice
        for step in trial.steps
    )


def test_folds_in_a_table():
    pandas = pytest.importorskip("pandas")
    study = Study(SPACE, strategy="random")
    study.optimize(patchy, trials=2, folds=5)
    frame = study.to_dataframe()
    assert isinstance(frame, pandas.DataFrame) and list(frame["loss"]) == [2.0, 2.0]
    assert list(frame["loss.fold4"]) == [4.0, 4.0] and "nan" in frame["error.fold3"][0]


@pytest.mark.parametrize(
    ("function", "folds", "message"),
    [
        (scores, 1, "folds=1; give a whole number from 2 up"),
        (scores, 2.5, "folds=2.5; give a whole number"),
        (lambda config: 1.0, 5, r"needs a function f\(config, context\): context.fold says which"),
    ],
)
def test_messages(function, folds, message):
    study = Study(SPACE)
    with pytest.raises(ValueError, match=message):
        study.optimize(function, trials=1, folds=folds)
    assert not study.trials


class Late:
    """A context's ``stopping`` that turns true once ``fold`` began."""

    def __init__(self, fold):
        self.fold, self.now = fold, 0

    def __call__(self):
        return self.now >= self.fold


@pytest.mark.parametrize(("fold", "looks", "stopped"), [(2, False, False), (2, True, True), (1, False, True)])
def test_a_complete_cross_validation_counts_however_late(tmp_path, fold, looks, stopped):
    late = Late(fold)

    def function(config, context):
        late.now = context.fold
        if looks:
            context.stopping()
        return 1.0

    folded = Folded(Function(function, "loss"), 3, ("loss",))
    result = folded.evaluate({}, Fidelity(), Context(seed=0, scratch=tmp_path, stopping=late))
    assert result.stopped is stopped and len(result.folds) == (0 if stopped else 3)


@pytest.mark.parametrize("told", [math.nan, math.inf])
def test_a_bounded_metric_that_is_not_finite_fails_its_fold_alone(told):
    def function(config, context):
        return {"loss": float(context.fold), "gap": told if context.fold == 1 else 0.5}

    study = Study(SPACE, strategy="random", constraints=["gap<=1"])
    study.optimize(function, trials=1, folds=3)
    step = study.trials[0].last
    assert step.metrics == {"loss": 1.0, "gap": 0.5} and step.folds[1] == f"nan: gap is {told}"


def test_a_fold_need_not_tell_what_is_measured():
    study = Study(SPACE, strategy="random", constraints=["mine<=1"], measure=lambda config: {"mine": 0.5})
    study.optimize(lambda config, context: 1.0, trials=1, folds=3)
    assert not study.trials[0].failed
