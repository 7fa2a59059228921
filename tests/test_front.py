"""The main job on small data: whole runs, resumes, kills, and one clear line for each bad input."""

import errno
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from estimators.dataset import load
from estimators.estimator import Fidelity
from nas import front, joint
from nas.checkpoints import folder_of
from nas.cli import main
from nas.executors.serial import Serial
from nas.final_training import FinalTraining
from nas.folder import Settings
from nas.front import _extended, _search_space
from nas.history import History
from nas.plan import (
    Cost,
    Finals,
    closing_seconds,
    counted_ladder,
    search_seconds,
    spaced,
    timed_finals,
    timed_ladder,
)
from nas.session import Session
from nas.storages.log import Log
from nas.trial import Trial
from search_spaces.space import Configuration, Int

COMMAND = [sys.executable, "-m", "nas.cli"]
CHEAP = {"strategy": "evolution", "seed": 1, "constraints": ["macs<=1e6"]}


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return nas.search(small, trials=10, out=out, trackers=["tensorboard"], **CHEAP)


def called(*arguments, **options):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, **options)


def test_a_whole_run(run):
    status = run.status()
    assert status["state"] == "finished" and status["trials"] == {
        "finished": 10,
        "failed": 0,
        "running": 0,
        "unfinished": 0,
    }
    assert run.test["accuracy"] > 0.9 and status["test"] == run.test
    names = {path.name for path in run.folder.path.iterdir()}
    assert names >= {"config.yaml", "study.log", "status.json", "data", "checkpoints", "tensorboard", "best"}
    finals = [trial for trial in run.trials if trial.replicate]
    assert 0 < len(finals) <= 3 and all(trial.last.fidelity.epochs == 50 for trial in finals)
    module = run.best.module()
    assert isinstance(module, torch.nn.Module) and not module.training
    assert run.best.metrics["accuracy"] >= max(t.metrics["accuracy"] for t in finals)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(run, small, tmp_path):
    again = nas.search(small, trials=10, out=tmp_path / "again", trackers=[], **CHEAP)
    assert again.test == run.test
    for one, other in zip(run.trials, again.trials, strict=True):
        assert one.config == other.config and [s.metrics for s in one.steps] == [
            s.metrics for s in other.steps
        ]


def test_show_export_verify_and_list(run, tmp_path, capsys):
    path = str(run.folder.path)
    main(["show", path, "--json"])
    shown = json.loads(capsys.readouterr().out)
    keys = {"state", "seconds", "budget_seconds", "objectives", "trials", "best", "pareto", "test", "export"}
    assert set(shown) >= keys and set(shown["best"]) == {"number", "config", "metrics"}
    main(["show", path])
    assert "best of the search" in capsys.readouterr().out
    main(["export", path, "--to", str(tmp_path / "model")])
    main(["verify", str(tmp_path / "model")])
    assert "top-1 equal on 100%" in capsys.readouterr().out
    number = run.best.trial.number
    main(["export", path, "--trial", str(number), "--to", str(tmp_path / "trial")])
    assert (tmp_path / "trial" / "model.py").is_file()
    main(["list"])
    assert (
        "strategies:  auto, cmaes, evolution, forest, gp, grid, local, nsga2, random, sobol, tpe"
        in capsys.readouterr().out
    )


def test_resume_adds_to_a_finished_run(small, tmp_path):
    run = nas.search(
        small, trials=3, strategy="random", constraints=["macs<=1e6"], out=tmp_path / "run", trackers=[]
    )
    with pytest.raises(ValueError, match="is finished; add to it with --budget 30m"):
        nas.resume(run.folder.path)
    first = run.history.events["test 1"]
    run = nas.resume(run.folder.path, trials=2)
    assert sum(trial.replicate == 0 for trial in run.trials) == 5
    assert run.history.events["test 1"] == first and run.test is not None


@pytest.mark.parametrize(
    ("had", "decided", "ended", "more", "want"),
    [
        ({"budget": 100.0}, True, True, {"trials": 3}, (None, 5)),
        ({"budget": 100.0}, True, True, {"budget": "30s"}, (90.0, None)),
        ({"trials": 9}, False, False, {"trials": 1}, (None, 10)),
        ({"trials": 2}, True, False, {"trials": 1}, (None, 3)),
        ({"budget": 100.0}, False, False, {"budget": "30s"}, (130.0, None)),
        ({"budget": 100.0}, False, False, {"trials": 2}, (None, 4)),
        ({"trials": 9}, False, False, {"budget": "30s"}, (90.0, None)),
        ({"budget": 100.0, "trials": 9}, False, False, {"trials": 1}, (100.0, 10)),
    ],
)
def test_what_is_added_comes_on_top_of_what_was_left(had, decided, ended, more, want):
    settings = Settings.parse({"data": "digits", **had})
    trials = {number: Trial(number, Configuration({"a": number})) for number in range(2)}
    history = History(trials, seconds=60.0, events={"finals 1": {}} if decided else {})
    new = _extended(settings, history, more.get("budget"), more.get("trials"), ended)
    assert (new.budget, new.trials) == want and new.round == 1 + decided


@pytest.mark.parametrize("trials", [0, -3])
def test_nothing_cannot_be_added(run, trials):
    with pytest.raises(ValueError, match=f"trials={trials}: give at least 1"):
        nas.resume(run.folder.path, trials=trials)


@pytest.mark.slow
def test_a_run_counted_in_trials_takes_time_and_back(small, tmp_path):
    run = nas.search(small, trials=1, strategy="random", out=tmp_path / "run", trackers=[])
    run = nas.resume(run.folder.path, budget="6s")
    assert run.status()["state"] == "finished" and run.status()["budget_seconds"] is not None
    started = sum(trial.replicate == 0 for trial in run.trials)
    run = nas.resume(run.folder.path, trials=1)
    assert sum(trial.replicate == 0 for trial in run.trials) == started + 1


def test_a_name_taken_meanwhile(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = nas.front._planned

    def planned(*arguments):
        (tmp_path / "runs" / "small" / "data").mkdir(parents=True)
        (tmp_path / "given" / "data").mkdir(parents=True)
        return real(*arguments)

    monkeypatch.setattr("nas.front._planned", planned)
    with pytest.raises(ValueError, match="run folder 'given' exists; go on with it"):
        nas.search(small, trials=1, out="given", trackers=[])
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "given")
    monkeypatch.setattr(Session, "run", lambda session: (session.executor.close(), session.study.close()))
    run = nas.search(small, trials=1, trackers=[])
    assert run.folder.path.name == "small-2" and not list(tmp_path.glob("runs/.*"))


def test_a_run_without_its_store_is_damaged(run, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(run.folder.path, broken)
    (broken / "study.log").unlink()
    for use in (nas.resume, lambda path: nas.Run(path).trials):
        with pytest.raises(ValueError, match=r"is damaged: its study.log is missing or empty"):
            use(broken)


@pytest.mark.slow
def test_half_written_files_are_swept(small, tmp_path):
    run = nas.search(small, trials=1, strategy="random", out=tmp_path / "run", trackers=[])
    left = run.folder.checkpoints / "trial-0000" / "epoch-4.safetensors.4711.tmp"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    nas.resume(run.folder.path, trials=1)
    assert not left.exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("strategy: 5", "setting strategy=5: give a name or a path"),
        ("objectives: [5]", "setting objectives=[5]: give a list of words, for example [accuracy]"),
        ("constraint: [{a: 1}]", "setting constraints=[{'a': 1}]: give a list of words"),
        ("objective: acuracy", "no metric 'acuracy'; did you mean 'accuracy'"),
        ("tracker: terminals", "no tracker 'terminals'"),
        ("out: taken", "run folder 'taken' exists"),
    ],
)
def test_settings_of_a_file(lines, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "search.yaml").write_text(f"trials: 2\n{lines}\n")
    with pytest.raises(SystemExit) as left:
        main(["search", "digits", "--config", "search.yaml"])
    error = capsys.readouterr().err
    assert left.value.code == 2 and message in error and error.count("\n") == 1


@pytest.mark.slow
def test_more_time_is_spent_on_searching_too(small, tmp_path):
    run = nas.search(small, budget="20s", strategy="random", out=tmp_path / "run", trackers=[])
    first = len(run.trials)
    run = nas.resume(run.folder.path, budget="10s")
    status = run.status()
    assert sum(trial.replicate == 0 for trial in run.trials[first:]) > 0
    assert any(trial.replicate == 2 for trial in run.trials) and status["state"] == "finished"
    assert status["seconds"] < status["budget_seconds"] + 5


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "best" / "weights.safetensors")


def check_training_kills(small, folder, kills, *options):
    """Kill real trainings at random moments; the trials and the final weights must be those of a run in peace."""
    arguments = [
        "search",
        small,
        "--trials",
        "6",
        "--strategy",
        "evolution",
        "--seed",
        "3",
        "--tracker",
        "tensorboard",
        *options,
    ]
    whole = called(*arguments, "--out", folder / "whole")
    assert whole.returncode == 0, whole.stderr
    rng, killed, round_ = np.random.default_rng(kills), 0, 0
    while killed < kills:
        out, begun = folder / f"killed-{round_}", False
        while True:
            command = ["resume", out] if begun else [*arguments, "--out", out]
            process = subprocess.Popen([*COMMAND, *map(str, command)], stdout=subprocess.DEVNULL)
            try:
                assert process.wait(timeout=float(rng.uniform(3.0, 9.0)) if killed < kills else None) == 0
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                begun = out.exists()
        whole_run, other = nas.Run(folder / "whole"), nas.Run(out)
        for a, b in zip(whole_run.trials, other.trials, strict=True):
            assert a.config == b.config and [s.metrics for s in a.steps] == [s.metrics for s in b.steps]
        for name, value in weights(folder / "whole").items():
            assert np.array_equal(value, weights(out)[name])
        assert whole_run.test == other.test
        round_ += 1


@pytest.mark.slow
def test_twenty_kills_of_real_training(tmp_path):
    check_training_kills("digits", tmp_path, 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--estimator", "supernet"),
        ("--warm-start", "supernet"),
        ("--warm-start", "supernet", "--supernet-option", "inherit=true"),
    ],
    ids=["estimator", "signal", "inherited"],
)
def test_ten_kills_of_a_search_with_a_supernet(tmp_path, options):
    check_training_kills("digits", tmp_path, 10, *options)


@pytest.mark.slow
def test_an_interrupted_search_says_how_to_go_on(small, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, "search", str(small), "--trials", "500", "--strategy", "random", "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "status.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    assert nas.Run(out).status()["state"] == "running"
    refused = called("resume", out)
    assert refused.returncode == 2 and "is being written by process" in refused.stderr
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted" in error and "nas resume" in error
    assert nas.Run(out).status()["state"] == "interrupted"


@pytest.mark.slow
def test_a_final_training_keeps_what_it_reached_when_its_time_is_up(small, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.session.counted_finals", lambda trials, images: Finals((trials[0],), 6000))
    monkeypatch.setattr(Session, "_left", lambda session: 4.0)
    monkeypatch.setattr(FinalTraining, "_least", lambda *arguments: 0.0)
    run = nas.search(small, trials=2, strategy="random", out=tmp_path / "run", trackers=[])
    (final,) = [trial for trial in run.trials if trial.replicate]
    step = final.last
    assert step.error is None and 1 <= step.fidelity.epochs == len(step.curve) < 1000
    assert (run.folder.checkpoints / folder_of(final) / f"epoch-{step.fidelity.epochs}.safetensors").exists()
    assert final.asked is None and run.status()["trials"]["unfinished"] == 0


@pytest.mark.slow
def test_the_winner_is_one_whose_weights_are_there(small, tmp_path, monkeypatch):
    def lose(session):
        shutil.rmtree(session.folder.checkpoints / folder_of(session.study.best))

    monkeypatch.setattr(Session, "_finals", lose)
    run = nas.search(
        small, trials=3, strategy="random", constraints=["macs<=1e6"], out=tmp_path / "run", trackers=[]
    )
    best, second = (trial.number for trial, _ in run.standing()[:2])
    assert run.best.trial.number == second != best


@pytest.mark.slow
def test_latency_is_known_before_a_training_and_measured_after_the_search(small, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nas.session.counted_finals", lambda trials, images: Finals(tuple(trials[:1]), 2))
    limits = ["latency<=1000"]
    run = nas.search(
        small, trials=2, strategy="random", constraints=limits, out=tmp_path / "run", trackers=[]
    )
    searched = [trial for trial in run.trials if not trial.replicate]
    assert all(trial.free["latency"] > 0 for trial in searched)
    assert not any("latency" in step.metrics for trial in searched for step in trial.steps)
    (final,) = [trial for trial in run.trials if trial.replicate]
    assert final.last.metrics["latency"] > 0
    told = run.status()["latency"]
    assert told["predicted_error"]["measured"] == 9 and told["measured"].keys() >= {str(final.parent)}
    path = run.folder.path
    again = nas.resume(path, trials=1)
    assert len([row for row in again.trials if not row.replicate]) == 3
    assert again.status()["latency"]["predicted_error"] == told["predicted_error"]
    assert "latency fitted anew" not in again.history.events
    monkeypatch.setattr("nas.exclusive.processor", lambda device: "another")
    session = Session(again.folder, again.settings, _search_space(again.settings, again.folder, None))
    session.executor.close()
    session.study.close()
    anew = again.history.events["latency fitted anew"]
    assert anew["now"] == {**anew["before"], "processor": "another"} != anew["before"]
    assert again.history.events["latency table"]["processor"] == "another"


def test_a_measured_constraint_nothing_satisfies(small, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["search", str(small), "--trials", "2", "--strategy", "random", "--out", str(out)]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--tracker", "tensorboard", "--constraint", "loss<=0"])
    error = capsys.readouterr().err
    said = "none of 2 trained designs satisfies loss<=0; the nearest reached loss "
    assert left.value.code == 4 and said in error and error.count("\n") == 1
    status = nas.Run(out).status()
    assert status["state"] == "interrupted" and said in status["error"]


def test_a_moved_run_knows_where_its_model_is(run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(run.folder.path, moved)
    assert nas.Run(moved).status()["export"] == str(moved / "best")


def build(config):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, config["units"]), torch.nn.ReLU(),
                               torch.nn.Linear(config["units"], 2))  # fmt: skip


def test_a_space_of_ones_own(small, tmp_path):
    space = nas.Space(units=Int(4, 32))
    run = nas.search(
        small, trials=4, space=space, build=build, strategy="random", out=tmp_path / "own", trackers=[]
    )
    assert run.test["accuracy"] > 0.8 and (run.folder.best / "model.pt2").is_file()


def refuse(config):
    if config["units"] % 2:
        raise RuntimeError("units is odd")
    return build(config)


def refuse_all(config):
    raise RuntimeError("no torch today")


def test_a_build_that_raises_is_a_design_that_is_not_proposed(small, tmp_path):
    space = joint.own_space(load(small), nas.Space(units=Int(4, 32)), refuse)
    odd, even = (Configuration({"architecture.units": units}) for units in (5, 6))
    said = re.escape(
        "build({'units': 5}) failed: RuntimeError: units is odd; return a module for every config"
    )
    with pytest.raises(ValueError, match=said):
        space.measure(space.space.complete({}, np.random.default_rng(0), fixed=odd))
    assert space.measure(space.space.complete({}, np.random.default_rng(0), fixed=even))["params"] > 0
    with nas.Study(space.space, key=space.key, measure=space.measure, strategy="random") as study:
        asked = [study.ask() for _ in range(5)]
    assert not any(trial.config["architecture.units"] % 2 for trial in asked)


@pytest.mark.parametrize(
    ("made", "draws", "message"),
    [
        (refuse_all, 200, "failed: RuntimeError: no torch today; return a module for every"),
        (build, 0, "latency cannot be predicted: 1 of the default design and 0 random ones"),
    ],
)
def test_what_cannot_be_searched_leaves_no_folder(made, draws, message, small, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.exclusive.DRAWS", draws)
    limits = ["latency<=9"]
    with pytest.raises(ValueError, match=message):
        nas.search(
            small,
            trials=2,
            space=nas.Space(units=Int(4, 32)),
            build=made,
            constraints=limits,
            out=tmp_path / "own",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digitz", "--trials", "2"], "no data set and no folder 'digitz'; did you mean 'digits'"),
        (["digits"], "no budget; give a time (--budget 30m), a number of trials (--trials 200), or both"),
        (["digits", "--budget", "soon"], "budget 'soon': write a positive time such as 90s, 30m"),
        (["digits", "--budget", "2s"], "too little to train one model"),
        (["digits", "--trials", "0"], "trials=0: give at least 1"),
        (["digits", "--trials", "2", "--strategy", "gpp"], "no strategy 'gpp'; did you mean 'gp'"),
        (["digits", "--trials", "2", "--space", "chian"], "no space 'chian'; did you mean 'chain'"),
        (
            ["digits", "--trials", "2", "--objective", "acuracy"],
            "no metric 'acuracy'; did you mean 'accuracy'",
        ),
        (["digits", "--trials", "2", "--constraint", "params<1"], "write METRIC<=NUMBER"),
        (
            ["digits", "--trials", "2", "--constraint", "params<=5"],
            "satisfies the constraints params<=5; loosen",
        ),
        (["digits", "--trials", "2", "--device", "cuda:7"], "torch sees"),
        (
            ["digits", "--trials", "2", "--checkpoint-quota", "lots"],
            "checkpoint quota 'lots': write a size such as 500MB",
        ),
        (["digits", "--trials", "2", "--workers", "99"], "workers=99: this process may use"),
        (["digits", "--trials", "2", "--workers", "0"], "workers=0; give how many"),
        (
            ["digits", "--trials", "2", "--executor", "serial", "--workers", "2"],
            "executor 'serial' evaluates one at a time",
        ),
        (["digits", "--trials", "2", "--executor-option", "gpus"], "write NAME=VALUE"),
        (["digits", "--trials", "2", "--supernet-option", "kernels=[a"], "the value is no YAML"),
        (["digits", "--trials", "2", "--strategy", "grid"], "is continuous"),
        (["digits", "--trials", "2", "--config", "none.yaml"], "cannot read the settings 'none.yaml'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["search", *arguments])
    error = capsys.readouterr().err
    assert left.value.code == 2 and message in error and error.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.name != "runs"]


def test_bad_run_folders(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = [
        (
            ["search", "digits", "--trials", "2", "--out", str(run.folder.path)],
            "exists; go on with it by `nas resume",
        ),
        (["resume", "nowhere"], "no run in 'nowhere'"),
        (["show", "nowhere"], "no run in 'nowhere'"),
        (["verify", "nowhere"], "has no model.py"),
        (["export", str(run.folder.path), "--trial", "999"], "no trial 999 in this run; it has 0 to"),
    ]
    for arguments, message in cases:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2 and message in capsys.readouterr().err
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "config.yaml").write_text("data: digits\ntrials: 3\nversion: 99\n")
    with pytest.raises(ValueError, match="written by a newer version"):
        nas.resume(newer)
    (newer / "config.yaml").write_text("data: digits\ntrails: 3\n")
    with pytest.raises(ValueError, match="no setting 'trails'; did you mean 'trials'"):
        nas.resume(newer)


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        main(["search", "digits", "--trials", "2", "--out", str(tmp_path / "file" / "run")])
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(small, tmp_path, capsys, monkeypatch):
    out, real, appended = tmp_path / "run", Log._write, []

    def full(log, data, count):
        appended.append(data)
        if len(appended) > 9:
            raise OSError(errno.ENOSPC, "No space left on device", str(log.path))  # as Log._write says it
        real(log, data, count)

    monkeypatch.setattr(Log, "_write", full)
    arguments = ["search", str(small), "--trials", "4", "--strategy", "random", "--out", str(out)]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--tracker", "tensorboard"])
    error = capsys.readouterr().err
    said = f"cannot use '{out}/study.log': No space left on device; see to space and permissions there, then go on "
    assert left.value.code == 3 and said + f"with `nas resume {out}`" in error and error.count("\n") == 1
    monkeypatch.undo()
    assert nas.resume(out).status()["trials"]["finished"] == 4


def test_what_a_killed_preparation_leaves_is_swept(small, tmp_path):
    (tmp_path / ".run.999999999").mkdir()
    with pytest.raises(ValueError, match="loosen"):
        nas.search(small, trials=1, constraints=["params<=5"], out=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_plans_keep_the_budget():
    cost = Cost(0.3, 2e-4)
    for images, seconds in ((1_200, 120.0), (54_000, 1_200.0), (54_000, 36_000.0), (9_000, 1_200.0)):
        ladder = timed_ladder(cost, images, search_seconds(seconds))
        top = ladder[-1]
        assert cost.seconds(top.data * images, top.epochs) <= 1.05 * search_seconds(seconds) / 13
        assert [one.epochs for one in ladder] == [top.epochs // 9, top.epochs // 3, top.epochs]
        finals = timed_finals([4, 2, 7], [cost.seconds(images)] * 3, 0.4 * seconds)
        assert len(finals.trials) * finals.epochs * cost.seconds(images) <= 0.4 * seconds
        assert finals.steps()[-1] == finals.epochs and finals.steps() == sorted(set(finals.steps()))
        assert search_seconds(seconds) >= 0.5 * seconds - closing_seconds(seconds)
    with pytest.raises(ValueError, match=r"too little to train one model: .*; give at least \d+s"):
        timed_ladder(cost, 54_000, 1.0)
    assert [one.epochs for one in counted_ladder(60_000)] == [1, 3, 9]
    assert timed_finals([1], [10.0], 5.0) is None


def test_where_no_final_training_fits_the_search_has_its_time():
    cost, usable = Cost(0.0, 1e-3), 100.0 - closing_seconds(100.0)
    assert search_seconds(100.0, cost, 20_000) == search_seconds(100.0) == pytest.approx(0.6 * usable)
    assert timed_finals([1], [cost.seconds(20_000)], 0.4 * usable) is not None
    assert search_seconds(100.0, cost, 60_000) == usable
    assert timed_finals([1], [cost.seconds(60_000)], 0.4 * usable) is None


def test_a_ladder_is_spaced_as_the_scheduler_wants():
    ladder = counted_ladder(5_000)
    assert spaced(ladder, "geometric") == ladder
    for top in (9, 18, 36, 120, 1):
        even = spaced((Fidelity(1, 0.05), Fidelity(top, 0.3)), "even")
        assert len(even) == min(top, 10) and even[-1] == Fidelity(top, 0.3)
        steps = np.diff([0, *(one.epochs for one in even)])
        assert steps.min() >= 1 and np.ptp(steps) <= 1 and {one.data for one in even} == {0.3}


def test_who_is_refused_the_lease_changes_no_settings(finished, tmp_path, monkeypatch):
    path = Path(shutil.copytree(finished, tmp_path / "run"))
    before, real, first = (path / "config.yaml").read_bytes(), front._history, []

    def another_is_faster(folder, **options):
        history = real(folder, **options)
        first.append(Log(folder.store))
        return history

    monkeypatch.setattr(front, "_history", another_is_faster)
    with pytest.raises(ValueError, match="is being written by process"):
        nas.resume(path, trials=3)
    first[0].close()
    assert (path / "config.yaml").read_bytes() == before


def test_what_cannot_be_opened_leaves_nothing_open(finished, tmp_path, monkeypatch):
    path = Path(shutil.copytree(finished, tmp_path / "run"))
    executor, closed = Serial(), []

    def unreadable(self):
        raise OSError("no memory is to be read here")

    monkeypatch.setattr(Serial, "memory", unreadable)
    monkeypatch.setattr(Serial, "close", lambda self: closed.append(self))
    with pytest.raises(OSError, match="no memory"):
        nas.resume(path, trials=3, executor=executor)
    assert executor in closed
    Log(path / "study.log").close()  # nobody holds it
