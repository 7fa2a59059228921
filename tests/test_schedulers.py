"""Conformance of every scheduler: what holds of each of them, whatever its rule."""

import contextlib
import itertools
from functools import partial

import numpy as np
import pytest
from playing import LADDER, LINE, begun, noise, play, problem, random_strategy

from estimators.estimator import Estimator, Fidelity, Result
from nas.executor import executors
from nas.rungs import best_first, step_at
from nas.scheduler import Continue, Done, Fork, Start, schedulers
from nas.strategy import EXHAUSTED
from nas.study import Finished, Study
from nas.trial import Budget
from search_spaces.space import Choice, Float, Int, Space

EVERY = schedulers.names()
TOPK = partial(schedulers.get("one-epoch-top-k"), starts=6, k=2)
TUNER = partial(schedulers.get("hyperband"), sizes="keras-tuner")
TOPK.__name__, TUNER.__name__ = "six, two", "keras-tuner"
OPTIONS = [*EVERY, TOPK, TUNER]
SMALL = Space(a=Int(1, 4), b=Choice(tuple("xyz")), c=Choice((True, False)))  # 24 designs
MIXED = Space(x=Float(0, 1), depth=Int(1, 4), kind=Choice({"plain": None, "own": Space(k=Int(1, 5))}))


def named(scheduler):
    return scheduler if isinstance(scheduler, str) else scheduler.__name__


def made(scheduler, *arguments, **options):
    make = schedulers.get(scheduler) if isinstance(scheduler, str) else scheduler
    return make(*arguments, **options)


every = pytest.mark.parametrize("scheduler", OPTIONS, ids=named)


def loss(config, context):
    return config["x"] + config["depth"] + config.get("kind.own.k", 0) + 1 / context.epochs


def by_noise(failing):
    def measure(trial):
        value = noise(7, trial.number, trial.asked.fidelity.epochs)
        return None if value < failing else {"loss": value}

    return measure


@every
@pytest.mark.parametrize("workers", [1, 8])
def test_nothing_leaves_the_ladder_or_goes_on_that_must_not(scheduler, workers):
    started, ended = set(), []

    def watch(action, trials, flights):
        assert not ended or isinstance(action, Done)
        if isinstance(action, Start):
            assert action.fidelity in LADDER and action.config.id not in started
            assert len(begun(trials)) < 40
            started.add(action.config.id)
        elif isinstance(action, Continue):
            trial = trials[action.trial]
            assert action.fidelity in LADDER and action.fidelity.cost > trial.last.fidelity.cost
            assert not trial.failed and trial.asked is None and action.trial not in flights
        elif isinstance(action, Fork):
            parent, rung = trials[action.parent], action.fidelity
            assert rung in LADDER and not parent.failed and not step_at(parent, rung)
        elif isinstance(action, Done):
            ended.append(action)
        else:
            assert flights

    trials = play(
        made(scheduler, random_strategy(), LADDER), by_noise(0.2), starts=40, workers=workers, watch=watch
    )
    assert len(begun(trials)) == 40 and all(trial.asked is None for trial in trials.values())
    assert any(step_at(trial, LADDER[-1]) for trial in trials.values())


@every
def test_where_everything_fails_the_end_comes_all_the_same(scheduler):
    trials = play(made(scheduler, random_strategy(), LADDER), lambda trial: None, starts=20, workers=3)
    assert len(trials) == 20 and all(len(trial.steps) == 1 for trial in trials.values())


@every
@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_fifteen_and_fifteen_are_thirty(scheduler, strategy, tmp_path):
    options = {"strategy": strategy, "scheduler": scheduler, "ladder": LADDER, "seed": 3}
    whole = Study(MIXED, **options)
    advance(whole, 30)
    for trials in (15, 30):
        with Study(MIXED, storage=tmp_path / "study.log", **options) as study:
            advance(study, trials)
    assert history(study) == history(whole)


def advance(study, trials):
    while len(study.searched) < trials:
        study.tell(trial := study.ask(), outcome(trial))


def outcome(trial):
    config = trial.config
    return config["x"] + config["depth"] + config.get("kind.own.k", 0) + 1 / trial.asked.fidelity.epochs


def history(study):
    return [
        (trial.config, trial.server, [(step.index, step.fidelity, step.metrics) for step in trial.steps])
        for trial in study.trials
    ]


@every
def test_killed_with_evaluations_in_flight_it_goes_on_as_if_not(scheduler, tmp_path):
    """Three workers that finish in turn; killed at every fifth result with three in flight."""
    options = {"strategy": "random", "scheduler": scheduler, "ladder": LADDER, "seed": 2}

    def run(kill):
        path = tmp_path / f"{kill}.log"
        study = Study(MIXED, storage=path, **options)
        flights = []
        for told in range(40):
            while len(flights) < 3:
                flights.append(study.ask())
            if kill and told % 5 == 4:
                study.close()
                study = Study(MIXED, storage=path, **options)
                flights = [study.ask() for _ in flights]
            trial = min(flights, key=lambda one: one.asked.index)
            flights.remove(trial)
            study.tell(trial, outcome(trial))
        study.close()
        return history(study)

    assert run(kill=True) == run(kill=False)


@every
def test_an_exhausted_space_ends_cleanly(scheduler):
    study = Study(SMALL, strategy="random", scheduler=scheduler, ladder=LADDER)
    study.optimize(lambda config, context: config["a"] + "xyz".index(config["b"]) + 1 / context.epochs)
    started = [trial.config for trial in study.trials if not trial.fork]
    assert study.exhausted and len(set(started)) == len(started) == SMALL.size
    assert study.best_fidelity == LADDER[-1]
    with pytest.raises(Finished):
        study.ask()


@pytest.mark.parametrize("scheduler", ["asha", "auto"])
def test_with_no_other_design_the_best_go_on_by_an_equal_share_of_each_rung(scheduler):
    study, most = Study(SMALL, strategy="random", scheduler=scheduler, ladder=LADDER), []
    with contextlib.suppress(Finished):
        while True:
            trial = study.ask()
            study.tell(trial, Result(metrics={"loss": trial.config["a"] + "xyz".index(trial.config["b"])}))
            if study.history.starts == SMALL.size:
                reached = [
                    sum(t.last.fidelity.cost >= rung.cost for t in study.trials if t.last) for rung in LADDER
                ]
                most.append([above / here for here, above in itertools.pairwise(reached)])
    assert all(trial.last.fidelity == LADDER[-1] for trial in study.trials)
    shares = np.array(most)
    assert (np.ptp(shares, axis=1) < 0.5).mean() > 0.9  # none is emptied before another
    assert study.exhausted


def test_what_is_enqueued_in_a_space_that_seemed_to_be_used_up_is_asked_for():
    study = Study(SMALL, strategy="random", scheduler="asha", ladder=LADDER)
    study.optimize(lambda config, context: config["a"] / context.epochs, trials=3)
    ask = study.strategy.ask

    def drawn(index, pending=()):  # finds what is enqueued, and no other
        return ask(index, pending) if len(study.strategy.queue) > study.strategy.taken else EXHAUSTED

    study.strategy.ask = drawn
    while study.history.starts < 4:
        trial = study.ask()
        assert trial.number < 3 or trial.config["a"] == 4
        study.tell(trial, Result(metrics={"loss": 1.0}))
        if not study.strategy.queue:
            left = {(a, b, c) for a in (4,) for b in "xyz" for c in (True, False)}
            left -= {(t.config["a"], t.config["b"], t.config["c"]) for t in study.trials}
            study.enqueue(dict(zip("abc", sorted(left)[0], strict=True)))
    assert study.trials[-1].config["a"] == 4


@every
def test_without_starts_only_what_is_under_way_goes_on(scheduler):
    made_one = made(scheduler, random_strategy(), LADDER)
    assert isinstance(made_one.ask({}, [], may_start=False), Done)
    study = Study(MIXED, strategy="random", scheduler=scheduler, ladder=LADDER)
    advance(study, 7)
    study.optimize(loss, trials=0)
    assert study.history.starts == 7 and all(trial.asked is None for trial in study.trials)
    assert isinstance(study.scheduler.ask(study.searched, [], may_start=False), Done)


@every
def test_eight_pending_asks_are_distinct(scheduler):
    study = Study(MIXED, strategy="random", scheduler=scheduler, ladder=LADDER)
    assert len({study.ask().config for _ in range(8)}) == 8


@every
def test_on_one_rung_every_design_is_evaluated_once(scheduler):
    study = Study(MIXED, strategy="random", scheduler=scheduler)
    study.optimize(lambda config: config["x"], trials=12)
    assert [len(trial.steps) for trial in study.trials] == [1] * 12


@every
def test_a_straggler_keeps_nobody_waiting(scheduler):
    """One evaluation takes a hundred times as long: the other worker is asked for something each time."""
    study = Study(MIXED, strategy="random", scheduler=scheduler, ladder=LADDER)
    straggler = study.ask()
    for _ in range(100):
        study.tell(trial := study.ask(), outcome(trial))
    assert study.history.trials[straggler.number].asked is not None
    study.tell(straggler, outcome(straggler))
    study.optimize(loss, trials=0)
    assert study.best_fidelity == LADDER[-1]


class Saving(Estimator):
    """Leaves a checkpoint at each step and says from where it went on."""

    def evaluate(self, design, fidelity, context):
        name = f"{context.epochs}.safetensors"
        context.scratch.mkdir(parents=True, exist_ok=True)
        (context.scratch / name).write_text("weights")
        value = noise(1, context.lineage, context.epochs) / context.epochs
        return Result(metrics={"loss": value, "from": context.start}, checkpoint=name)


@every
def test_what_goes_on_has_its_checkpoint(scheduler, tmp_path):
    """Over 100 starts: no promoted trial begins again, and what is out has its files removed."""
    study = Study(LINE, strategy="random", scheduler=scheduler, ladder=LADDER)
    executor = executors.get("serial")(isolate=False)
    study.run(Saving(), lambda config: config, executor, Budget(100), folder=tmp_path)
    for trial in study.trials:
        for step, before in zip(trial.steps[1:], trial.steps, strict=False):
            assert step.metrics["from"] == before.fidelity.epochs
    assert len(list(tmp_path.glob("trial-*"))) < 80


@every
@pytest.mark.parametrize("objectives", [("loss", "latency"), ("loss", "latency", "params")], ids=len)
def test_several_objectives_and_a_constraint(scheduler, objectives):
    """Who goes on from a rung is among the first of ``best_first`` there, what breaks the constraint last."""
    about = problem(objectives, ["size<=0.8"])
    names, broken, promoted = (*objectives, "size"), [], []

    def measure(trial):
        values = [noise(3, trial.number, trial.asked.fidelity.epochs, at) for at in range(len(names))]
        return dict(zip(names, values, strict=True))

    def watch(action, trials, flights):
        if isinstance(action, Continue):
            trial = trials[action.trial]
            rung = max(rung for rung in LADDER if step_at(trial, rung)) if trial.steps else LADDER[0]
            standing = [one for one in trials.values() if step_at(one, rung)]
            promoted.append(best_first(about, standing, rung).index(trial) / len(standing))
            broken.append(about.violation(trial.metrics) > 0)

    trials = play(made(scheduler, random_strategy(about), LADDER), measure, starts=60, watch=watch)
    assert any(step_at(trial, LADDER[-1]) for trial in trials.values())
    if scheduler == "full":  # its rule promotes nobody
        assert not promoted
    else:
        assert len(promoted) > 5 and np.mean(promoted) < 0.4 and np.mean(broken) < 0.2


def test_options_are_reached_from_a_study():
    study = Study(MIXED, strategy="random", scheduler=TUNER, ladder=LADDER)
    assert [stages[0].designs for stages in study.scheduler.rounds.cycle] == [9, 5, 3]
    study = Study(MIXED, scheduler=partial(schedulers.get("asha"), eta=2), ladder=LADDER, strategy="random")
    study.optimize(loss, trials=8)
    assert [sum(len(trial.steps) > rung for trial in study.trials) for rung in range(3)] == [8, 4, 2]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("halving", {"eta": 1}, "halving: eta=1; one in eta goes on, give a whole number from 2 up"),
        ("asha", {"eta": 2.5}, "asha: eta=2.5; one in eta"),
        ("asha", {"ended": -1}, "asha: ended=-1; give how many designs end at the top"),
        ("freeze-thaw", {"first": 1}, "freeze-thaw: first=1; two at least can be compared"),
        ("bohb", {"eta": True}, "bohb: eta=True; one in eta"),
        ("priorband", {"eta": 0}, "priorband: eta=0; one in eta"),
        ("hyperband", {"sizes": "keras"}, "no sizes 'keras' of brackets; did you mean 'keras-tuner'"),
        ("hyperband", {"sizes": 3}, "no sizes 3 of brackets; choose one of 'li', 'keras-tuner'"),
        ("median", {"n_startup_trials": -1}, "median: n_startup_trials=-1; give a whole number from 0 up"),
        ("median", {"n_warmup_steps": 0.5}, "median: n_warmup_steps=0.5; give"),
        (
            "one-epoch-top-k",
            {"starts": 9},
            "starts=9, k=None; give both as whole numbers from 1 up, or neither",
        ),
        ("one-epoch-top-k", {"starts": 2, "k": 3}, "k=3 of starts=2 cannot go on; give k up to starts"),
        ("one-epoch-top-k", {"starts": 2, "k": 0}, "starts=2, k=0; give both"),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        schedulers.get(name)(random_strategy(), LADDER, **options)
    with pytest.raises(ValueError, match=message):
        Study(MIXED, scheduler=partial(schedulers.get(name), **options), ladder=LADDER)


def test_with_few_starts_two_designs_are_compared_at_the_top_all_the_same():
    for starts in (1, 2, 3, 5):
        for scheduler in ("asha", "auto"):
            study = Study(MIXED, strategy="random", scheduler=scheduler, ladder=LADDER)
            study.optimize(loss, trials=starts)
            ended = [trial for trial in study.trials if step_at(trial, LADDER[-1])]
            assert len(ended) == min(starts, 2) and study.best_fidelity == LADDER[-1]


@pytest.mark.parametrize("scheduler", ["asha", "auto"])
@pytest.mark.parametrize(("kept", "ended", "over"), [(True, 2, 30), (False, 1, 31)])
def test_the_last_seconds_are_kept_for_two_designs_at_the_top(scheduler, kept, ended, over):
    """A step takes as long as its epochs; a third of 30 seconds holds the ends of two trainings, in part done."""
    study, now = Study(LINE, scheduler=scheduler, strategy="random", ladder=LADDER), 0
    while now < 30:
        trial = study.ask(left=30 - now) if kept else study.ask()
        epochs = trial.asked.fidelity.epochs
        seconds = epochs - (trial.last.fidelity.epochs if trial.last else 0)
        study.tell(trial, Result({"loss": noise(1, trial.number, epochs)}, seconds=seconds))
        now += seconds
    top = [trial for trial in study.trials if trial.last and trial.last.fidelity == LADDER[-1]]
    assert (len(top), now) == (ended, over)


def test_a_search_that_gets_better_does_not_train_all_that_comes_to_the_end():
    """Every design of the second half is better than all of the first, in no order."""
    reached = {}
    for quota in (False, True):
        scheduler = schedulers.get("asha")(random_strategy(), LADDER, quota=quota)
        trials = play(
            scheduler,
            lambda trial: {"loss": noise(0, trial.number, 1) + (trial.number < 100)},
            starts=200,
        )
        reached[quota] = [sum(step_at(one, rung) is not None for one in trials.values()) for rung in LADDER]
        first = min(trials.values(), key=lambda one: one.metrics["loss"])
        assert step_at(first, LADDER[-1])
    assert reached == {False: [200, 126, 84], True: [200, 66, 22]}


def test_who_passed_a_rung_without_a_say_is_outside_its_quota():
    scheduler = schedulers.get("asha")(random_strategy(), LADDER)

    def measure(trial):  # the first rung is noise up to design 250
        lost = trial.asked.fidelity.epochs == 1 and trial.number < 250
        return {"loss": noise(5, trial.number, 1) if lost else trial.config["x"]}

    says = []
    trials = play(
        scheduler,
        measure,
        starts=600,
        watch=lambda action, trials, flights: says.append((len(trials), scheduler.say[0])),
    )
    lost = [count for count, say in says if not say]
    assert lost and max(lost) < 400
    after = [step_at(trials[number], LADDER[1]) is not None for number in range(max(lost) + 1, 600)]
    assert 0.25 < sum(after) / len(after) < 0.4  # as if nobody had passed


def test_auto_needs_no_rungs():
    study = Study(MIXED, strategy="random", scheduler="auto")
    study.optimize(loss, trials=3)
    assert [len(trial.steps) for trial in study.trials] == [1, 1, 1]


def test_who_waited_on_a_rung_when_it_lost_its_say_may_still_go_on():
    scheduler = schedulers.get("asha")(random_strategy(), LADDER)

    def measure(trial):  # the first rung is noise
        epochs = trial.asked.fidelity.epochs
        value = noise(5, trial.number, 1) if epochs == 1 else trial.config["x"]
        return {"loss": value}

    lost = []

    def watch(action, trials, flights):
        if not scheduler.say[0] and not lost:
            lost.append({number for number, one in trials.items() if not step_at(one, LADDER[1])})

    trials = play(scheduler, measure, starts=300, watch=watch)
    assert lost and sum(step_at(trials[number], LADDER[1]) is not None for number in lost[0]) > 1


def test_repeats_have_numbers_too():
    """Finals take numbers between those of the designs: nobody is overlooked after them, nor is there an error."""
    study = Study(MIXED, strategy="random", scheduler="freeze-thaw", ladder=LADDER)
    advance(study, 12)
    for number in range(3):
        trial = study.repeat(number, 1, LADDER[0])
        study.tell(trial, 1.0)
    flights = [study.ask() for _ in range(30)]
    for trial in flights:
        study.tell(trial, outcome(trial))
    advance(study, 60)
    outlook = study.scheduler._outlook(study.searched, ())
    assert (outlook.rung[max(study.searched)] >= 0) and outlook.new > 0


@every
@pytest.mark.parametrize(
    "ladder", [[1, 3, 9], None, 3, [Fidelity(1), "3 epochs"], [], [Fidelity(3), Fidelity(1)]]
)
def test_a_ladder_that_is_none_is_refused(scheduler, ladder):
    with pytest.raises(ValueError, match="give fidelities"):
        Study(MIXED, scheduler=scheduler, ladder=ladder)


def test_on_a_ladder_of_data_alone_each_rung_is_trained_anew(tmp_path):
    """More data with the same epochs: nothing would be left to train from the checkpoint."""
    ladder = (Fidelity(1, 0.1), Fidelity(1, 0.3), Fidelity(1, 0.9))
    study = Study(LINE, strategy="random", scheduler="halving", ladder=ladder)
    executor = executors.get("serial")(isolate=False)
    study.run(Saving(), lambda config: config, executor, Budget(9), folder=tmp_path)
    steps = [step for trial in study.trials for step in trial.steps]
    assert len(steps) == 13 and all(step.start == 0 and step.metrics["from"] == 0 for step in steps)
