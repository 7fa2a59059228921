"""Decisions of the rule schedulers against their sources: papers by brute force, packages by golden files.

golden/pruners.json and golden/keras_tuner.json are what the scripts beside them print.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from golden import pruners_reference as streams
from playing import LADDER, asked, finished, noise, play, problem, random_strategy

from estimators.estimator import Fidelity
from nas.brackets import Stage, cycle, keras_tuner, li
from nas.scheduler import Continue, Start, Wait, schedulers

GOLDEN = Path(__file__).parent / "golden"
PRUNERS = json.loads((GOLDEN / "pruners.json").read_text())
TUNER = json.loads((GOLDEN / "keras_tuner.json").read_text())
FINE = tuple(Fidelity(epochs) for epochs in (1, 2, 3, 4))


def test_hyperband_of_ten_and_three():
    """Li et al.'s arithmetic, and Keras Tuner's, as the issue lists them."""

    def table(brackets):
        return [[(one.designs, round(one.budget, 2)) for one in bracket] for bracket in brackets]

    assert table(li(10, 3)) == [[(9, 1.11), (3, 3.33), (1, 10)], [(5, 3.33), (1, 10)], [(3, 10)]]
    assert table(keras_tuner(10, 3)) == [[(12, 2), (4, 4), (2, 10)], [(6, 4), (2, 10)], [(4, 10)]]


def test_the_table_of_the_paper():
    """Li et al. 2018, table 1: R = 81, eta = 3."""
    assert [[(one.designs, one.budget) for one in bracket] for bracket in li(81, 3)] == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


def test_keras_tuners_brackets():
    assert TUNER["keras-tuner"] == "1.4.8"
    for about, brackets in TUNER["brackets"].items():
        resource, eta = map(int, about.split())
        ours = [[[one.designs, one.budget] for one in bracket] for bracket in keras_tuner(resource, eta)]
        assert ours == brackets, about


def test_brackets_lie_on_the_nearest_rungs():
    ladder = [Fidelity(epochs) for epochs in (1, 3, 10)]
    assert cycle(ladder, 3, "li")[0] == (Stage(9, 0), Stage(3, 1), Stage(1, 2))
    assert cycle(ladder[::2], 3, "li") == [(Stage(9, 0), Stage(3, 1)), (Stage(5, 1),), (Stage(3, 1),)]
    assert cycle(ladder[:1], 3, "li") == cycle(ladder[:1], 3, "keras-tuner") == [(Stage(1, 0),)]
    shares = [Fidelity(1, 0.1), Fidelity(1, 0.3), Fidelity(1, 0.9)]
    assert cycle(shares, 3, "li") == cycle([Fidelity(1), Fidelity(3), Fidelity(9)], 3, "li")


def test_median_decides_as_optuna_does():
    """MedianPruner of Optuna 5.0.0 on 1,000 streams. On the last rung it is not asked: what got there is finished."""
    assert PRUNERS["optuna"] == "5.0.0" and len(PRUNERS["median"]) == 1000
    for seed, decisions in enumerate(PRUNERS["median"]):
        startup, warmup, _, more = streams.options(seed)
        make = partial(schedulers.get("median"), n_startup_trials=startup, n_warmup_steps=warmup)
        assert streams.play_median(seed, *_played(make(_maximised(more), FINE))) == decisions, seed


def _maximised(more):
    return random_strategy(problem(["accuracy" if more else "loss"]))


def _played(scheduler):
    """Return the four calls of a stream, with the decisions of ``scheduler``."""
    trials, (objective,) = {}, scheduler.strategy.problem.objectives

    def start(number):
        action = scheduler.ask(trials, sorted(trials), True)
        assert isinstance(action, Start) and len(trials) == number
        trials[number] = asked(trials, action)

    def told(number, metrics):
        trials[number] = finished(trials[number], metrics)
        scheduler.tell(trials[number])

    def report(number, rung, value):
        assert trials[number].asked.fidelity == FINE[rung]
        told(number, {objective.name: value})
        action = scheduler.ask(trials, [one for one in trials if trials[one].asked], False)
        goes_on = isinstance(action, Continue)
        if goes_on:
            assert action.trial == number
            trials[number] = asked(trials, action)
        return goes_on

    def complete(number, rung, value):
        told(number, {objective.name: value})

    def fail(number, rung):
        told(number, None)

    return start, report, complete, fail


def test_asha_takes_the_top_of_a_rung_as_optuna_does():
    """SuccessiveHalvingPruner of Optuna 5.0.0 on 1,000 streams: whether a result is promotable as it comes in.

    There the rules are one. Optuna, where no trial waits, asks only then, and keeps the best of fewer than eta.
    """
    for seed, decisions in enumerate(PRUNERS["halving"]):
        scheduler = schedulers.get("asha")(
            random_strategy(), LADDER, eta=streams.ETA, doubt=False, quota=False
        )
        trials = {}

        def report(number, rung, value, size, scheduler=scheduler, trials=trials):
            if number not in trials:
                action = Start(
                    scheduler.strategy.problem.space.sample(np.random.default_rng(number)), LADDER[0]
                )
            else:
                action = Continue(number, LADDER[rung])
            trials[number] = finished(asked(trials, action), {"loss": value})
            scheduler.tell(trials[number])
            return _promoted_at_once(scheduler, trials, number, rung, size)

        assert streams.play_halving(seed, report) == decisions, seed


def _promoted_at_once(scheduler, trials, number, rung, size):
    """Return whether ``asha`` would promote trial ``number`` if it asked now, after whom else it owes at that rung."""
    assert scheduler.waiting.rungs[rung].size == size
    return number in scheduler.waiting.rungs[rung].best(size // scheduler.eta)


@pytest.mark.parametrize("quota", [False, True])
@pytest.mark.parametrize("workers", [1, 4])
def test_asha_is_algorithm_two(workers, quota):
    """Li et al. 2020: at every ask the paper's rule, by brute force over all results; 500 streams each.

    With a quota, while fewer than one in eta went on; the best of all in any case.
    """
    for seed in range(500):
        options = {"eta": 2 + seed % 3, "doubt": False, "quota": quota, "ended": 0}
        scheduler = schedulers.get("asha")(random_strategy(), LADDER, **options)

        def watch(action, trials, flights, eta=scheduler.eta):
            owed = _algorithm_two(trials, eta, quota)
            if owed is not None:
                assert (action.trial, action.fidelity) == owed
            else:
                assert not isinstance(action, Continue)
                assert isinstance(action, Start) == (len(trials) < 30)

        play(scheduler, _measure(seed), starts=30, workers=workers, seed=seed, watch=watch)


def _measure(seed):
    def measure(trial):
        value = noise(seed, trial.number, trial.asked.fidelity.epochs)
        return None if value < 0.1 else {"loss": value}

    return measure


def _algorithm_two(trials, eta, quota):
    for rung in (1, 0):
        results = [
            (trial.steps[rung].metrics.get("loss", np.inf), trial.number)
            for trial in trials.values()
            if len(trial.steps) > rung
        ]
        begun = {
            number: len(trials[number].steps) + (trials[number].asked is not None) for _, number in results
        }
        full = quota and sum(steps > rung + 1 for steps in begun.values()) >= len(results) // eta
        top = sorted(results)[: len(results) // eta]
        for loss, number in top[:1] if full else top:
            if begun[number] == rung + 1 and loss < np.inf:
                return number, LADDER[rung + 1]
    return None


@pytest.mark.parametrize("name", ["halving", "hyperband", "keras-tuner", "bohb"])
@pytest.mark.parametrize("workers", [1, 5])
def test_brackets_are_run_as_the_paper_says(name, workers):
    """Li et al. 2018, algorithm 1: of each round the best floor(n / eta) go on, none before all results are in."""
    table = {
        "halving": [[9, 3, 1]],
        "keras-tuner": [[9, 3, 1], [0, 5, 2], [0, 0, 3]],
        "hyperband": [[9, 3, 1], [0, 5, 1], [0, 0, 3]],
        "bohb": [[9, 3, 1], [0, 5, 1], [0, 0, 3]],
    }[name]
    make = partial(schedulers.get("hyperband"), sizes=name) if name == "keras-tuner" else schedulers.get(name)
    for seed in range(125):
        scheduler = make(random_strategy(), LADDER, doubt=False)  # results here are noise on every rung

        def watch(action, trials, flights):
            if isinstance(action, Continue):
                bracket, row = _bracket_of(action.trial, trials, table)
                rung = LADDER.index(action.fidelity)
                _check_round(bracket, row, rung, action.trial)
            assert not isinstance(action, Wait) or flights

        trials = play(scheduler, _measure(seed), starts=3 * 18, workers=workers, seed=seed, watch=watch)
        for number in trials:
            bracket, row = _bracket_of(number, trials, table)
            if len(bracket) == max(row):
                _check_ended(bracket, row)


def _bracket_of(number, trials, table):
    begin, at = 0, 0
    while True:
        row = table[at % len(table)]
        if begin <= number < begin + max(row):
            return [trials[n] for n in range(begin, min(begin + max(row), len(trials)))], row
        begin, at = begin + max(row), at + 1


def _losses(bracket, rung):
    """Return losses by number at ``rung`` of those of which that was ever asked; a failure is the worst, None open."""
    told = {}
    for trial in bracket:
        for step in trial.steps:
            if step.fidelity == LADDER[rung]:
                told[trial.number] = step.metrics.get("loss", np.inf)
        if trial.asked is not None and trial.asked.fidelity == LADDER[rung]:
            told[trial.number] = None
    return told


def _check_round(bracket, row, rung, number):
    told = _losses(bracket, rung - 1)
    assert None not in told.values()
    best = sorted(told, key=lambda one: (told[one], one))[: row[rung]]
    assert number in best or len(bracket) < max(row)


def _check_ended(bracket, row):
    begin = next(at for at, count in enumerate(row) if count)
    standing = {trial.number for trial in bracket}
    for rung in range(begin, len(row)):
        told = _losses(bracket, rung)
        assert told.keys() == standing and None not in told.values()
        alive = [one for one in told if told[one] < np.inf]
        if rung + 1 < len(row):
            standing = set(sorted(alive, key=lambda one: (told[one], one))[: row[rung + 1]])
