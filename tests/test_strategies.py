"""Conformance of every strategy and scheduler, and what each of them promises."""

import math

import numpy as np
import pytest
from scipy.stats import qmc

from estimators.estimator import Fidelity, Result
from nas.hpo.pareto import hypervolume, nondominated
from nas.observations import levelled
from nas.scheduler import schedulers
from nas.status import served
from nas.strategy import EXHAUSTED, strategies
from nas.study import Study
from nas.trial import Constraint, Objective, Problem
from search_spaces.space import Choice, Configuration, Float, Int, Linear, Space

LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
MIXED = Space(
    x=Float(-5, 10),
    y=Float(0, 15),
    depth=Int(1, 4),
    kind=Choice({"plain": None, "own": Space(k=Int(1, 5), s=Choice(tuple("abc")))}),
)
SMALL = Space(
    a=Int(1, 4), b=Choice(tuple("xyz")), c=Choice({"off": None, "on": Space(d=Choice((True, False)))})
)


def made(name, **options):
    """Return what makes strategy ``name`` with ``options``, under a name that a stored study can check."""

    def make(problem, seed):
        return strategies.get(name)(problem, seed=seed, **options)

    make.__name__ = f"{name} {options}"
    return make


def wrong(name, **options):
    return lambda: made(name, **options)(Problem(MIXED), seed=0)


# beside every strategy as it is, those of generations so small that some end within a test, and an option of the model
SMALLER = (
    made("evolution", population=4, sample=2, survival="best", offspring=3),
    made("evolution", population=4, sample=2, operators=["gaussian", "reset", "blend"]),
    made("nsga2", population=4),
    made("local", initial=2),
    made("cmaes", population=4),
    made("gp", warp=True),
)
EVERY = [*strategies.names(), *SMALLER]


def named(strategy):
    return strategy if isinstance(strategy, str) else strategy.__name__


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


@pytest.mark.parametrize("scheduler", ["full", "halving"])  # all of them in test_schedulers.py
@pytest.mark.parametrize("strategy", EVERY, ids=named)
def test_fifteen_and_fifteen_are_thirty(strategy, scheduler, tmp_path):
    space, function = (SMALL, small) if strategy == "grid" else (MIXED, branin)
    options = {"strategy": strategy, "scheduler": scheduler, "ladder": LADDER, "seed": 3}
    whole = Study(space, **options)
    whole.optimize(function, trials=30)
    path = tmp_path / "study.log"
    halves = []
    for _ in range(2):
        with Study(space, storage=path, **options) as study:
            left = 30 - study.history.starts
            while study.history.starts < 30 and study.history.starts < 30 - left + 15:
                trial = study.ask()
                study.tell(trial, function(trial.config))
            halves = study.trials
    with Study(space, storage=path, **options) as study:
        study.optimize(function, trials=0)
        halves = study
        same(configurations(whole), configurations(halves))
    started = [trial.key for trial in whole.trials if not trial.fork]
    assert len(set(started)) == len(started)


@pytest.mark.parametrize("strategy", strategies.names())
def test_a_small_space_is_exhausted_without_a_repeat(strategy):
    study = Study(SMALL, strategy=strategy, seed=1)
    study.optimize(small, trials=1000)
    assert len(study.trials) == len({t.config for t in study.trials}) == SMALL.size == 36
    assert study.best.metrics["loss"] == 1.0


@pytest.mark.parametrize("strategy", [one for one in EVERY if one != "grid"], ids=named)
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


@pytest.mark.parametrize("strategy", ["evolution", "gp", "auto", "local"])
def test_better_than_random_search(strategy):
    def reached(name, seed):
        study = Study(MIXED, strategy=name, seed=seed)
        study.optimize(branin, trials=50)
        return study.best.metrics["loss"]

    seeds = range(4)
    assert np.mean([reached(strategy, s) for s in seeds]) < np.mean([reached("random", s) for s in seeds])


def two_losses(config):
    base = small(config) if "a" in config else branin(config)
    return {"first": base, "second": (base - 4) ** 2, "params": float(len(str(config)) % 7)}


def batch(study, told=3):
    """Ask for three trials, and tell ``told`` of them in another order than they were asked for; some fail."""
    trials = sorted(study.ask().number for _ in range(3))
    finish(study, trials[::-1][:told])


def finish(study, numbers):
    for number in numbers:
        error = "oom: too large" if number % 5 == 3 else None
        values = None if error else two_losses(study.history.trials[number].config)
        study.tell(number, values, error=error)


@pytest.mark.parametrize("strategy", EVERY, ids=named)
def test_killed_in_flight_it_goes_on_as_if_it_had_not_been(strategy, tmp_path):
    """With three pending, told out of order, two objectives, a constraint on an outcome, and failures."""
    space = SMALL if strategy == "grid" else MIXED
    options = {
        "strategy": strategy,
        "objectives": ["first", "second"],
        "constraints": ["params<=5"],
        "seed": 4,
    }
    whole = Study(space, **options)
    for _ in range(8):
        batch(whole)
    path = tmp_path / "study.log"
    with Study(space, storage=path, **options) as study:
        for _ in range(3):
            batch(study)
        batch(study, told=1)
    with Study(space, storage=path, **options) as study:
        finish(study, [trial.number for trial in reversed(study.trials) if trial.asked is not None])
        for _ in range(4):
            batch(study)
        same(configurations(whole), configurations(study))
        assert len({trial.key for trial in study.trials}) == 24 and study.pareto
        generations = [one.strategy.generations() for one in (study, whole)]
        assert repr(generations[0]) == repr(generations[1])


@pytest.mark.parametrize("strategy", EVERY, ids=named)
def test_linear_constraints_hold_and_bound_what_a_space_holds(strategy):
    space = Space(
        a=Int(0, 4),
        b=Int(0, 4),
        c=Choice({"off": None, "on": Space(d=Int(1, 2))}),
        constraints=[Linear({"a": 1, "b": 1}, 3)],
    )
    study = Study(space, strategy=strategy, seed=1)
    study.optimize(lambda config: config["a"] - config["b"] + config.get("c.on.d", 0.0), trials=1000)
    assert len({trial.config for trial in study.trials}) == len(study.trials) == 10 * 3
    assert all(trial.config["a"] + trial.config["b"] <= 3 for trial in study.trials)


def test_a_grid_is_every_design_once_also_after_a_kill(tmp_path):
    space = Space(a=Int(1, 3), b=Choice(tuple("xyz")), c=Choice((0.1, 0.2, 0.4), ordered=True))
    with Study(space, strategy="grid", storage=tmp_path / "study.log") as study:
        for trial in [study.ask() for _ in range(11)]:
            study.tell(trial, trial.config["c"])
        first = {trial.config for trial in study.trials}
    with Study(space, strategy="grid", storage=tmp_path / "study.log") as study:
        study.optimize(lambda config: config["c"])
        assert {trial.config for trial in study.trials[11:]} == set(space.grid()) - first
        assert len(study.trials) == 27


def test_a_grid_takes_levels_of_continuous_parameters():
    space = Space(
        x=Float(0, 1), rate=Float(1e-4, 1, log=True), kind=Choice({"no": None, "yes": Space(k=Int(1, 2))})
    )
    study = Study(space, strategy=made("grid", levels=3))
    study.optimize(lambda config: config["x"], trials=100)
    assert len(study.trials) == 3 * 3 * 3
    assert {trial.config["x"] for trial in study.trials} == {0.0, 0.5, 1.0}
    rates = sorted({trial.config["rate"] for trial in study.trials})
    assert rates == pytest.approx([1e-4, 1e-2, 1])
    assert all(("kind.yes.k" in t.config) == (t.config["kind"] == "yes") for t in study.trials)


def test_sobol_takes_the_points_of_the_sequence():
    study = Study(Space(x=Float(0, 1), y=Float(0, 1)), strategy="sobol", seed=5)
    study.optimize(lambda config: config["x"], trials=129)
    points = np.array([[t.config["x"], t.config["y"]] for t in study.trials[1:]])  # the default is trial 0
    expected = qmc.Sobol(2, scramble=True, seed=np.random.default_rng(5)).random_base2(7)
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_local_search_visits_all_neighbours_before_it_restarts():
    """It starts in the lower of two valleys' bottoms: its neighbours come first, then some other place."""
    space = Space(x=Choice(tuple(range(40)), ordered=True))
    study = Study(space, strategy=made("local", initial=1), seed=0)
    loss = [min(abs(x - 19), 1 + abs(x - 35)) for x in range(40)]
    study.optimize(lambda config: loss[config["x"]], trials=30)
    visited = [trial.config["x"] for trial in study.trials]
    near = {19 + step for step in (-8, -2, -1, 1, 2, 8)}
    assert visited[0] == 19 and set(visited[1:7]) == near
    assert 35 in visited


def test_local_search_on_a_front_keeps_some_climbs_and_goes_on_alike_when_resumed(tmp_path, monkeypatch):
    """Every point of the front begins a climb; what is kept of them follows from what was told, not from asks."""
    monkeypatch.setattr("nas.strategies.local.KEPT", 6)
    space = Space(x=Float(0, 1), y=Float(0, 1))

    def run(path, counts):
        for count in counts:
            with Study(space, objectives=["a", "b"], strategy="local", seed=0, storage=path) as study:
                for _ in range(count):
                    trial = study.ask()
                    x, y = trial.config["x"], trial.config["y"]
                    study.tell(trial, {"a": x + y**2, "b": 1 - x + y**2})
                climbs, near = study.strategy._climbs, study.strategy._near
                assert len(climbs) <= 6 and set().union(*near.values()) <= set(climbs)
        return [trial.config for trial in study.trials]

    assert run(tmp_path / "a", (80,)) == run(tmp_path / "b", (30, 50))


def test_cmaes_finds_the_optimum_of_numbers_and_choices_together():
    def function(config):
        loss = (config["x"] - 0.3) ** 2 + (math.log10(config["rate"]) + 2) ** 2
        loss += abs(config["units"] - 40) / 30
        return loss + 0.3 * (config["kind"] != "own") + 0.1 * (config.get("kind.own.s") != "c")

    space = Space(
        x=Float(0, 1),
        rate=Float(1e-4, 1, log=True),
        units=Int(4, 64),
        kind=Choice({"plain": None, "own": Space(s=Choice(tuple("abc")))}),
    )
    study = Study(space, strategy="cmaes", seed=0)
    study.optimize(function, trials=300)
    assert study.best.metrics["loss"] < 0.05 and study.best.config["kind.own.s"] == "c"


def test_nsga2_reaches_a_better_front_than_random_search():
    def function(config):
        first, *others = config.values()
        g = 1 + 9 * sum(others) / len(others)
        return {"first": first, "second": g * (1 - math.sqrt(first / g))}

    def volume(strategy):
        space = Space(**{f"x{i}": Float(0, 1) for i in range(6)})
        study = Study(space, objectives=["first", "second"], strategy=strategy)
        study.optimize(function, trials=200)
        losses = np.array([[t.metrics["first"], t.metrics["second"]] for t in study.trials])
        return hypervolume(losses, np.array([1.1, 6.0]))

    assert volume(made("nsga2", population=10)) > 1.1 * volume("random")


def test_the_best_survive_and_the_log_says_how_they_do():
    make = made("evolution", population=10, sample=3, survival="best", offspring=5)
    study = Study(MIXED, strategy=make, seed=0)
    study.optimize(branin, trials=65)
    losses = [trial.metrics["loss"] for trial in study.trials]
    assert sorted(t.metrics["loss"] for t in study.strategy.living.members.values()) == sorted(losses)[:10]
    log = study.strategy.generations()
    assert [one.generation for one in log] == list(range(6))
    third = losses[20:30]
    assert (log[2].min, log[2].max) == (min(third), max(third))
    assert log[2].mean == pytest.approx(np.mean(third))
    assert 0 < log[-1].diversity < log[0].diversity


def test_the_process_finds_the_optimum_of_branin():
    space = Space(x=Float(-5, 10), y=Float(0, 15), depth=Choice((1,)))
    study = Study(space, strategy="gp", seed=0)
    study.optimize(branin, trials=40)
    assert study.best.metrics["loss"] < 0.3979 + 0.02


@pytest.mark.parametrize("strategy", ["evolution", "gp", "local", "cmaes"])
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


def test_what_outruns_a_fit_is_served_by_tpe_and_said_to_be(tmp_path):
    """Trials of a tenth of a fit's time: about nine in ten from the twentieth on, told in the status."""
    space = Space(x=Float(0, 1), y=Float(0, 1))
    for _ in range(2):
        with Study(space, strategy="auto", timed=True, seed=0, storage=tmp_path / "study.log") as study:
            for _ in range(30):
                trial = study.ask()
                study.tell(trial, Result({"loss": trial.config["y"]}, seconds=0.005))
            shares = served(study.trials)
    assert list(shares) == ["tpe", "gp"] and sum(shares.values()) == pytest.approx(1)
    assert {trial.server for trial in study.trials[1:20]} == {"gp"} and study.trials[0].server == ""
    late = [trial.server for trial in study.trials[20:]]
    assert 0.75 < late.count("tpe") / len(late) < 1


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
        (wrong("evolution", operators=["blendd", "step"]), "no operator 'blendd'; did you mean 'blend'"),
        (wrong("evolution", operators=["blend"]), "give a list with a mutation at least, one of .'step'"),
        (wrong("evolution", survival="bets"), "no survival 'bets'; did you mean 'best'"),
        (wrong("evolution", offspring=0), "offspring=0; needs offspring >= 1"),
        (wrong("nsga2", population=1), "nsga2: population=1, crossover=0.9; needs population >= 2"),
        (wrong("cmaes", population=3), "population=3; needs 0 < sigma <= 1, population >= 4"),
        (wrong("local", initial=0), "initial=0; needs initial >= 1"),
        (wrong("grid", levels=1), "levels=1; a grid needs 2 or more"),
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
