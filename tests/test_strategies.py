"""Conformance of every strategy and scheduler, and what each of them promises."""

import math

import numpy as np
import pytest

from estimators.estimator import Fidelity, Result
from nas.hpo.pareto import nondominated
from nas.observations import levelled
from nas.scheduler import schedulers
from nas.strategy import EXHAUSTED, strategies
from nas.study import Study
from nas.trial import Constraint, Objective, Problem
from search_spaces.space import Choice, Configuration, Float, Int, Space

LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
MIXED = Space(
    x=Float(-5, 10),
    y=Float(0, 15),
    depth=Int(1, 4),
    kind=Choice({"plain": None, "own": Space(k=Int(1, 5), s=Choice("abc"))}),
)
SMALL = Space(a=Int(1, 4), b=Choice("xyz"), c=Choice({"off": None, "on": Space(d=Choice((True, False)))}))


def branin(config):
    x, y = config["x"], config["y"]
    level = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    level += 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    return level + config["depth"] - 1 + config.get("kind.own.k", 0)


def small(config):
    return config["a"] + "xyz".index(config["b"]) + config.get("c.on.d", 0.5)


def configurations(study):
    return [(trial.config, trial.steps) for trial in study.trials]


def same(a, b):
    for (config, steps), (other, others) in zip(a, b, strict=True):
        assert config == other
        assert [(s.fidelity, s.metrics) for s in steps] == [(s.fidelity, s.metrics) for s in others]


@pytest.mark.parametrize("scheduler", schedulers.names())
@pytest.mark.parametrize("strategy", strategies.names())
def test_fifteen_and_fifteen_are_thirty(strategy, scheduler, tmp_path):
    space, function = (SMALL, small) if strategy == "grid" else (MIXED, branin)
    options = {"strategy": strategy, "scheduler": scheduler, "ladder": LADDER, "seed": 3}
    whole = Study(space, **options)
    whole.optimize(function, trials=30)
    path = tmp_path / "study.log"
    halves = []
    for _ in range(2):
        with Study(space, storage=path, **options) as study:
            left = 30 - len(study.searched)
            while len(study.searched) < 30 and len(study.searched) < 30 - left + 15:
                trial = study.ask()
                study.tell(trial, function(trial.config))
            halves = study.trials
    with Study(space, storage=path, **options) as study:
        study.optimize(function, trials=0)
        halves = study
        same(configurations(whole), configurations(halves))
    assert len({trial.key for trial in whole.trials}) == len(whole.trials)


@pytest.mark.parametrize("strategy", strategies.names())
def test_a_small_space_is_exhausted_without_a_repeat(strategy):
    study = Study(SMALL, strategy=strategy, seed=1)
    study.optimize(small, trials=1000)
    assert len(study.trials) == len({t.config for t in study.trials}) == SMALL.size == 36
    assert study.best.metrics["loss"] == 1.0


@pytest.mark.parametrize("strategy", [name for name in strategies.names() if name != "grid"])
def test_pending_trials_are_distinct_and_constraints_hold(strategy):
    problem_study = Study(
        MIXED,
        strategy=strategy,
        constraints=["params<=3"],
        measure=lambda config: {"params": float(config["depth"])},
    )
    for _ in range(12):
        trial = problem_study.ask()
        problem_study.tell(trial, branin(trial.config))
    pending = [problem_study.ask() for _ in range(8)]
    rows = np.array([MIXED.encode(trial.config) for trial in pending])
    gaps = [np.abs(a - b).max() for i, a in enumerate(rows) for b in rows[:i]]
    assert min(gaps) > 1e-6
    assert all(trial.config["depth"] <= 3 for trial in problem_study.trials)


@pytest.mark.parametrize("strategy", ["evolution", "gp", "auto"])
def test_better_than_random_search(strategy):
    def reached(name, seed):
        study = Study(MIXED, strategy=name, seed=seed)
        study.optimize(branin, trials=50)
        return study.best.metrics["loss"]

    seeds = range(4)
    assert np.mean([reached(strategy, s) for s in seeds]) < np.mean([reached("random", s) for s in seeds])


def test_the_process_finds_the_optimum_of_branin():
    space = Space(x=Float(-5, 10), y=Float(0, 15), depth=Choice((1,)))
    study = Study(space, strategy="gp", seed=0)
    study.optimize(branin, trials=40)
    assert study.best.metrics["loss"] < 0.3979 + 0.02


@pytest.mark.parametrize("strategy", ["evolution", "gp"])
def test_a_region_that_fails_is_left(strategy):
    def function(config):
        return math.nan if config["x"] < 0.5 else (config["x"] - 0.52) ** 2 + config["y"]

    study = Study(Space(x=Float(0, 1), y=Float(0, 1)), strategy=strategy, seed=2)
    study.optimize(function, trials=60)
    failed = sum(trial.failed for trial in study.trials)
    assert failed < 25 and all("nan: loss is nan" in t.last.error for t in study.trials if t.failed)


def test_the_process_covers_a_front():
    objectives = [Objective("first"), Objective("second")]

    def function(config):
        x, y = config["x"], config["y"]
        return {"first": x**2 + y, "second": (x - 1) ** 2 + y}

    study = Study(Space(x=Float(0, 1), y=Float(0, 1)), objectives=objectives, strategy="gp", seed=0)
    study.optimize(function, trials=40)
    losses = np.array([[t.metrics["first"], t.metrics["second"]] for t in study.trials])
    assert {t.number for t in study.pareto} == set(np.flatnonzero(nondominated(losses)))
    assert len(study.pareto) >= 8


def advance(study, trials):
    while len(study.searched) < trials:
        trial = study.ask()
        study.tell(trial, branin(trial.config))


def test_a_long_search_resumes_into_the_same_fits(tmp_path):
    """Beyond 40 steps hyperparameters are fitted on a grid: a resume must fit them on what was known there."""
    options = {"strategy": "gp", "scheduler": "halving", "ladder": LADDER, "seed": 1}
    whole = Study(MIXED, **options)
    advance(whole, 48)
    for trials in (29, 43, 48):
        with Study(MIXED, storage=tmp_path / "study.log", **options) as study:
            advance(study, trials)
    same(configurations(whole), configurations(study))


def test_seconds_count_under_a_budget_of_time():
    """Two halves of a space are equally good, one takes a hundred times as long: it is left to the end."""

    def taken(timed):
        study = Study(Space(x=Float(0, 1), y=Float(0, 1)), strategy="gp", timed=timed, seed=0)
        for _ in range(40):
            trial = study.ask()
            slow = trial.config["x"] > 0.5
            study.tell(
                trial, Result({"loss": (trial.config["y"] - 0.4) ** 2}, seconds=100.0 if slow else 1.0)
            )
        return sum(trial.seconds for trial in study.trials)

    assert taken(timed=True) < 0.6 * taken(timed=False)


def test_low_rungs_teach():
    """The rung's level is taken out by trials that reached both, so what was promoted is not punished."""
    strategy = strategies.get("gp")(Problem(Space(x=Float(0, 1))), seed=0)
    study = Study(Space(x=Float(0, 1)), strategy=lambda p, seed: strategy, scheduler="halving", ladder=LADDER)
    study.optimize(_curve, trials=27)
    seen = strategy.models.seen
    level = levelled(seen, np.array([one.losses[0] for one in seen]))
    at = {(one.trial, round(one.cost, 3)): v for one, v in zip(seen, level, strict=True)}
    gaps = [abs(v - at[number, 0.0]) for (number, cost), v in at.items() if cost > 0]
    assert np.median(gaps) < 0.05 and abs(study.best.config["x"] - 0.7) < 0.1


def _curve(config, context):
    for epoch in range(context.start, context.epochs):
        context.report(epoch + 1, {"loss": (config["x"] - 0.7) ** 2 + 1 / (epoch + 1)})
        if context.stopping():
            return


def test_evolution_follows_its_population():
    study = Study(
        MIXED, strategy=lambda p, seed: strategies.get("evolution")(p, seed=seed, population=10, sample=3)
    )
    study.optimize(branin, trials=80)
    early, late = ([t.metrics["loss"] for t in study.trials[a:b]] for a, b in ((0, 20), (60, 80)))
    assert np.median(late) < np.median(early)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Study(MIXED, strategy="gpp"), "no strategy 'gpp'; did you mean 'gp'"),
        (lambda: Study(MIXED, scheduler="halvin"), "did you mean 'halving'"),
        (lambda: Study(MIXED, strategy="grid"), "is continuous; use an Int or a Choice"),
        (lambda: strategies.get("evolution")(Problem(MIXED), population=1), "population >= 2"),
        (lambda: strategies.get("gp")(Problem(MIXED), acquisition="ei"), "no acquisition 'ei'"),
        (lambda: Study(MIXED, ladder=(Fidelity(3), Fidelity(1))), "rising cost"),
        (lambda: Fidelity(0), "at least 1"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_constraint_that_nothing_satisfies():
    problem = Problem(
        Space(x=Float(0, 1)), constraints=(Constraint.parse("params<=5"),), measure=lambda c: {"params": 9.0}
    )
    with pytest.raises(
        ValueError, match="none of 5,000 designs drawn satisfies the constraints params<=5; loosen"
    ):
        strategies.get("random")(problem).ask(0)


def test_halving_promotes_one_in_three_of_each_bracket():
    study = Study(Space(x=Float(0, 1)), strategy="random", scheduler="halving", ladder=LADDER, seed=0)
    study.optimize(_curve, trials=27)
    for bracket in range(3):
        members = study.trials[9 * bracket : 9 * bracket + 9]
        rungs = sorted((len(t.steps) for t in members), reverse=True)
        assert rungs == [3, 2, 2, 1, 1, 1, 1, 1, 1]
        order = sorted(members, key=lambda t: t.steps[0].metrics["loss"])
        assert {t.number for t in order[:3]} == {t.number for t in members if len(t.steps) > 1}
        assert len(order[0].steps) == 3
    assert all(s.start == (0, 1, 3)[i] for t in study.trials for i, s in enumerate(t.steps) if s.checkpoint)


def test_a_straggler_blocks_nobody():
    strategy = strategies.get("random")(Problem(Space(x=Float(0, 1))))
    scheduler = schedulers.get("halving")(strategy, LADDER)
    study = Study(Space(x=Float(0, 1)), strategy="random", scheduler="halving", ladder=LADDER)
    straggler = study.ask()
    for _ in range(20):
        trial = study.ask()
        study.tell(trial, trial.config["x"])
    assert study.history.trials[straggler.number].asked is not None and len(study.trials) > 9
    assert scheduler.ask({}, [], may_start=False).__class__.__name__ == "Done"
    assert strategy.ask(0) != EXHAUSTED and isinstance(strategy.ask(0), Configuration)
