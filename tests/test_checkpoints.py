"""Checkpoints: what is kept under a quota, what goes first, and a disk that is full."""

import json
import math
import subprocess
from types import SimpleNamespace

import pytest

from estimators.estimator import Estimator, Fidelity, Result
from nas.checkpoints import FEW, LEAST, SHARE, bytes_in, folder_of, name_of, parse_bytes, share_of_disk, tidy
from nas.executor import Limits
from nas.executors.serial import Serial
from nas.folder import Settings
from nas.rungs import promise
from nas.study import Study
from nas.tracker import Tracker
from nas.trial import Budget, Objective, Problem, Step, Trial
from search_spaces.space import Configuration, Float, Space

SPACE = Space(x=Float(0, 1))
LADDER = (Fidelity(1), Fidelity(3), Fidelity(9))
SIZE = 10_000  # bytes of a checkpoint


class Sized(Estimator):
    """Writes checkpoints of ``size`` bytes; what it learns is the sum of what it saw."""

    def __init__(self, size=SIZE):
        self.size, self.epochs = size, 0

    def evaluate(self, design, fidelity, context):
        state = json.loads(context.checkpoint.read_text()) if context.checkpoint else 0.0
        curve = []
        for _ in range(context.start, fidelity.epochs):
            self.epochs += 1
            state += design["x"]
            curve.append({"loss": state})
            context.report(context.start + len(curve), curve[-1])
        name = f"epoch-{fidelity.epochs}.safetensors"
        (context.scratch / name).write_text(repr(state).ljust(self.size))
        return Result(metrics=curve[-1], curve=tuple(curve), checkpoint=name)


def run(folder, quota, estimator=None, trials=27, limits=lambda trial: Limits(), **options):
    study = Study(SPACE, strategy="random", scheduler="halving", ladder=LADDER, seed=3, **options)
    study.quota = quota
    estimator = estimator or Sized()
    study.run(
        estimator, lambda c: c, Serial(isolate=False), Budget(trials), folder=folder / "runs", limits=limits
    )
    return study


def results(study):
    return [[(step.fidelity, dict(step.metrics)) for step in trial.steps] for trial in study.trials]


def held(folder):
    return {path.name for path in (folder / "runs").glob("trial-*") if bytes_in(path)}


def test_a_quota_changes_no_result_and_no_epoch_is_lost_but_those_dropped(tmp_path):
    roomy, tight = Sized(), Sized()
    study = run(tmp_path / "a", math.inf, roomy)
    other = run(tmp_path / "b", 2 * SIZE, tight)
    assert results(study) == results(other)
    assert len(held(tmp_path / "b")) <= 2 < len(held(tmp_path / "a"))
    afresh = [(step, trial) for trial in other.trials for step in trial.steps[1:] if step.start == 0]
    assert afresh and tight.epochs == roomy.epochs + sum(
        trial.steps[trial.steps.index(step) - 1].fidelity.epochs for step, trial in afresh
    )
    assert all(len(step.curve) == step.fidelity.epochs for step, _ in afresh)
    assert name_of(other.best.number) in held(tmp_path / "b")
    assert other.history.events["checkpoints dropped"]["quota"] == 2 * SIZE


def test_the_least_promising_go_first(tmp_path):
    """Halving trains 9 designs an epoch; with room for 5 those are left that it promotes, and so nothing is lost."""
    study = run(tmp_path, 5 * SIZE, trials=9)
    assert all(step.start for trial in study.trials for step in trial.steps[1:])
    order = sorted(study.trials, key=lambda trial: trial.config["x"])
    assert name_of(order[0].number) in held(tmp_path)
    assert all(name_of(trial.number) not in held(tmp_path) for trial in order[-3:])


def test_what_is_in_flight_and_repeats_stay(tmp_path):
    study = run(tmp_path, math.inf, trials=9)
    repeat = study.repeat(study.best.number, 1, Fidelity(9))
    folder, estimator = tmp_path / "runs", Sized()
    task = study.task(repeat, estimator, lambda c: c, folder, Limits(), {})
    study.land(repeat, Serial(isolate=False).submit(task).result(), folder)
    study.quota = 1
    trial = study.ask()
    task = study.task(trial, estimator, lambda c: c, folder, Limits(), {})
    study.land(trial, Serial(isolate=False).submit(task).result(), folder)
    assert held(tmp_path) == {name_of(study.best.number), folder_of(repeat)}


class Untouched(dict):
    """Trials that are asked for by their number, never gone through."""

    def values(self):
        raise AssertionError("all trials were gone through")

    __iter__ = items = keys = values


def test_tidying_costs_as_much_as_there_are_folders_not_trials(tmp_path):
    def done(number):
        step = Step(number, number, Fidelity(1), metrics={"loss": 1.0}, checkpoint="a.safetensors")
        return Trial(number, Configuration({"x": number}), steps=(step,))

    trials = Untouched((number, done(number)) for number in range(12_000))
    for number in (3, 7, 11_999):
        (tmp_path / name_of(number)).mkdir()
        (tmp_path / name_of(number) / "a.safetensors").touch()
    history = SimpleNamespace(trials=trials, asked={})
    assert tidy(history, trials[11_999], tmp_path, lambda: [3, 11_999]) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trial-0003", "trial-11999"]


def test_limits_are_asked_for_what_is_really_trained(tmp_path):
    starts = []

    def limits(trial):
        starts.append((len(trial.steps), trial.asked.start))
        return Limits()

    run(tmp_path, 2 * SIZE, limits=limits)
    assert (1, 0) in starts and (1, 1) in starts  # of a second step from the start, and from a checkpoint


def test_a_step_from_the_start_is_stored_as_one(tmp_path):
    path = tmp_path / "study.log"
    study = run(tmp_path, 2 * SIZE, storage=path)
    study.close()
    with Study(SPACE, strategy="random", scheduler="halving", ladder=LADDER, seed=3, storage=path) as again:
        assert again.trials == study.trials


def test_promise_is_the_share_that_is_better_on_the_highest_rung():
    def trial(number, *losses):
        steps = [Step(number, number, LADDER[at], 0, {"loss": loss}) for at, loss in enumerate(losses)]
        return Trial(number, Configuration({"x": 0.5}), steps=tuple(steps))

    trials = [trial(0, 4.0), trial(1, 1.0, 0.9), trial(2, 2.0), trial(3, 3.0, 0.8), trial(4)]
    problem = Problem(SPACE, (Objective("loss"),))
    assert promise(problem, trials, LADDER) == {0: 0.75, 1: 0.5, 2: 0.25, 3: 0.0, 4: 1.0}


def test_sizes_are_read():
    assert [parse_bytes(text) for text in ("500MB", "2.5GB", "1e6", 12, "7 kb", "3G")] == [
        500_000_000,
        2_500_000_000,
        1_000_000,
        12,
        7_000,
        3_000_000_000,
    ]
    for text in ("much", "0", "-1GB", "", "3 apples"):
        with pytest.raises(ValueError, match=r"checkpoint quota .*: write a size such as 500MB"):
            parse_bytes(text)
    assert Settings.parse({"data": "digits", "trials": 3, "checkpoint_quota": "2GB"}).checkpoint_quota == 2e9
    with pytest.raises(ValueError, match="checkpoint quota 'lots'"):
        Settings.parse({"data": "digits", "trials": 3, "checkpoint_quota": "lots"})


def test_the_quota_of_a_disk_counts_what_checkpoints_have_taken(tmp_path, monkeypatch):
    (tmp_path / "trial-0000").mkdir()
    (tmp_path / "trial-0000" / "epoch-1.safetensors").write_bytes(b"w" * 1000)
    usage = replace_free(10**12)
    monkeypatch.setattr("nas.checkpoints.shutil.disk_usage", lambda path: usage)
    assert share_of_disk(tmp_path) == int(SHARE * (10**12 + 1000))
    usage = replace_free(10**6)
    monkeypatch.setattr("nas.checkpoints.shutil.disk_usage", lambda path: usage)
    assert share_of_disk(tmp_path) == LEAST


def replace_free(free):
    from types import SimpleNamespace

    return SimpleNamespace(free=free)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 400 kB; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


class Writing(Tracker):
    """Writes as much as it takes to fill a disk, as a tracker of pictures would."""

    def started(self, trial): ...

    def logged(self, trial, step, best):
        with (self.folder / "events").open("ab") as file:
            file.write(b"e" * 60_000)

    def ended(self, trials, best, summary): ...


@pytest.mark.parametrize("what", ["checkpoints", "tracker", "store"])
def test_a_full_disk_stops_with_everything_acknowledged(small_disk, what):
    path, told = small_disk / "study.log", []
    options = {"strategy": "random", "scheduler": "halving", "ladder": LADDER, "seed": 3}
    with Study(SPACE, storage=path, **options) as study:
        if what == "tracker":
            study.trackers.append(Writing(small_disk, study.problem))
        if what == "store":
            filler = small_disk / "filler"
            filler.write_bytes(b"f" * (400_000 - 60_000))
        told_of = study.tell
        study.tell = lambda *arguments: told.append(told_of(*arguments)) or told[-1]
        size = 30_000 if what == "checkpoints" else 100
        with pytest.raises(OSError, match="No space left on device"):
            study.run(
                Sized(size), lambda c: c, Serial(isolate=False), Budget(500), folder=small_disk / "runs"
            )
    for left in ("filler", "events"):
        (small_disk / left).unlink(missing_ok=True)
    for left in (small_disk / "runs").glob("*/*.safetensors"):
        left.unlink()
    with Study(SPACE, storage=path, **options) as again:
        known = again.history.trials
        assert told and all(known[one.number].steps[: len(one.steps)] == one.steps for one in told)
        before = again.history.results
        again.run(
            Sized(100),
            lambda c: c,
            Serial(isolate=False),
            Budget(again.history.starts + 2),
            folder=small_disk / "runs",
        )
        assert again.history.results > before


def test_the_quota_binds_where_no_step_names_what_was_saved(monkeypatch):
    """A loop that saves when it is told to stop, after its result is known."""
    quota, seen = 5 * SIZE, []
    monkeypatch.setattr("nas.study.share_of_disk", lambda folder: quota)

    def function(config, context):
        for epoch in range(context.start, context.horizon):
            context.report(epoch + 1, config["x"] + 1 / (epoch + 1))
            if context.stopping():
                (context.scratch / "weights.safetensors").write_bytes(bytes(SIZE))
                seen.append(sum(bytes_in(one) for one in context.scratch.parent.iterdir()))
                return

    study = Study(SPACE, strategy="random", scheduler="asha", ladder=LADDER, seed=1)
    study.optimize(function, trials=40)
    assert SIZE < max(seen) <= quota + SIZE  # one is written before the next look


def test_folders_of_what_saves_nothing_do_not_pile_up():
    seen = []

    def function(config, context):
        seen.append(len(list(context.scratch.parent.iterdir())))
        return config["x"]

    Study(SPACE, strategy="random", scheduler="full", ladder=LADDER[:1]).optimize(function, trials=100)
    assert max(seen) == FEW + 1
