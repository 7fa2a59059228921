"""Trust in cheap signals against a reference and loops, and searches that begin with what untrained networks favour."""

import itertools
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

import nas
from estimators.dataset import load
from estimators.estimator import Fidelity, Result
from nas import warm_start
from nas.cli import main
from nas.executor import Executor
from nas.folder import Settings
from nas.plan import Finals
from nas.session import Session
from nas.trial import Objective, Problem, Step, Trial
from nas.trust import LEAST, RESAMPLES, Trust, kendall, trusts
from nas.warm_start import MEMBERS, WarmStart, due, members_of, picks, too_slow
from nas.wording import ranking_line, signal_line
from search_spaces.architecture import SearchSpace
from search_spaces.recipe import recipe_space
from search_spaces.space import Configuration, Space
from search_spaces.spaces.chain import Chain


@pytest.mark.parametrize("n", [2, 7, 40])
def test_tau_is_scipys_also_with_ties(n):
    rng = np.random.default_rng(n)
    a, b = rng.integers(0, 6, n).astype(float), rng.integers(0, 6, n) + rng.integers(0, 2, n) / 2
    a[0], b[0] = 9.0, 9.0
    assert kendall(a, b)[0] == pytest.approx(kendalltau(a, b).statistic)


def test_the_interval_is_that_of_resampled_pairs():
    rng = np.random.default_rng(3)
    a = rng.standard_normal(12)
    b = a + rng.standard_normal(12)
    counts = np.random.default_rng(12).multinomial(12, np.full(12, 1 / 12), size=RESAMPLES)
    taus = []
    for count in counts:
        rows = np.repeat(np.arange(12), count)
        agree = ties_a = ties_b = 0.0
        for i, j in itertools.permutations(rows, 2):
            first, second = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
            agree, ties_a, ties_b = agree + first * second, ties_a + first**2, ties_b + second**2
        taus.append(agree / np.sqrt(ties_a * ties_b) if ties_a * ties_b else 0.0)
    tau, low, high = kendall(a, b)
    assert (low, high) == pytest.approx(tuple(np.quantile(taus, [0.005, 0.995])))
    assert low < tau < high


def told(number: int, accuracy: float, params: float, error: str | None = None) -> Trial:
    step = Step(number, number, Fidelity(), metrics={"accuracy": accuracy}, error=error)
    return Trial(number, Configuration({"a": number}), free={"params": params, "macs": 1.0}, steps=(step,))


def test_signals_are_compared_with_the_first_results():
    problem = Problem(Space(), (Objective("accuracy"),))
    trials = [told(i, 0.1 * i, float(i)) for i in range(LEAST)]
    trials += [
        told(99, 0.0, 1e9, error="nan: no number"),
        Trial(100, Configuration({}), free={"params": 5.0}),
    ]
    events = {f"signals {i}": {"synflow": -float(i)} for i in range(4)}
    found = {one.signal: one for one in trusts(trials, problem, events)}
    assert set(found) == {"parameters", "vote"}  # MACs are the same for all
    assert found["parameters"] == Trust("parameters", 1.0, 1.0, 1.0, LEAST) and found["parameters"].earned
    assert found["vote"].tau == -1.0 and found["vote"].n == 4 and not found["vote"].earned
    assert trusts([], problem, {}) == []


def test_noise_is_seldom_believed_however_often_one_looks():
    rng, looks, believed = np.random.default_rng(0), (11, 15, 19, 23, 27, 31), 0
    for _ in range(100):
        a, b = rng.standard_normal((2, 31))
        believed += any(kendall(a[:n], b[:n])[1] > 0 for n in looks)
    assert believed <= 4  # 1.8 % of 600 others, and 8 % with an interval of 95 %


def test_a_signal_needs_trials_and_an_interval_above_zero():
    assert Trust("vote", 0.5, 0.1, 0.8, LEAST).earned
    assert not Trust("vote", 0.5, 0.1, 0.8, LEAST - 1).earned
    assert not Trust("vote", 0.5, -0.01, 0.8, 50).earned


def test_who_names_a_strategy_or_counts_trials_gets_it_alone():
    assert members_of(None, "auto", timed=True) == MEMBERS and members_of(None, "auto", timed=False) == ()
    assert members_of(None, "random", timed=True) == () and members_of("none", "auto", timed=True) == ()
    assert members_of("snip", "random", timed=False) == ("snip",)
    assert members_of("vote", "auto", timed=False) == MEMBERS
    with pytest.raises(ValueError, match="no warm start 'synflo'; did you mean 'synflow'"):
        Settings.parse({"data": "digits", "trials": 50, "warm_start": "synflo"})


def test_scoring_ends_when_its_time_is_up_or_foreseen_to_be_too_short():
    assert too_slow(4.1, 10, 4.0) and not too_slow(4.0, 10, 4.0)
    assert too_slow(0.6, 4, 4.0) and not too_slow(0.5, 4, 4.0) and not too_slow(0.6, 3, 4.0)


def test_half_of_the_first_starts_are_picks_and_later_ones_are_earned():
    assert [start for start in range(40) if due(start, False)] == [1, 3, 5, 7]
    assert [start for start in range(40) if due(start, True)] == [1, 3, 5, 7, 11, 15, 19, 23, 27, 31]


def test_picks_are_the_best_of_parts_of_equal_work():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((60, 2))
    macs = rng.permutation(60).astype(float)
    scored = [
        (Configuration({"architecture.a": i}), macs[i], {"x": scores[i, 0], "y": scores[i, 1]})
        for i in range(60)
    ]
    ranks = scores.argsort(0).argsort(0).sum(1)
    chosen = [config["architecture.a"] for config in picks(scored, ("x", "y"))]
    parts = [int(macs[one] // 6) for one in chosen]
    assert sorted(parts) == list(range(10)) and set(parts[:2]) == {4, 5}
    for one, part in zip(chosen, parts, strict=True):
        assert ranks[one] == max(ranks[i] for i in range(60) if macs[i] // 6 == part)


class Slow(Executor):
    """Scores every design by its parameters after a second of the clock, or fails."""

    def __init__(self, clock, error=None):
        self.clock, self.error, self.count, self.limits = clock, error, 0, []

    def submit(self, task):
        self.count += 1
        self.clock[0] += 1.0
        self.limits.append(task.limits.seconds)
        future = Future()
        metrics = {"synflow": float(task.design.parameters)}
        future.set_result(Result(metrics={} if self.error else metrics, seconds=1.0, error=self.error))
        return future

    def stop(self): ...

    def close(self): ...


FAMILY = Chain((1, 8, 8), 2)
SPACE = SearchSpace(FAMILY, recipe_space(FAMILY.shape, 2, 100))


def opened(monkeypatch, error=None, **options):
    """Return a warm start whose scores take a second each of a clock that nothing else moves."""
    clock = [0.0]
    given = {"key": SPACE.key, "measure": SPACE.measure, "strategy": "random", **options}
    study = nas.Study(SPACE.space, **given)
    monkeypatch.setattr(nas.Study, "seconds", property(lambda study: clock[0]))
    executor = Slow(clock, error)
    return study, executor, WarmStart(study, SPACE, executor, None, ["synflow"], scratch=Path(), settings={})


def test_the_sample_takes_its_share_of_the_time(monkeypatch):
    study, executor, warm = opened(monkeypatch, timed=True)
    warm.begin(2_000.0)
    event = study.history.events["warm start"]
    assert executor.count == event["scored"] == 41 and event["seconds"] <= 0.02 * 2_000 + 1
    assert len(event["picks"]) == 10
    assert executor.limits == [min(30.0, 40.0 - spent) if spent < 39 else 1.0 for spent in range(41)]
    warm.begin(2_000.0)
    assert executor.count == 41


def test_a_sample_that_is_counted_has_one_size_and_no_clock(monkeypatch):
    study, executor, warm = opened(monkeypatch)
    warm.begin(None)
    assert executor.count == study.history.events["warm start"]["scored"] == 64
    study.tell(study.ask(), 1.0)
    warm.keep_up()
    assert executor.count == 65 and set(executor.limits) == {None}


def test_what_is_too_little_or_fails_leaves_the_search_alone(monkeypatch):
    study, executor, warm = opened(monkeypatch, timed=True)
    warm.begin(149.0)
    assert executor.count == 0 and "warm start" not in study.history.events
    warm.begin(500.0)
    event = study.history.events["warm start"]
    assert event["scored"] == executor.count == 4 and not event["picks"]
    study, executor, warm = opened(monkeypatch, error="memory: too large")
    warm.begin(None)
    assert executor.count == 64 and study.history.events["warm start"]["picks"] == []
    first = study.ask()
    study.tell(first, 1.0)
    assert {one.signal for one in warm.keep_up()} <= {"parameters", "macs"} and not study.history.queue
    assert executor.count == 64  # without picks no trial is scored


def test_picks_hold_the_bounds_on_what_is_predicted(monkeypatch):
    def measure(config):
        free = SPACE.measure(config)
        return {**free, "latency": free["macs"] / 1e5}

    study, _, warm = opened(monkeypatch, measure=measure, constraints=["latency<=2"])
    warm.begin(None)
    chosen = study.history.events["warm start"]["picks"]
    assert len(chosen) == 10
    assert all(measure(Configuration(config))["latency"] <= 2 for config in chosen)


@pytest.mark.parametrize("after", ["lost", "earned"])
def test_a_kill_inside_a_trial_decides_nothing_anew(after, monkeypatch, tmp_path):
    """The vote is earned before trial 10 and lost by it, or the other way round."""

    def tell(study, trial):
        if trial.number == 0 and after == "earned":
            study.tell(trial, error="nan: no number")  # so trial 10 is the tenth that is compared
        else:
            lost = trial.number == 10 and after == "lost"
            study.tell(trial, 100.0 if lost else -float(np.log(trial.free["params"])))

    def search(path, kill):
        study, _, warm = opened(monkeypatch, storage=path, seed=3)
        warm.begin(None)
        warm.keep_up()
        while len(study.searched) < 16 or study.history.asked:
            trial = study.ask()
            if trial.number == kill:
                kill = None
                study.close()
                study, _, warm = opened(monkeypatch, storage=path, seed=3)
                warm.begin(None)
                warm.keep_up()
                continue
            tell(study, trial)
            warm.keep_up()
        study.close()
        return [trial.config.id for trial in study.trials], list(study.history.queue)

    whole = search(tmp_path / "whole", None)
    for kill in (10, 11):
        assert search(tmp_path / f"killed-{kill}", kill) == whole


@pytest.fixture
def quick(monkeypatch):
    """Six architectures and three parts suffice; final trainings are an epoch; one thread."""
    monkeypatch.setattr(warm_start, "LEAST", 6)
    monkeypatch.setattr(warm_start, "COUNTED", 6)
    monkeypatch.setattr(warm_start, "PICKS", 3)
    monkeypatch.setattr("nas.executors.serial.cores", lambda: 1)
    monkeypatch.setattr("nas.session.counted_finals", lambda trials, images: Finals((trials[0],), 1))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    digits = load("digits")
    keep = digits.train.y < 2
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x=digits.train.x[keep][:80], y=digits.train.y[keep][:80])
    return path


OPTIONS = {"strategy": "evolution", "warm_start": "synflow", "constraints": ["macs<=3e5"], "seed": 1}


def own(config):
    return {path: value for path, value in config.items() if path.startswith("architecture.")}


@pytest.mark.slow
def test_a_search_begins_with_picks_and_says_how_true_they_were(quick, small, tmp_path, monkeypatch, capsys):
    run = nas.search(small, trials=6, out=tmp_path / "run", trackers=["tensorboard"], **OPTIONS)
    event, searched = run.history.events["warm start"], [t for t in run.trials if t.replicate == 0]
    assert event["members"] == ["synflow"] and event["scored"] == 6 and len(event["picks"]) == 3
    assert [own(searched[start].config) for start in (1, 3, 5)] == [own(pick) for pick in event["picks"]]
    assert "tracker failed" not in run.history.events and run.history.taken == 3
    signals = {one["signal"]: one for one in run.status()["signals"]}
    assert set(signals) == {"parameters", "macs", "vote"} and signals["vote"]["trials"] == 6
    rung, _ = run.status()["fidelities"]  # two of the six went on, to the last rung in the end
    assert rung["below"] == {"epochs": 4, "data": 1.0, "side": 1.0} and rung["above"]["epochs"] == 12
    assert (rung["trials"], rung["of"], rung["trusted"]) == (2, 6, True) and rung["regret"]["value"] >= 0
    main(["show", str(run.folder.path)])
    shown = capsys.readouterr().out
    assert f"signal {signal_line(signals['vote'])}" in shown and f"fidelity {ranking_line(rung)}" in shown
    drawn = b"".join(p.read_bytes() for p in (run.folder.path / "tensorboard").glob("events*"))
    for name in (b"signal/vote/tau", b"fidelity/4 epochs to 12 epochs/tau", b"12 epochs/regret high"):
        assert name in drawn

    kept, stopped = Session._keep_up, []

    def stop_once(session):
        if len(session.study.history.searched) == 3 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        kept(session)

    monkeypatch.setattr(Session, "_keep_up", stop_once)
    with pytest.raises(KeyboardInterrupt):
        nas.search(small, trials=6, out=tmp_path / "again", trackers=[], **OPTIONS)
    again = nas.resume(tmp_path / "again")
    assert [trial.config for trial in again.trials] == [trial.config for trial in run.trials]
    assert [trial.metrics for trial in again.trials] == [trial.metrics for trial in run.trials]
    assert again.history.queue == run.history.queue


@pytest.mark.slow
def test_a_named_strategy_scores_nothing(quick, small, tmp_path):
    run = nas.search(
        small, trials=6, strategy="random", constraints=["macs<=3e5"], out=tmp_path / "run", trackers=[]
    )
    assert "warm start" not in run.history.events and not run.history.queue
    assert {one["signal"] for one in run.status()["signals"]} == {"parameters", "macs"}
