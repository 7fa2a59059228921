"""Trust of fidelities against scipy, loops and examples by hand; schedulers that pass a rung that ranks nothing."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kendalltau

from estimators.estimator import Estimator, Fidelity, Result
from nas import Float, Objective, Space, Study
from nas.brackets import Stage
from nas.ensemble import shares
from nas.executor import executors
from nas.fidelity_trust import LEAST, LEAST_TOP, Ranking, earned, ranking, rankings, said, told_at
from nas.rounds import Rounds, looked
from nas.rungs import believed, known_before
from nas.scheduler import schedulers
from nas.session import Session
from nas.trial import Constraint, Problem, Step, Trial
from nas.trust import RESAMPLES
from nas.wording import ranking_line
from search_spaces.space import Configuration

LOW, MIDDLE, HIGH = LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
LOSS = Problem(Space())
ACCURACY = Problem(Space(), (Objective("accuracy"),))


def trial(number, *, low=None, high=None, name="loss", **metrics):
    """A trial told at the first and at the last rung, or at one of them."""
    told = [(rung, value) for rung, value in ((LOW, low), (HIGH, high)) if value is not None]
    steps = [
        Step(10 * number + i, number, rung, metrics={name: value, **metrics})
        for i, (rung, value) in enumerate(told)
    ]
    return Trial(number, Configuration({"a": number}), steps=tuple(steps))


def told(low, high, **options):
    return [trial(i, low=a, high=b, **options) for i, (a, b) in enumerate(zip(low, high, strict=True))]


def correlated(n, r, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    return x, r * x + math.sqrt(1 - r * r) * rng.standard_normal(n)


@pytest.mark.parametrize("n", [7, 25, 60])
def test_tau_is_scipys_over_all_and_in_the_top_third(n):
    rng = np.random.default_rng(n)
    low, high = rng.integers(0, 9, n) / 3, rng.permutation(n).astype(float)
    one = ranking(told(low, high), LOSS, LOW, HIGH)
    assert one.tau.value == pytest.approx(kendalltau(low, high).statistic)
    best = np.argsort(high)[: math.ceil(n / 3)]
    assert one.top.value == pytest.approx(np.nan_to_num(kendalltau(low[best], high[best]).statistic))
    assert one.n == one.of == n


def test_intervals_are_those_of_resampled_trials():
    n = 15
    low, high = correlated(n, 0.7)
    one = ranking(told(low, high), LOSS, LOW, HIGH)
    taus, tops, regrets = [], [], []
    for count in np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES):
        rows = np.repeat(np.arange(n), count)
        best = rows[np.argsort(high[rows], kind="stable")][:5]
        taus.append(kendalltau(low[rows], high[rows]).statistic)
        tops.append(np.nan_to_num(kendalltau(low[best], high[best]).statistic))
        regrets.append(high[rows[np.argmin(low[rows])]] - high[rows].min())
    for found, drawn in ((one.tau, taus), (one.top, tops), (one.regret, regrets)):
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
        assert found.low <= found.value <= found.high


def test_the_regret_of_a_pick_by_hand():
    one = ranking(told([0.5, 0.7, 0.9], [0.80, 0.95, 0.91], name="accuracy"), ACCURACY, LOW, HIGH)
    assert one.regret.value == pytest.approx(0.04)  # it picks 0.91, the best is 0.95
    tied = ranking(told([0.5, 0.9, 0.9], [0.80, 0.95, 0.91], name="accuracy"), ACCURACY, LOW, HIGH)
    assert tied.regret.value == pytest.approx(0.02)
    losses = ranking(told([1.0, 2.0], [4.0, 3.5]), LOSS, LOW, HIGH)
    assert losses.regret.value == 0.5 and losses.tau.value == -1 and losses.top is None


def test_equal_results_are_told_apart_by_the_validation_loss_as_promotions_are():
    trials = [trial(i, low=0.5, high=0.1 * i, name="accuracy", loss=-float(i)) for i in range(LEAST)]
    assert ranking(trials, ACCURACY, LOW, HIGH).tau.value == pytest.approx(1.0)


def test_what_breaks_a_constraint_is_last_and_no_regret_is_counted_from_it():
    problem = Problem(Space(), constraints=(Constraint.parse("latency<=2"),))
    trials = told([1.0, 2.0, 3.0], [1.0, 2.0, 2.5], latency=1.0)
    slow = replace(trials[0].steps[1], metrics={"loss": 1.0, "latency": 4.0})
    trials[0] = replace(trials[0], steps=(trials[0].steps[0], slow))
    one = ranking(trials, problem, LOW, HIGH)
    assert (
        one.tau.value == pytest.approx(-1 / 3) and one.regret.value == 0.5
    )  # the pick counts as the worst that holds


def test_several_objectives_rank_by_the_sum_and_have_no_regret():
    problem = Problem(Space(), (Objective("loss"), Objective("latency")))
    trials = [trial(i, low=float(i), high=float(i), latency=float(i)) for i in range(LEAST)]
    one = ranking(trials, problem, LOW, HIGH)
    assert one.tau.value == pytest.approx(1.0) and one.regret is None and one.earned


def test_a_curve_without_the_objective_tells_of_no_rung():
    """Or the value at the end would be compared with itself."""
    curve = tuple({"train_loss": 1 / epoch} for epoch in range(1, 10))
    rng = np.random.default_rng(0)
    steps = [Step(i, i, HIGH, metrics={"loss": float(rng.random())}, curve=curve) for i in range(LEAST)]
    trials = [Trial(i, Configuration({"a": i}), steps=(step,)) for i, step in enumerate(steps)]
    assert ranking(trials, LOSS, LOW, HIGH) is None


def test_a_curve_tells_of_the_rungs_that_it_passed():
    curve = tuple({"loss": 1 / epoch} for epoch in range(1, 10))
    step = Step(0, 0, HIGH, metrics={"loss": 1 / 9, "latency": 7.0}, curve=curve)
    one = Trial(0, Configuration({}), free={"params": 3.0}, steps=(step,))
    assert told_at(one, MIDDLE) == {"params": 3.0, "loss": 1 / 3} and told_at(one, HIGH)["loss"] == 1 / 9
    continued = replace(one, steps=(replace(step, start=3, curve=curve[3:]),))
    assert told_at(continued, MIDDLE) == {} and told_at(continued, Fidelity(5))["loss"] == 1 / 5
    assert told_at(replace(one, steps=(replace(step, start=3),)), MIDDLE)["loss"] == 1 / 3  # trained anew
    for other in (
        replace(step, curve=curve[:4]),
        replace(step, curve=()),
        replace(step, error="nan: no number"),
    ):
        assert told_at(replace(one, steps=(other,)), MIDDLE) == {}
    assert told_at(one, Fidelity(3, 0.5)) == {}


def test_only_what_was_told_at_both_is_compared():
    trials = told(np.arange(20.0), np.arange(20.0))
    alone = [
        trial(20, low=5.0),
        trial(21, high=5.0),
        trial(22, low=math.nan, high=1.0),
        Trial(23, Configuration({})),
    ]
    fork, repeat = replace(trials[3], parent=1), replace(trials[4], replicate=1, parent=4)
    found = rankings([*trials, *alone, fork, repeat], LOSS, (LOW, HIGH))
    assert [(one.n, one.of) for one in found] == [(20, 21)]
    assert rankings([], LOSS, LADDER) == [] and rankings(alone, LOSS, (LOW, HIGH)) == []


def test_what_was_chosen_narrows_tau_and_the_correction_opens_it_again():
    """Halving's choice, 400 designs of which one in three goes on: means of 20 draws."""
    r, narrow, corrected = math.sin(math.pi * 0.25), [], []
    for seed in range(20):
        low, high = correlated(400, r, seed)
        kept = set(np.argsort(low)[:133].tolist())
        trials = [trial(i, low=low[i], high=high[i] if i in kept else None) for i in range(400)]
        one = ranking(trials, LOSS, LOW, HIGH)
        narrow.append(one.tau.value)
        corrected.append(one.whole.value)
        assert (one.n, one.of) == (133, 400) and one.whole.low < one.whole.value < one.whole.high
    assert np.mean(narrow) < 0.38 and np.mean(corrected) == pytest.approx(0.5, abs=0.05)
    all_of_them = ranking(told(low, high), LOSS, LOW, HIGH)
    assert all_of_them.whole == all_of_them.tau or all_of_them.whole.value == pytest.approx(
        all_of_them.tau.value
    )


def test_a_rung_is_believed_until_enough_pairs_show_it_useless():
    rng = np.random.default_rng(5)
    noise = told(*rng.standard_normal((2, 60)))
    assert earned(noise[: LEAST - 1], LOSS, (LOW, HIGH)) == (True, True)
    assert earned(noise, LOSS, (LOW, HIGH)) == (False, True)
    assert earned([], LOSS, LADDER) == (True, True, True)
    good = told(*correlated(60, 0.9))
    assert earned(good, LOSS, (LOW, HIGH)) == (True, True)
    same = told(np.ones(LEAST), np.arange(LEAST))  # at chance level all are equal
    assert earned(same, LOSS, (LOW, HIGH)) == (False, True)
    again = [*noise, *(replace(one, number=100 + one.number) for one in told(*correlated(200, 0.9)))]
    assert earned(again, LOSS, (LOW, HIGH)) == (True, True)  # the newest pairs count


def test_few_chosen_pairs_do_not_condemn_a_rung():
    """Twelve that were all but equal at the low rung, of 400: that it does not rank them says little of the others."""
    low, high = correlated(400, 0.9)
    kept = np.argsort(low)[:LEAST]
    high[kept] = np.array([7, 2, 9, 4, 11, 0, 5, 10, 3, 8, 1, 6])
    chosen = [trial(int(i), low=low[i], high=high[i]) for i in kept]
    others = [trial(i, low=low[i]) for i in range(400) if i not in kept]
    narrow = ranking(chosen + others, LOSS, LOW, HIGH)
    assert narrow.tau.low <= 0 and abs(narrow.tau.value) < 0.2 and narrow.earned
    assert not earned(chosen, LOSS, (LOW, HIGH))[0]  # if nobody had chosen them


def test_useless_rungs_are_seldom_spared_and_useful_ones_seldom_lost():
    lost = {
        r: sum(not earned(told(*correlated(36, r, seed)), LOSS, (LOW, HIGH))[0] for seed in range(40))
        for r in (0.0, 0.7)
    }
    assert lost[0.0] >= 34 and lost[0.7] <= 2


def test_a_rung_is_judged_by_the_next_one_that_has_its_say():
    """The middle rung is noise: the first one is compared with the last."""
    rng = np.random.default_rng(1)
    low, high = correlated(60, 0.9)
    steps = [
        tuple(
            Step(3 * i + k, i, rung, metrics={"loss": value})
            for k, (rung, value) in enumerate(
                zip(LADDER, (low[i], rng.standard_normal(), high[i]), strict=True)
            )
        )
        for i in range(60)
    ]
    trials = [Trial(i, Configuration({}), steps=one) for i, one in enumerate(steps)]
    assert [(one.below, one.above, one.earned) for one in rankings(trials, LOSS, LADDER)] == [
        (LOW, HIGH, True),
        (MIDDLE, HIGH, False),
    ]
    assert earned(trials, LOSS, LADDER) == (True, False, True) and believed(trials, LOSS, LADDER) == (
        LOW,
        HIGH,
    )
    assert believed(trials, LOSS, LADDER, again=True) == LADDER  # nothing tells of it in passing
    passing = replace(
        trials[0], steps=(Step(999, 0, HIGH, metrics={"loss": 1.0}, curve=({"loss": 1.0},) * 9),)
    )
    assert believed([*trials, replace(passing, number=60)], LOSS, LADDER, again=True) == (LOW, HIGH)


def test_known_before_is_what_had_a_result_when_a_trial_was_asked_for():
    study = Study(Space(x=Float(0, 1)), strategy="random", scheduler="full")
    first, second = study.ask(), study.ask()
    study.tell(first, 1.0)
    before = dict(study.searched)
    third = study.ask()
    study.tell(second, 2.0)
    study.tell(third, 3.0)
    known = known_before(study.searched, study.searched[2])
    assert [len(one.steps) for one in known] == [1, 0, 0]
    assert [one.steps for one in known[:2]] == [before[0].steps, before[1].steps]


SPACE = Space(x=Float(0, 1), y=Float(0, 1))
START = {0: LOW, 1: MIDDLE, 2: HIGH}


def useless_below(epochs):
    """Return a loss that is noise below ``epochs`` and ranks by x from there on."""

    def loss(config, epoch):
        return config["y"] if epoch < epochs else config["x"] + 1 / epoch

    return loss


def told_result(trial, loss, curves):
    end = trial.asked.fidelity.epochs
    curve = tuple({"loss": loss(trial.config, epoch)} for epoch in range(1, end + 1))
    return Result(metrics=curve[-1], curve=curve if curves else (), seconds=1.0)


def searched(
    loss,
    trials,
    *,
    scheduler="halving",
    curves=True,
    ladder=LADDER,
    path=None,
    stops=(),
    at_once=1,
    **options,
):
    """Search with ``at_once`` trials in flight that end in a random order; the store is opened anew after ``stops``."""

    def make(strategy, ladder):
        return schedulers.get(scheduler)(strategy, ladder, **options)

    def opened():
        return Study(SPACE, strategy="random", scheduler=make, ladder=ladder, seed=3, storage=path)

    rng, study, flights, told = np.random.default_rng(0), opened(), [], 0
    while len(study.searched) < trials:
        while len(flights) < at_once:
            flights.append(study.ask().number)
        number = flights.pop(int(rng.integers(len(flights))))
        study.tell(number, told_result(study.history.trials[number], loss, curves))
        told += 1
        if told in stops:
            study.close()
            study = opened()
            assert sorted(study.ask().number for _ in flights) == sorted(flights)
    study.close()
    return study.trials


def starts(trials):
    """Return the rung on which each trial began."""
    first = [(one.steps[0] if one.steps else one.asked).fidelity for one in trials]
    return [LADDER.index(fidelity) for fidelity in first]


def test_halving_leaves_a_rung_that_ranks_nothing_and_keeps_one_that_does():
    good = starts(searched(useless_below(1), 250))
    assert set(good) == {0}
    found = starts(searched(useless_below(3), 250))
    left = found.index(1)
    assert left >= 36 and left % 9 == 0 and set(found[left:]) == {1}  # the curves tell that it is still noise
    doubtless = starts(searched(useless_below(3), 250, doubt=False))
    assert set(doubtless) == {0}


def test_without_curves_every_fifth_bracket_measures_the_rung_again():
    found = starts(searched(useless_below(3), 300, curves=False))
    left = found.index(1)
    lengths = [len(run) for run in "".join(map(str, found[left:])).split("0") if run]
    assert 0 in found[left:] and found[left:].count(1) > found[left:].count(0)
    assert max(lengths) == 12  # four brackets of three between those of nine


def test_a_bracket_without_its_middle_rung_keeps_as_many_as_reached_the_top_before():
    def loss(config, epoch):
        return config["y"] if epoch == 3 else config["x"] + 1 / epoch

    trials = searched(loss, 400)
    paths = [tuple(step.fidelity.epochs for step in one.steps) for one in trials]
    later = paths[306:396]  # whole brackets of nine
    assert later.count((1, 9)) == 10 and later.count((1,)) == 80 and (1, 3) in paths[:90]


def test_a_space_of_two_rungs_and_one_of_one_rung():
    assert set(starts(searched(useless_below(3), 60, ladder=(LOW,)))) == {0}
    found = starts(searched(useless_below(3), 200, ladder=(LOW, HIGH)))
    assert found[-1] == 2  # nothing below tells: every design goes to the top at once


def reached(trials, rung):
    """Return the share of ``trials`` that were trained to ``rung``."""
    return np.mean([any(step.fidelity.cost >= rung.cost for step in one.steps) for one in trials])


def test_asha_lets_everybody_pass_a_rung_that_ranks_nothing():
    late = slice(200, 280)
    noisy = searched(useless_below(3), 300, scheduler="asha")
    assert reached(noisy[late], MIDDLE) == 1 and 0.2 < reached(noisy[late], HIGH) < 0.5
    for options in ({"doubt": False}, {}):
        loss = useless_below(3 if options else 1)
        found = searched(loss, 300, scheduler="asha", **options)
        assert 0.2 < reached(found[late], MIDDLE) < 0.5


@pytest.mark.parametrize("curves", [True, False])
@pytest.mark.parametrize("scheduler", ["halving", "asha", "hyperband", "bohb", "priorband"])
def test_a_resumed_search_is_the_uninterrupted_one(tmp_path, scheduler, curves):
    options = {"curves": curves, "at_once": 4, "scheduler": scheduler}
    whole = searched(useless_below(3), 150, **options)
    stops = set(np.random.default_rng(1).integers(1, 200, 25).tolist())
    resumed = searched(useless_below(3), 150, path=tmp_path / "study.log", stops=stops, **options)
    assert scheduler == "asha" or {1} <= set(starts(whole))
    for one, other in zip(whole, resumed, strict=True):
        assert one.config == other.config and one.known == other.known
        assert [step.fidelity for step in one.steps] == [step.fidelity for step in other.steps]
        assert [step.index for step in one.steps] == [step.index for step in other.steps]


def test_doubt_looks_at_all_trials_only_when_there_are_an_eighth_more(monkeypatch):
    """What it looks at grows with the trials, not with their square."""
    lengths = []

    def counting(trials, *arguments, **options):
        lengths.append(len(trials))
        return believed(trials, *arguments, **options)

    monkeypatch.setattr("nas.rounds.believed", counting)
    begun = starts(searched(useless_below(3), 600))
    assert set(begun[300:]) == {1} and sum(lengths) < 40 * 600
    grid = sorted({looked(index) for index in range(200)})
    assert grid[:19] == [*range(17), 18, 20] and max(np.diff(grid)) <= 200 / 8
    assert all(looked(at) == at for at in grid) and looked(19) == 18


def last_digits_first(config, epoch):
    """A loss whose first rung ranks nothing, not even designs that are mutants of each other."""
    return (config["x"] + config["y"]) * 1e5 % 1 if epoch < 3 else config["x"] + 1 / epoch


@pytest.mark.parametrize("scheduler", ["hyperband", "bohb", "priorband"])
def test_brackets_of_every_kind_leave_a_rung_that_ranks_nothing(scheduler):
    found = starts(searched(last_digits_first, 300, scheduler=scheduler))
    assert {0, 1, 2} <= set(found[:50]) and set(found[150:]) == {1, 2}
    for loss, options in ((useless_below(1), {}), (last_digits_first, {"doubt": False})):
        kept = starts(searched(loss, 300, scheduler=scheduler, **options))
        assert kept[150:].count(0) == pytest.approx(150 * 9 / 17, abs=9)


def test_priorband_draws_by_the_rung_at_which_a_design_starts(monkeypatch):
    asked = []

    def noted(rung, *arguments):
        asked.append(rung)
        return shares(rung, *arguments)

    monkeypatch.setattr("nas.schedulers.priorband.shares", noted)
    found = starts(searched(last_digits_first, 300, scheduler="priorband"))
    assert asked == found[1:] and 0 not in found[150:]


def test_brackets_of_hyperband_are_thinned_alike():
    """9 -> 3 -> 1, 5 -> 1, 3 without the first rung: 3 -> 1, 5 -> 1, 3."""
    cycle = [(Stage(9, 0), Stage(3, 1), Stage(1, 2)), (Stage(5, 1), Stage(1, 2)), (Stage(3, 2),)]
    rounds = Rounds(LOSS, LADDER, cycle, doubt=True)
    noise = dict(enumerate(passing(*np.random.default_rng(3).standard_normal((2, 60)))))
    assert [rounds._planned(index, noise) for index in range(3)] == [cycle[0][1:], *cycle[1:]]
    assert rounds._planned(12, {}) == cycle[0] and Rounds(LOSS, LADDER, cycle)._planned(0, noise) == cycle[0]


def passing(low, high):
    """Trials that began at the last rung, with their curves: noise at the first, true at the middle one."""
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        curve = ({"loss": a}, {"loss": a}, *({"loss": b},) * 7)
        yield Trial(i, Configuration({"a": i}), steps=(Step(i, i, HIGH, metrics={"loss": b}, curve=curve),))


class Noisy(Estimator):
    def evaluate(self, design, fidelity, context):
        return Result(metrics={"loss": design["x"] + 1 / context.epochs})


class Drawn:
    """In place of a tracker: how many results each comparison of rungs told of."""

    def __init__(self):
        self.steps = []

    def __getattr__(self, name):
        return lambda *arguments: None

    def compared(self, signals, step):
        self.steps += [step] if any(isinstance(one, Ranking) for one in signals) else []


def test_rungs_are_compared_when_an_eighth_more_results_are_in_and_at_the_end(tmp_path, monkeypatch):
    counts, written, drawn = [], [], Drawn()

    def counting(trials, *arguments):
        counts.append(len(trials))
        return rankings(trials, *arguments)

    monkeypatch.setattr("nas.session.rankings", counting)
    monkeypatch.setattr("nas.status.rankings", counting)
    monkeypatch.setattr("nas.session.STATUS_SHARE", np.inf)  # written at each result
    one = Session.__new__(Session)
    one.study = Study(SPACE, strategy="random", scheduler="asha", ladder=LADDER, trackers=[drawn])
    about = {"objectives": ["loss"], "constraints": [], "fidelities": LADDER}
    one.settings = SimpleNamespace(budget=None, trials=200, round=1, **about)
    one.folder = SimpleNamespace(checkpoints=tmp_path, best=tmp_path / "best", write_status=written.append)
    one.signals = SimpleNamespace(begin=lambda: None, keep_up=list, pretraining=None)
    one.time_left = SimpleNamespace(predict=lambda running: None)
    one.estimator, one.executor = Noisy(), executors.get("serial")(isolate=False)
    one.search_space = SimpleNamespace(decode=lambda config: config)
    one.cost, one.watched, one.rungs, one._ranked, one._status_due = None, None, [], -1, 0.0
    one._context = dict
    one._search()
    results = one.study.history.results
    assert len(written) == results > 200 and len(counts) < 50
    assert drawn.steps[:5] == [*range(drawn.steps[0], drawn.steps[0] + 5)] and drawn.steps[-1] == results
    assert max(np.diff(drawn.steps)) <= results / 8
    assert written[-1]["fidelities"][0]["of"] > 150
    assert one.status("finished")["fidelities"][0]["of"] == 200


def test_what_a_rung_is_called():
    assert said(Fidelity(1)) == "1 epoch" and said(Fidelity(6, 0.25)) == "6 epochs on 0.25 of the data"
    assert said(Fidelity(2, 1.0, 0.5)) == "2 epochs at 0.5 of the side"


def test_the_line_of_a_rung_names_the_choice_and_what_is_lost():
    low, high = correlated(30, 0.9)
    trials = [trial(i, low=low[i], high=high[i] if low[i] < 0 else None) for i in range(30)]
    from nas.status import _ranking as plain

    one = ranking(trials, LOSS, LOW, HIGH)
    text = ranking_line(plain(one))
    assert (
        text.startswith("1 epoch against 9 epochs: Kendall's tau ") and f"over {one.n} of 30 trials" in text
    )
    assert "if none had been chosen" in text and "its pick loses" in text and text.endswith(", trusted")
    assert isinstance(one, Ranking) and one.n >= LEAST_TOP and "in the top third" in text
