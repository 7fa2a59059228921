"""The study: ask, tell, what is refused, and resume after kills at any moment."""

import errno
import json
import math
import random
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import nas
from estimators.estimator import Fidelity, Result
from nas.checkpoints import folder_of
from nas.executor import Limits
from nas.executors.serial import Serial
from nas.function import Function
from nas.history import History
from nas.study import Finished, Study
from nas.tracker import Tracker
from nas.trial import Budget
from search_spaces.space import Choice, Float, Int, Space

SPACE = Space(x=Float(0, 1), k=Int(1, 3))


def loss(config):
    return (config["x"] - 0.3) ** 2 + config["k"]


def test_the_public_names_of_the_front():
    study = nas.Study(
        nas.Space(lr=nas.Float(1e-5, 1e-1, log=True), layers=nas.Int(1, 4)), strategy="auto", seed=0
    )
    trial = study.ask()
    assert trial.config == study.problem.space.default()  # trial 0 is the baseline
    study.tell(trial, 0.07)
    assert study.best.number == 0 and study.best.metrics == {"loss": 0.07}


def test_tell_takes_a_number_a_map_or_an_error():
    study = Study(SPACE, objectives=["accuracy", "latency"], strategy="random")
    a, b, c, d = (study.ask() for _ in range(4))
    study.tell(a, {"accuracy": np.float32(0.5), "latency": 3, "note": 1.0})
    study.tell(b.number, {"accuracy": float("inf"), "latency": 1.0})
    study.tell(c, error="exception: mine")
    assert study.trials[0].metrics == {"accuracy": 0.5, "latency": 3.0, "note": 1.0}
    assert (
        study.trials[1].last.error == "nan: accuracy is inf"
        and study.trials[2].last.error == "exception: mine"
    )
    assert [t.number for t in study.pareto] == [0] and study.best.number == 0
    for values, message in (
        ({"accuracy": 0.5}, "lack 'latency', an objective or constraint"),
        ({"accuracy": "high", "latency": 1.0}, "metric 'accuracy' is 'high'; tell a number"),
        ({"accuracy": True, "latency": 1.0}, "tell a number"),
        (None, "neither values nor an error"),
    ):
        with pytest.raises(ValueError, match=message):
            study.tell(d, values)
    assert not study.trials[3].steps
    study.tell(d, {"accuracy": 0.6, "latency": 5.0})
    with pytest.raises(ValueError, match="was told already"):
        study.tell(d, {"accuracy": 0.6, "latency": 5.0})
    with pytest.raises(ValueError, match="no trial 77"):
        study.tell(77, 1.0)


def test_a_failed_trial_is_a_result():
    def function(config):
        if config["k"] == 2:
            raise RuntimeError("no")
        return loss(config)

    study = Study(SPACE, strategy="random", seed=1)
    study.optimize(function, trials=20)
    assert len(study.trials) == 20 and any(t.failed for t in study.trials)
    assert all("RuntimeError: no" in t.last.error for t in study.trials if t.failed)
    assert not study.best.failed


def test_ends():
    study = Study(SPACE, strategy="random")
    with pytest.raises(ValueError, match="has no end"):
        study.optimize(loss)
    study.optimize(lambda config: time.sleep(0.02) or loss(config), budget=0.3)
    assert 2 <= len(study.trials) <= 16
    finite = Study(Space(a=Choice(tuple("ab"))))
    finite.optimize(lambda config: 1.0)
    with pytest.raises(Finished, match="no design that was not started: 2 were"):
        finite.ask()


@pytest.mark.parametrize("limits", [None, Limits(seconds=20.0)])
def test_a_full_disk_fails_no_design(tmp_path, limits):
    path, full = tmp_path / "study.log", tmp_path / "full"
    full.touch()
    with (
        Study(SPACE, strategy="random", storage=path) as study,
        pytest.raises(OSError, match="No space left on device"),
    ):
        study.optimize(Filling(full), trials=4, limits=limits)
    full.unlink()
    with Study(SPACE, strategy="random", storage=path) as study:
        assert [trial.asked is not None for trial in study.trials] == [True] and not study.trials[0].steps
        study.optimize(Filling(full), trials=3, limits=limits)
        assert [trial.failed for trial in study.trials] == [False] * 4


class Filling:
    def __init__(self, full):
        self.full = full

    def __call__(self, config):
        if self.full.exists():
            raise OSError(errno.ENOSPC, "No space left on device", "weights")
        return loss(config)


def diverging(config, context):
    if context.epochs > 1:
        raise RuntimeError("diverged")
    (context.scratch / "epoch-1.safetensors").write_bytes(b"weights")
    context.report(1, {"loss": loss(config)})


def test_a_failed_continuation_keeps_the_weights_it_had(tmp_path):
    study = Study(SPACE, strategy="random", scheduler="halving", ladder=(Fidelity(1), Fidelity(3)))
    estimator, executor = Function(diverging, "loss"), Serial(isolate=False)
    study.run(estimator, lambda config: config, executor, Budget(3), folder=tmp_path)
    failed = next(trial for trial in study.trials if trial.failed)
    assert len(failed.steps) == 2 and failed.trained is failed.steps[0]
    assert (tmp_path / folder_of(failed) / "epoch-1.safetensors").exists()


def test_a_partial_step_is_done_at_what_it_reached(tmp_path):
    path = tmp_path / "study.log"
    with Study(SPACE, strategy="random", storage=path) as study:
        study.optimize(loss, trials=1)
        final = study.repeat(0, 1, Fidelity(9))
        half = Result(metrics={"loss": 1.0}, curve=({"loss": 1.0},) * 4, stopped=True)
        assert not study.land(final, half, tmp_path).steps
        study.land(final, half, tmp_path, reached=4)
        assert study.trials[1].last.fidelity == Fidelity(4) and study.trials[1].asked is None
    with Study(SPACE, strategy="random", storage=path) as study:
        assert study.trials[1].last.fidelity == Fidelity(4) and study.trials[1].last.error is None


def slow(config):
    if config["k"] == 2:
        time.sleep(30)
    return loss(config)


def test_limits_hold_in_a_child_process():
    study = Study(SPACE, strategy="random", seed=0)
    study.optimize(slow, trials=5, limits=Limits(seconds=0.5, grace=0.1))
    late = [t for t in study.trials if t.config["k"] == 2]
    assert late and all(t.last.error == "timeout: over 0.5 s" for t in late)
    assert all(not t.failed for t in study.trials if t.config["k"] != 2)


def test_a_store_refuses_another_study(tmp_path):
    path = tmp_path / "study.log"
    with Study(SPACE, storage=path, seed=1) as study:
        study.optimize(loss, trials=3)
    with pytest.raises(ValueError, match="its seed is 1, not 2; open it with the same settings"):
        Study(SPACE, storage=path, seed=2)
    with Study(SPACE, storage=path, seed=1) as study:
        assert len(study.trials) == 3
        with pytest.raises(ValueError, match="is being written by process"):
            Study(SPACE, storage=path, seed=1)


class Broken(Tracker):
    def started(self, trial):
        raise OSError("the wall is gone")

    def logged(self, trial, step, best): ...

    def ended(self, trials, best, summary): ...


def test_a_broken_tracker_fails_nothing(tmp_path):
    study = Study(SPACE, strategy="random")
    study.trackers.append(Broken(tmp_path, study.problem))
    study.optimize(loss, trials=3)
    assert len(study.trials) == 3 and "the wall is gone" in study.history.events["tracker failed"]


def test_repeats_are_kept_apart():
    study = Study(SPACE, strategy="random", ladder=(Fidelity(2),))
    study.optimize(loss, trials=3)
    repeat = study.repeat(1, 1, Fidelity(5))
    assert repeat.config == study.trials[1].config and repeat.lineage == 1 and repeat.replicate == 1
    study.tell(repeat, -9.0)
    assert study.best.replicate == 0 and len(study.searched) == 3
    assert study.repeat(1, 1, Fidelity(8)).number == repeat.number


def test_to_dataframe_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"nas-engine\[pandas\]"):
        Study(SPACE).to_dataframe()


SEARCH = textwrap.dedent(
    """
    import math, sys, time
    from nas.study import Study
    from estimators.estimator import Fidelity
    from search_spaces.space import Choice, Float, Int, Space

    def curve(config, context):
        for epoch in range(context.start, context.epochs):
            time.sleep(0.004)
            context.report(epoch + 1, {"loss": (config["x"] - 0.3) ** 2 + config["k"] + 1 / (epoch + 1)})
            if context.stopping():
                return

    space = Space(x=Float(0, 1), k=Int(1, 3), c=Choice({"a": None, "b": Space(z=Float(0, 1))}))
    path = sys.argv[1] if len(sys.argv) > 1 else None
    study = Study(space, strategy="evolution", scheduler="halving", seed=5, storage=path,
                  ladder=(Fidelity(1), Fidelity(3), Fidelity(9)))
    study.optimize(curve, trials=60 - len(study.searched))
    for trial in study.trials:
        print(trial.number, trial.config.id, [(s.fidelity.epochs, s.metrics["loss"]) for s in trial.steps])
    """
)


def run_with_kills(path, kills, rng, longest):
    """Kill the search at random moments; return how often it was, and what it printed in the end."""
    killed = 0
    acknowledged: list = []
    while killed < kills:
        process = subprocess.Popen([sys.executable, "-c", SEARCH, str(path)], stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(0.05, longest))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        if path.exists() and path.stat().st_size:
            from nas.storages.log import Log

            with Log(path, write=False) as log:
                rows = [row for row in log.rows if row["kind"] == "result"]
            assert rows[: len(acknowledged)] == acknowledged
            acknowledged = rows
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(path)], capture_output=True, text=True, check=True
    )
    return killed, done.stdout


def check_kills(folder, kills):
    rng, killed, number = random.Random(kills), 0, 0
    whole = subprocess.run([sys.executable, "-c", SEARCH], capture_output=True, text=True, check=True).stdout
    assert len(whole.splitlines()) == 60
    while killed < kills:
        count, resumed = run_with_kills(folder / f"{number}.log", kills - killed, rng, 0.7)
        assert resumed == whole
        killed, number = killed + count, number + 1


def test_killed_searches_equal_the_uninterrupted_one(tmp_path):
    check_kills(tmp_path, 6)


@pytest.mark.slow
def test_two_hundred_kills(tmp_path):
    check_kills(tmp_path, 200)


def odd(config, context):
    context.report(np.int64(1), {"loss": np.float32(0.5), "other": np.float64("nan"), "count": np.int64(3)})
    return {"loss": 1.0, "other": np.float64("inf")}


@pytest.mark.parametrize("limits", [None, Limits(seconds=20.0)])
def test_what_numpy_reports_can_be_read_again(tmp_path, limits):
    path = tmp_path / "study.log"
    with Study(
        SPACE,
        strategy="random",
        storage=path,
        measure=lambda c: {"free": np.float64("inf"), "k": np.int64(2)},
    ) as study:
        study.optimize(odd, trials=1, limits=limits)
        before = study.trials[0]
    assert not before.failed and before.free == {"free": math.inf, "k": 2.0}
    assert before.last.curve[0]["loss"] == 0.5 and before.last.curve[0]["count"] == 3.0
    assert all(type(value) is float for value in (*before.free.values(), *before.last.curve[0].values()))
    with Study(SPACE, strategy="random", storage=path) as study:
        again = study.trials[0]
    assert math.isnan(again.last.curve[0]["other"]) and again.metrics == before.metrics


def test_numpy_texts_of_earlier_stores_are_read():
    history = History()
    study = Study(SPACE, strategy="random")
    study.tell(study.ask(), 1.0)
    rows = json.loads(json.dumps(study._storage.rows))
    rows[-1]["metrics"]["loss"], rows[-1]["curve"] = "np.float64(inf)", [{"loss": "np.float64(nan)"}]
    history.read(rows)
    assert history.trials[0].metrics == {"loss": math.inf}
    assert math.isnan(history.trials[0].last.curve[0]["loss"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (Result({"loss": 1.0}, curve=({"loss": "low"},)), "metric 'loss' is 'low'; tell a number"),
        (Result({"loss": 1.0}, folds=({"loss": None},)), "metric 'loss' is None; tell a number"),
        (Result({"loss": 1.0}, seconds=math.nan), "seconds=nan; tell a finite number"),
        (Result({"loss": "low"}, error="exception: mine"), "metric 'loss' is 'low'; tell a number"),
        ({"loss": 10**400}, "metric 'loss' is beyond the largest float"),
        ({"loss": 1.0, 3: 1.0}, "metric 3 is named by no text; tell it as '3'"),
    ],
)
def test_a_result_that_could_not_be_read_again_is_refused(tmp_path, result, message):
    path = tmp_path / "study.log"
    with Study(SPACE, strategy="random", storage=path) as study:
        trial = study.ask()
        with pytest.raises(ValueError, match=message):
            study.tell(trial, result)
        if isinstance(result, Result):
            assert study.land(trial, result, tmp_path).failed
        else:
            study.tell(trial, 1.0)
    with Study(SPACE, strategy="random", storage=path) as study:
        assert len(study.trials[0].steps) == 1


@pytest.mark.parametrize("value", [10**400, {1: 0.5}], ids=["huge", "unnamed"])
def test_a_function_that_returns_what_cannot_be_kept_is_a_failed_trial(value):
    study = Study(SPACE, strategy="random")
    study.optimize(lambda config: value, trials=2)
    assert [trial.failed for trial in study.trials] == [True, True]


def test_a_report_of_no_number_is_a_failed_trial(tmp_path):
    path = tmp_path / "study.log"
    with Study(SPACE, strategy="random", storage=path) as study:
        study.optimize(lambda config, context: context.report(1, {"loss": "low"}), trials=1)
    with Study(SPACE, strategy="random", storage=path) as study:
        assert "metric 'loss' is 'low'" in study.trials[0].last.error


class Interrupted:
    def __init__(self, error, at=2):
        self.error, self.at, self.calls = error, at, 0

    def __call__(self, config):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return loss(config)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_was_interrupted_runs_again_in_the_same_process(error):
    study = Study(SPACE, strategy="random")
    function = Interrupted(error)
    with pytest.raises(type(error)):
        study.optimize(function, trials=4)
    assert [trial.asked is not None for trial in study.trials] == [False, True]
    study.optimize(function, trials=1)
    assert [len(trial.steps) for trial in study.trials] == [1, 1, 1] and not study.history.asked


def test_what_limits_refused_runs_again_in_the_same_process():
    study = Study(SPACE, strategy="random")
    with pytest.raises(ValueError, match="cannot be sent there"):
        study.optimize(lambda config: 1.0, trials=1, limits=Limits(seconds=9.0))
    assert study.trials[0].asked is not None
    study.optimize(lambda config: 1.0, trials=0)
    assert [len(trial.steps) for trial in study.trials] == [1] and not study.trials[0].failed


def test_what_ask_handed_out_stays_with_its_caller():
    study = Study(SPACE, strategy="random")
    mine = study.ask()
    study.optimize(loss, trials=2)
    assert len(study.trials) == 3 and study.trials[0].asked is not None
    assert not study.tell(mine, 1.0).failed


def test_a_measure_of_nan_holds_no_bound():
    study = Study(
        Space(k=Int(1, 3)),
        strategy="random",
        constraints=["flops<=10"],
        measure=lambda config: {"flops": math.nan if config["k"] == 2 else 1.0},
    )
    study.optimize(lambda config: float(config["k"]))
    assert sorted(trial.config["k"] for trial in study.trials) == [1, 3]


@pytest.mark.parametrize("name", [["a"], None, 3])
def test_a_key_is_a_text(name):
    with pytest.raises(ValueError, match=r"key=.* returned .*; return a text, such as str\(...\) of it"):
        Study(SPACE, key=lambda config: name)


def test_messages_of_wrong_arguments():
    study = Study(SPACE, strategy="random")
    with pytest.raises(ValueError, match="no trial 99 in this study; repeat one of the 0 it has"):
        study.repeat(99, 1, Fidelity())
    for trials in ("5", 2.5, True, -1):
        with pytest.raises(ValueError, match=f"trials={trials!r}; give how many to start from now on"):
            study.optimize(loss, trials=trials)
    with pytest.raises(ValueError, match=r"priors=\[3\]; give a map from path to Prior"):
        Study(SPACE, priors=[3])
    study.optimize(loss, trials=np.int64(1))
    assert len(study.trials) == 1


def test_trials_of_before_a_metric_was_free_are_completed(tmp_path):
    """Trainings measured the latency once; a run from then goes on with the predicted one."""
    space, ladder = nas.Space(x=nas.Float(0, 1)), (Fidelity(1), Fidelity(3))

    def opened(free):
        return nas.Study(
            space,
            objectives=["accuracy"],
            constraints=["latency<=2"],
            strategy="evolution",
            scheduler="halving",
            ladder=ladder,
            storage=tmp_path / "study.log",
            measure=lambda config: free,
        )

    with opened({"params": 1.0}) as study:
        for _ in range(2):
            trial = study.ask()
            study.tell(trial, {"accuracy": trial.config["x"], "latency": 1.0})
        study.ask()
    for _ in range(2):
        with opened({"params": 1.0, "latency": 1.5}) as study:
            assert [trial.free for trial in study.trials] == [{"params": 1.0, "latency": 1.5}] * len(
                study.trials
            )
            assert all(trial.free["latency"] == 1.5 for trial in study.strategy.trials.values())
            trial = study.ask()
            done = study.land(trial, Result(metrics={"accuracy": 0.5}, seconds=1.0), tmp_path)
            assert done.last.error is None


@pytest.mark.parametrize("replicate", [0, -1, 1.0, True, "1"])
def test_a_repeat_is_counted_from_one(replicate):
    study = Study(SPACE)
    study.optimize(lambda config: 0.0, trials=1)
    rule = f"replicate={replicate!r}; give a whole number from 1 up, 0 is the trial itself"
    with pytest.raises(ValueError, match=re.escape(rule)):
        study.repeat(0, replicate, Fidelity())
