"""Who waits on a rung: in order, and looked at no more often than who may still go on."""

import numpy as np
import pytest
from playing import LADDER, asked, finished, noise, problem

from nas.rungs import best_first
from nas.scheduler import Continue, Start
from nas.waiting import KEPT, Waiting

OBJECTIVES = pytest.mark.parametrize("objectives", [["loss"], ["loss", "latency"]], ids=len)


def outcome(trial):
    epochs = trial.asked.fidelity.epochs
    return {name: noise(1, trial.number, epochs, at) for at, name in enumerate(("loss", "latency"))}


def on_the_rung(about, count, rung=LADDER[0]):
    """Return ``count`` trials with a result at ``rung``, and the rungs that were told of them."""
    waiting, trials, space = Waiting(about, LADDER), {}, about.space
    for number in range(count):
        trial = asked(trials, Start(space.sample(np.random.default_rng(number)), rung), number)
        trials[number] = finished(trial, outcome(trial))
        waiting.tell(trials[number])
    return waiting, trials


@OBJECTIVES
def test_those_ahead_are_the_first_that_did_not_go_on(objectives):
    about = problem(objectives)
    waiting, trials = on_the_rung(about, 64)
    order = [trial.number for trial in best_first(about, list(trials.values()), LADDER[0])]
    for number in order[1:20:2]:
        trials[number] = asked(trials, Continue(number, LADDER[1]))
    left = [number for number in order if trials[number].asked is None]
    for _ in range(2):  # the second time of what was kept
        assert waiting.ahead(0, trials) == left[: max(KEPT, 16)]
        assert waiting.first(0, trials) == (left[0], order.index(left[0]))


@OBJECTIVES
def test_who_went_on_is_looked_at_once(objectives):
    waiting, trials = on_the_rung(problem(objectives), 640)
    for number in trials:
        trials[number] = asked(trials, Continue(number, LADDER[1]))
    looks = []

    def gone(number):
        looks.append(number)
        return trials[number].asked is not None

    assert [waiting.rungs[0].ahead(KEPT, gone) for _ in range(5)] == [[]] * 5
    assert len(looks) == 640


@OBJECTIVES
def test_nobody_waits_on_the_last_rung(objectives):
    waiting, _ = on_the_rung(problem(objectives), 64, LADDER[-1])
    assert [rung.size for rung in waiting.rungs] == [64] * 3
    assert [rung.first(lambda number: False) is None for rung in waiting.rungs] == [False, False, True]
    assert len(waiting.rungs[-1].best(80)) == 64
