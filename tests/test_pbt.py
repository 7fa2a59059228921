"""Population-based training: who is replaced, what a fork begins with, and kills that change nothing."""

import contextlib
import json
import re
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest

from estimators.estimator import Estimator, Fidelity, Result
from nas.checkpoints import base_of, folder_of, tidy
from nas.executor import Limits
from nas.executors.serial import Serial
from nas.folder import Settings
from nas.operators import perturbed
from nas.scheduler import Continue, Fork, Start, schedulers
from nas.schedulers.pbt import Pbt
from nas.status import status_of
from nas.strategy import strategies
from nas.study import Study
from nas.trial import Budget, Problem
from nas.wording import descent
from search_spaces.space import Choice, Float, Int, Space

LADDER = tuple(Fidelity(epochs) for epochs in range(1, 7))
SPACE = Space(rate=Float(0.1, 10.0, log=True), layers=Int(1, 4), kind=Choice(tuple("abc")))


class Walk(Estimator):
    """The weights are the list of all rates that they were trained with; the loss falls by their sum."""

    def __init__(self, failing=lambda config, epoch: False, forgetful=lambda config: False):
        self.failing, self.forgetful = failing, forgetful

    def evaluate(self, design, fidelity, context):
        learned = [] if context.checkpoint is None else json.loads(context.checkpoint.read_text())
        assert len(learned) == context.start
        if self.forgetful(design):  # it trains from the start, and saves nothing
            return Result(metrics={"loss": -fidelity.epochs * design["rate"]})
        curve = []
        for epoch in range(context.start, fidelity.epochs):
            if self.failing(design, epoch):
                return Result(error="nan: the loss is nan")
            learned.append(design["rate"])
            curve.append({"loss": -sum(learned)})
        name = f"epoch-{fidelity.epochs}.safetensors"
        (context.scratch / name).write_text(json.dumps(learned))
        return Result(metrics=curve[-1], curve=tuple(curve), checkpoint=name)


def searched(folder, trials=8, estimator=None, storage=None, **options):
    options = {"scheduler": "pbt", **options}
    study = Study(SPACE, strategy="random", ladder=LADDER, seed=2, storage=storage, **options)
    study.run(
        estimator or Walk(), lambda config: config, Serial(isolate=False), Budget(trials), folder=folder
    )
    return study


def test_the_worst_quarter_of_each_rung_goes_on_from_the_best(tmp_path):
    study = searched(tmp_path)
    forks = [trial for trial in study.trials if trial.fork]
    assert study.history.starts == 8 and len(forks) == 2 * 5  # at each rung but the last
    replaced = {fork.replaces for fork in forks}
    assert len(replaced) == len(forks)  # nobody twice
    for fork in forks:
        parent, loser = study.trials[fork.parent], study.trials[fork.replaces]
        epochs = fork.steps[0].start
        assert fork.steps[0].fidelity.epochs == epochs + 1 == loser.last.fidelity.epochs + 1
        best = min(trial_loss(study, trial, epochs) for trial in study.trials if reached(trial, epochs))
        assert trial_loss(study, parent, epochs) < loser.last.metrics["loss"] and best <= 0
        assert fork.lineage == parent.lineage and study.trials[fork.lineage].parent is None
        assert parent.number not in {one.replaces for one in forks if one.number <= fork.number}
    final = [t for t in study.trials if t.last.fidelity == LADDER[-1]]
    assert len(final) == 8 and study.best.number in {trial.number for trial in final}
    assert study.best.lineage != study.best.number  # forks win where rates may grow


def reached(trial, epochs):
    return any(step.fidelity.epochs == epochs for step in trial.steps)


def trial_loss(study, trial, epochs):
    return next(step.metrics["loss"] for step in trial.steps if step.fidelity.epochs == epochs)


def test_weights_of_a_fork_are_those_of_its_parent(tmp_path):
    """What it has learned are the rates of its ancestors up to each fork, then its own."""
    study = searched(tmp_path)

    def learned(trial, epochs):
        begin = trial.steps[0].start
        before = learned(study.trials[trial.parent], begin) if trial.fork else []
        return before + [trial.config["rate"]] * (epochs - begin)

    for trial in (one for one in study.trials if one.last.fidelity == LADDER[-1]):
        path = tmp_path / folder_of(trial) / trial.last.checkpoint
        assert json.loads(path.read_text()) == learned(trial, LADDER[-1].epochs)


def test_a_stored_population_is_the_one_that_ran(tmp_path):
    study = searched(tmp_path, storage=tmp_path / "study.log")
    study.close()
    with Study(
        SPACE, strategy="random", scheduler="pbt", ladder=LADDER, seed=2, storage=tmp_path / "study.log"
    ) as again:
        assert again.trials == study.trials and again.history.starts == 8
        assert again.strategy.trials.keys() == {t.number for t in again.trials if not t.fork}
        for fork in (trial for trial in again.trials if trial.fork):  # asked again, at its moment
            before = {n: _before(t, fork) for n, t in again.history.trials.items() if n < fork.number}
            due = again.scheduler.ask(before, [], may_start=False)
            assert due == Fork(fork.parent, fork.config, fork.steps[0].fidelity, fork.replaces)


def _before(trial, fork):
    return replace(trial, steps=tuple(s for s in trial.steps if s.index < fork.steps[0].index))


def test_what_failed_is_replaced_and_is_no_parent(tmp_path):
    """The fastest diverge in their third epoch: they are the best until then."""
    study = searched(tmp_path, estimator=Walk(lambda config, epoch: epoch >= 2 and config["rate"] > 3))
    failed = {trial.number for trial in study.trials if trial.failed}
    assert failed
    for fork in (trial for trial in study.trials if trial.fork):
        step = study.trials[fork.parent].steps
        assert not any(s.error for s in step if s.index < fork.steps[0].index)
    tops = [trial for trial in study.trials if not trial.failed and trial.last.fidelity == LADDER[-1]]
    assert len(tops) == 8


def test_what_always_fails_ends(tmp_path):
    study = searched(tmp_path, estimator=Walk(lambda config, epoch: True))
    assert len(study.trials) == 8 and all(trial.failed for trial in study.trials)


def test_a_fork_in_flight_keeps_what_it_begins_from(tmp_path):
    """The parent is trained on while the fork waits; its older checkpoint must stay."""
    study = Study(SPACE, strategy="random", scheduler="pbt", ladder=LADDER, seed=2)
    executor, estimator = Serial(isolate=False), Walk()

    def land(trial):
        task = study.task(trial, estimator, lambda c: c, tmp_path, Limits(), {})
        return study.land(trial, executor.submit(task).result(), tmp_path)

    while not (trial := study.ask()).fork:
        land(trial)
    parent = study.trials[trial.parent]
    base = base_of(trial, study.history.trials)
    assert base == (parent, parent.last) and trial.asked.start == parent.last.fidelity.epochs
    study._handed.add(parent.number)
    moved = study._begin(Continue(parent.number, LADDER[trial.asked.start]))
    land(moved)
    assert base_of(trial, study.history.trials)[1] == parent.last
    assert (tmp_path / folder_of(parent) / parent.last.checkpoint).exists()
    child = land(trial)
    learned = json.loads((tmp_path / folder_of(child) / child.last.checkpoint).read_text())
    assert learned == [parent.config["rate"]] * trial.asked.start + [child.config["rate"]]
    land(study._begin(Continue(moved.number, LADDER[trial.asked.start + 1])))
    assert not (tmp_path / folder_of(parent) / parent.last.checkpoint).exists()


def test_a_fork_whose_base_is_gone_begins_afresh(tmp_path):
    study = Study(SPACE, strategy="random", scheduler="pbt", ladder=LADDER, seed=2)
    executor, estimator = Serial(isolate=False), Walk()
    while not (trial := study.ask()).fork:
        task = study.task(trial, estimator, lambda c: c, tmp_path, Limits(), {})
        study.land(trial, executor.submit(task).result(), tmp_path)
    for path in tmp_path.glob("*/*.safetensors"):
        path.unlink()
    task = study.task(trial, estimator, lambda c: c, tmp_path, Limits(), {})
    child = study.land(trial, executor.submit(task).result(), tmp_path)
    assert child.last.start == 0 and len(child.last.curve) == child.last.fidelity.epochs


def test_a_fork_is_repeated_from_scratch(tmp_path):
    study = searched(tmp_path)
    fork = next(trial for trial in study.trials if trial.fork)
    repeat = study.repeat(fork.number, 1, LADDER[-1])
    assert not repeat.fork and repeat.config == fork.config and repeat.lineage == fork.lineage
    assert repeat.asked.start == 0 and base_of(repeat, study.history.trials) is None
    assert study.history.starts == 8 and repeat.number not in study.searched


def test_nobody_waits_for_a_straggler():
    """With the others through, one member is still in its first step."""
    study = Study(SPACE, strategy="random", scheduler="pbt", ladder=LADDER, seed=2)
    straggler = study.ask()
    for _ in range(7 + 7 * 5):
        trial = study.ask()
        study.tell(trial, -trial.config["rate"] * trial.asked.fidelity.epochs)
    done = [trial for trial in study.trials if trial.last and trial.last.fidelity == LADDER[-1]]
    assert len(done) == 7 and study.trials[straggler.number].asked is not None


@pytest.mark.parametrize("size", [3, 8.5, 8.0, "8", True])
def test_a_population_needs_a_quarter(size):
    strategy = strategies.get("random")(Problem(SPACE), seed=0)
    rule = f"pbt: size={size!r} has no worst quarter; give a whole number of 4 or more"
    with pytest.raises(ValueError, match=re.escape(rule)):
        schedulers.get("pbt")(strategy, LADDER, size=size)
    assert schedulers.get("pbt").spacing == "even"


@pytest.mark.slow
@pytest.mark.parametrize("fixed", ["architecture", ("layers", 3), 3])
def test_what_is_fixed_is_a_sequence_of_paths(fixed):
    strategy = strategies.get("random")(Problem(SPACE), seed=0)
    rule = f"pbt: fixed={fixed!r}; give a sequence of paths, for example ('architecture',)"
    with pytest.raises(ValueError, match=re.escape(rule)):
        schedulers.get("pbt")(strategy, LADDER, fixed=fixed)


def test_who_saves_nothing_is_no_parent(tmp_path):
    """Nobody has a checkpoint: all members simply go on. With some that do, only they lend."""
    study = Study(SPACE, strategy="random", scheduler="pbt", ladder=LADDER, seed=2)
    study.optimize(lambda config, context: -config["rate"] * context.epochs, trials=8)
    assert len(study.trials) == 8 and all(len(trial.steps) == len(LADDER) for trial in study.trials)
    some = searched(tmp_path, estimator=Walk(forgetful=lambda config: config["kind"] != "a"))
    forks = [trial for trial in some.trials if trial.fork]
    assert forks and all(some.trials[fork.parent].config["kind"] == "a" for fork in forks)


def test_constraints_hold_for_forks(tmp_path):
    """The bound is just above the best, from which most forks begin: every second draw breaks it."""
    fastest = max(trial.config["rate"] for trial in searched(tmp_path / "free").trials if not trial.fork)
    options = {
        "constraints": [f"rate<={1.01 * fastest}"],
        "measure": lambda config: {"rate": config["rate"]},
    }
    study = searched(tmp_path / "bound", **options)
    assert max(trial.config["rate"] for trial in study.trials if not trial.fork) == fastest
    assert any(trial.fork for trial in study.trials)
    assert all(trial.config["rate"] <= 1.01 * fastest for trial in study.trials)


def test_parents_are_of_the_best_quarter(tmp_path):
    """Of those that stood on the rung when the fork was asked for, and had not been replaced."""
    study = searched(tmp_path, trials=16)
    forks = [trial for trial in study.trials if trial.fork]
    starts = [trial.number for trial in study.trials if not trial.fork]
    populations = {number: place // 8 for place, number in enumerate(starts)}
    assert len(forks) == 20
    for fork in forks:
        first = fork.steps[0]
        population = [
            trial for trial in study.trials if populations[trial.lineage] == populations[fork.lineage]
        ]
        stood = [
            t
            for t in population
            if any(s.index < first.index and s.fidelity.epochs == first.start for s in t.steps)
        ]
        stood.sort(key=lambda trial: trial_loss(study, trial, first.start))
        gone = {one.replaces for one in forks if one.number < fork.number}
        best = [trial.number for trial in stood if trial.number not in gone]
        assert fork.parent in best[: max(len(stood) // 4, 1)]


def test_what_is_fixed_is_that_of_the_parent(tmp_path):
    def scheduler(strategy, ladder):
        return Pbt(strategy, ladder, fixed=("layers", "kind"))

    study = searched(tmp_path, scheduler=scheduler)
    forks = [trial for trial in study.trials if trial.fork]
    assert len(forks) == 10
    for fork in forks:
        parent = study.trials[fork.parent].config
        assert all(fork.config[path] == parent[path] for path in ("layers", "kind"))


def test_what_a_fork_in_flight_begins_from_is_not_tidied(tmp_path):
    study = Study(SPACE, strategy="random", scheduler="pbt", ladder=LADDER, seed=2)
    executor, estimator = Serial(isolate=False), Walk()
    while not (trial := study.ask()).fork:
        task = study.task(trial, estimator, lambda c: c, tmp_path, Limits(), {})
        last = study.land(trial, executor.submit(task).result(), tmp_path)
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 8
    tidy(study.history, last, tmp_path, kept=set)
    parent = study.trials[trial.parent]
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.safetensors")] == [
        f"{folder_of(parent)}/{parent.last.checkpoint}"
    ]


def test_what_is_perturbed_and_how():
    space = Space(
        architecture=Space(depth=Int(1, 9), width=Choice((8, 16, 32), ordered=True)),
        recipe=Space(
            lr=Float(1e-3, 1e-1, log=True),
            erase=Float(0.0, 0.5),
            epochs=Int(1, 100, step=3),
            batch=Choice((16, 32, 64, 128), ordered=True),
            optimizer=Choice({"sgd": Space(momentum=Float(0, 1)), "adam": None}),
        ),
    )
    rng = np.random.default_rng(0)
    config = space.complete(
        {"recipe.lr": 1e-2, "recipe.erase": 0.0, "recipe.epochs": 4, "recipe.batch": 32}, rng
    )
    found = [perturbed(space, config, rng, fixed=("architecture",)) for _ in range(400)]
    assert all(one.part("architecture") == config.part("architecture") for one in found)
    assert {round(one["recipe.lr"], 6) for one in found} == {0.008, 0.012}
    assert {round(one["recipe.erase"], 6) for one in found} == {0.0, 0.1}
    assert {one["recipe.epochs"] for one in found} == {1, 7}
    batches = [one["recipe.batch"] for one in found]
    assert set(batches) == {16, 32, 64} and 0.15 < sum(b != 32 for b in batches) / 400 < 0.35
    assert {one["recipe.optimizer"] for one in found} == {"sgd", "adam"}
    assert all(one.keys() == space.complete(one, rng).keys() for one in found)


KILLED = textwrap.dedent(
    """
    import hashlib, os, signal, sys
    from pathlib import Path
    from types import SimpleNamespace

    import torch
    from torch import nn

    from estimators import train
    from estimators.checkpoint import load
    from estimators.estimator import Fidelity
    from estimators.loop import Training
    from nas.executors.serial import Serial
    from nas.study import Study
    from nas.trial import Budget
    from search_spaces.space import Choice, Float, Space

    SPACE = Space(
        optimizer=Choice({"sgd": Space(lr=Float(0.01, 0.5, log=True), momentum=Float(0.5, 0.95)),
                          "adamw": Space(lr=Float(1e-3, 1e-2, log=True), weight_decay=Float(1e-4, 0.1, log=True))}),
        batch_size=Choice((32, 64), ordered=True), ema=Choice((None, 0.9)), schedule=Choice(("cosine", "wsd")),
    )

    def network(seed):
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
        return nn.Sequential(*layers)

    def decode(config):
        return SimpleNamespace(config=config, recipe=config, shape=(1, 8, 8), classes=10, network=network)

    count, limit = 0, 0

    def point(call):
        def counted(*arguments, **more):
            global count
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)
        return counted

    Study._append, Training.epoch = point(Study._append), point(Training.epoch)
    train.checkpoints.save = point(train.checkpoints.save)

    def search(folder):
        ladder = tuple(Fidelity(epochs) for epochs in range(1, 6))
        with Study(SPACE, objectives=["accuracy"], strategy="random", scheduler="pbt", ladder=ladder, seed=4,
                   storage=folder / "study.log") as study:
            study.run(train.TrainEstimator(sys.argv[1], precision="float32"), decode, Serial(isolate=False), Budget(8),
                      folder=folder)
            for trial in study.trials:
                print(trial.number, trial.config, trial.parent, trial.lineage, trial.replaces)
                for step in trial.steps:
                    print("  ", step.start, step.fidelity, step.curve, step.error, step.checkpoint)
            for path in sorted(folder.glob("*/*.safetensors")):
                groups = load(path).groups
                tensors = [t.numpy().tobytes() for g in sorted(groups) for _, t in sorted(groups[g].items())]
                print(path.parent.name, path.name, hashlib.sha256(b"".join(tensors)).hexdigest())
        sys.stdout.flush()

    def forked(folder, at):
        global count, limit
        count, limit = 0, at
        if (pid := os.fork()) == 0:
            with open(folder / "out.txt", "w") as sys.stdout:
                search(folder)
            os._exit(0)
        return os.waitpid(pid, 0)[1]

    torch.set_num_threads(1)
    whole, killed = Path(sys.argv[2]) / "whole", Path(sys.argv[2]) / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert forked(whole, 0) == 0
    kills = 0
    for at in (3, 14, 17, 9, 21, 26, 12, 19, 23, 16):
        kills += forked(killed, at) == signal.SIGKILL
    assert forked(killed, 0) == 0
    print(kills, (whole / "out.txt").read_text() == (killed / "out.txt").read_text())
    print((whole / "out.txt").read_text())
    """
)


@pytest.mark.slow
def test_killed_at_ten_points_the_population_is_the_same(digits, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(digits), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head == "10 True"
    trials = [line.split()[-3:] for line in lines if line[:1].isdigit()]
    assert len(trials) > 8 and sum(replaces != "None" for *_, replaces in trials) == len(trials) - 8
    assert len([line for line in lines if line.startswith("trial-")]) >= 8


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    from sklearn.datasets import load_digits

    from estimators.dataset import Dataset, save
    from estimators.split import Split

    x, y = load_digits(return_X_y=True)
    x, y = (x * 15.9).astype(np.uint8).reshape(-1, 1, 8, 8), y.astype(np.int64)
    parts = Split(x[:200], y[:200]), Split(x[200:300], y[200:300]), Split(x[300:350], y[300:350])
    return save(Dataset("digits", *parts, tuple("0123456789")), tmp_path_factory.mktemp("data") / "digits")


class Striking:
    """A user's own loop whose weights are the rates that it saw; its ``at``-th save is followed by an interruption."""

    def __init__(self, name, at=0):
        self.name, self.at, self.saves, self.wrong = name, at, 0, []

    def __call__(self, config, context):
        learned = json.loads(context.checkpoint.read_text()) if context.checkpoint else []
        self.wrong += [learned] if len(learned) != context.start else []
        for epoch in range(context.start, context.horizon):
            learned = [*learned, config["rate"]]
            time.sleep(0.005)  # as the clock of files may tick
            (context.scratch / f"{self.name.format(epoch)}.safetensors").write_text(json.dumps(learned))
            self.saves += 1
            if self.saves == self.at:
                raise KeyboardInterrupt
            context.report(epoch + 1, -sum(learned))
            if context.stopping():
                return


@pytest.mark.parametrize("name", ["epoch-{}", "weights"])
def test_a_loop_of_ones_own_resumes_as_the_population_that_ran(tmp_path, name):
    def optimized(loop, trials, storage=None):
        options = {"strategy": "random", "scheduler": "pbt", "ladder": LADDER, "seed": 2, "storage": storage}
        with Study(SPACE, **options) as study:
            with contextlib.suppress(KeyboardInterrupt):
                study.optimize(loop, trials=trials)
            return [[step.metrics for step in trial.steps] for trial in study.trials]

    whole = optimized(Striking(name), 8)
    for at in (18, 29, 41):
        store = tmp_path / f"study-{at}.log"
        optimized(Striking(name, at), 8, store)
        loop = Striking(name)
        again = optimized(loop, 0, store)
        assert loop.wrong == []
        assert name == "weights" or again == whole  # else what was written over is trained from the start
        folder = tmp_path / f"study-{at}-checkpoints"
        assert list(folder.glob("trial-*/*.safetensors")) and all(
            any(one.iterdir()) for one in folder.iterdir()
        )


def test_a_store_without_checkpoints_has_no_folder_of_them(tmp_path):
    with Study(SPACE, strategy="random", storage=tmp_path / "study.log") as study:
        study.optimize(lambda config: config["rate"], trials=2)
    assert [path.name for path in tmp_path.iterdir()] == ["study.log"]


def test_forks_are_no_starts_in_the_status(tmp_path):
    study = searched(tmp_path, estimator=Walk(lambda config, epoch: epoch >= 2 and config["rate"] > 3))
    settings = Settings("digits", trials=8, ladder=tuple((one.epochs, 1.0, 1.0) for one in LADDER))
    about = {"state": "finished", "seconds": 1.0, "best": tmp_path}
    status = status_of(study.trials, study.problem, {}, settings, **about)
    counts, forks = status["trials"], sum(trial.fork for trial in study.trials)
    assert counts["finished"] + counts["failed"] == 8 and counts["forks"] == forks > 0
    best = study.best
    assert best.fork and (status["best"]["parent"], status["best"]["lineage"]) == (best.parent, best.lineage)
    assert (
        descent(status["best"]) == f"  (forked from trial {best.parent}, descends from trial {best.lineage})"
    )
    starts = [trial for trial in study.trials if not trial.fork]
    plain = status_of(starts, study.problem, {}, settings, **about)
    assert "forks" not in plain["trials"] and descent(plain["best"]) == ""


def test_populations_that_are_through_are_not_looked_at_again(tmp_path, monkeypatch):
    study = searched(tmp_path, trials=24)
    assert study.history.starts == 24
    looked = []
    due = Pbt._due
    monkeypatch.setattr(
        Pbt, "_due", lambda self, members, index: looked.append(1) or due(self, members, index)
    )
    action = study.scheduler.ask(study.searched, [], may_start=True)
    assert isinstance(action, Start) and looked == []
    fork = next(trial for trial in study.trials if trial.fork)  # and as it was earlier, it is looked at
    before = {n: _before(t, fork) for n, t in study.history.trials.items() if n < fork.number}
    assert isinstance(study.scheduler.ask(before, [], may_start=False), Fork) and looked
