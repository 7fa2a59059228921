"""What TensorBoard itself reads back over HTTP, and what the terminal shows."""

import io
import json
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from estimators.estimator import Fidelity
from nas.executor import Limits
from nas.picture import picture
from nas.study import Study
from nas.trackers.tensorboard import TensorBoard
from nas.trackers.terminal import Terminal
from search_spaces.space import Choice, Float, Int, Space
from search_spaces.spaces.chain import Chain

SPACE = Space(
    lr=Float(1e-4, 1e-1, log=True),
    depth=Int(1, 4),
    norm=Choice((True, False)),
    ema=Choice((None, 0.9, 0.99), ordered=True),
    kind=Choice({"plain": None, "own": Space(k=Int(1, 5))}),
)


def curve(config, context):
    if config["depth"] == 4:
        raise RuntimeError("too deep")
    for epoch in range(context.start, context.epochs):
        context.report(epoch + 1, {"accuracy": 1 - config["lr"] - 0.5 / (epoch + 1), "loss": 1 / (epoch + 1)})
        if context.stopping():
            return


def chain_png(config):
    chain = Chain((1, 8, 8), 10)
    return picture(chain.decode(chain.space.default(), chain.shape), (1, 8, 8))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    study = Study(
        SPACE,
        objectives=["accuracy"],
        strategy="random",
        scheduler="halving",
        ladder=(Fidelity(1), Fidelity(3), Fidelity(9)),
    )
    study.trackers.append(TensorBoard(folder, study.problem, draw=chain_png))
    study.optimize(curve, trials=40)
    # a second process goes on with the same folder
    study.trackers[:] = [TensorBoard(folder, study.problem, resumed=True, draw=chain_png)]
    study.optimize(curve, trials=20)
    study.end({"state": "finished", "test": {"accuracy": 0.5}})
    assert "tracker failed" not in study.history.events
    return folder, study


@pytest.fixture(scope="module")
def http(run):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard import program
        from tensorboard.backend import application
        from tensorboard.plugins.core import core_plugin
        from tensorboard.plugins.hparams import hparams_plugin
        from tensorboard.plugins.image import images_plugin
        from tensorboard.plugins.scalar import scalars_plugin
        from werkzeug.test import Client

        plugins = [
            core_plugin.CorePluginLoader(),
            hparams_plugin.HParamsPlugin,
            images_plugin.ImagesPlugin,
            scalars_plugin.ScalarsPlugin,
        ]
        board = program.TensorBoard(plugins=plugins)
        board.configure(
            logdir=str(run[0] / "tensorboard"), reload_interval=0, load_fast="false", reload_multifile=True
        )
        ingester = board._make_data_ingester()
        ingester.start()
        client = Client(
            application.TensorBoardWSGIApp(
                board.flags, board.plugin_loaders, ingester.data_provider, board.assets_zip_provider
            )
        )

        def get(path, data=None):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = client.post(path, json=data) if data else client.get(path)
            assert answer.status_code == 200, answer.get_data()
            return json.loads(answer.get_data())

        yield get


def test_one_experiment_names_all_parameters(http):
    experiment = http("/data/plugin/hparams/experiment", {"experimentName": ""})
    assert {one["name"] for one in experiment["hparamInfos"]} == {slot.path for slot in SPACE.slots}
    assert {one["name"]["tag"] for one in experiment["metricInfos"]} >= {"accuracy", "loss", "params"}


def test_every_trial_with_parameters_status_and_metrics(run, http):
    _, study = run
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": {"tag": "accuracy"}}],
        "startIndex": 0,
        "sliceSize": 1000,
    }
    groups = {
        group["name"]: group
        for group in http("/data/plugin/hparams/session_groups", request)["sessionGroups"]
    }
    assert len(groups) == len(study.trials) == 60
    failed = 0
    for trial in study.trials:
        group = groups[f"trial-{trial.number:04d}"]
        assert set(group["hparams"]) == set(trial.config)
        assert group["hparams"]["lr"] == pytest.approx(trial.config["lr"])
        assert group["hparams"]["norm"] is trial.config["norm"]
        (session,) = group["sessions"]
        assert session["status"] == ("STATUS_FAILURE" if trial.failed else "STATUS_SUCCESS")
        failed += trial.failed
        if not trial.failed:
            values = {one["name"]["tag"]: one["value"] for one in session["metricValues"]}
            assert values["accuracy"] == pytest.approx(trial.metrics["accuracy"], rel=1e-6)
    assert 0 < failed < 60


def test_scalars_by_epoch_and_the_best_so_far(run, http):
    _, study = run
    full = next(trial for trial in study.trials if len(trial.steps) == 3)
    path = f"/data/plugin/scalars/scalars?tag=accuracy&run=trial-{full.number:04d}"
    rows = http(path)
    assert [row[1] for row in rows] == list(range(1, 10))
    expected = [point["accuracy"] for point in full.steps[-1].curve]
    np.testing.assert_allclose([row[2] for row in rows], expected, rtol=1e-6)
    best = [row[2] for row in http("/data/plugin/scalars/scalars?tag=best/accuracy&run=.")]
    assert best[-1] == pytest.approx(study.best.metrics["accuracy"], rel=1e-6)
    assert http("/data/plugin/images/images?tag=best/network&run=.&sample=0")


def patient(config, context):
    """Report an epoch, and go on only once the engine has heard of it."""
    for epoch in (1, 2):
        context.report(epoch, {"accuracy": epoch / 4, "loss": 1.0})
        heard, end = Path(os.environ["HEARD"]) / str(epoch), time.monotonic() + 30
        while not heard.exists():
            assert time.monotonic() < end, "the engine heard nothing"
            time.sleep(0.01)


class Hearing(TensorBoard):
    def reported(self, trial, epoch, metrics):
        super().reported(trial, epoch, metrics)
        (self.folder / str(epoch)).touch()


def points(folder, tag="accuracy"):
    events = (one for path in sorted(folder.glob("events.*")) for one in EventFileLoader(str(path)).Load())
    return [(event.step, value.tag) for event in events for value in event.summary.value if value.tag == tag]


def test_epochs_appear_while_the_step_runs_and_once_only(tmp_path, monkeypatch):
    monkeypatch.setenv("HEARD", str(tmp_path))
    monkeypatch.setattr("nas.study.FOLLOW", 0.05)
    study = Study(SPACE, objectives=["accuracy"], strategy="random", ladder=(Fidelity(2),))
    study.trackers.append(Hearing(tmp_path, study.problem))
    best = study.optimize(patient, trials=1, limits=Limits(seconds=60))
    assert best is not None and len(best.steps[0].curve) == 2
    assert "tracker failed" not in study.history.events
    folder = tmp_path / "tensorboard" / "trial-0000"
    assert points(folder) == [(1, "accuracy"), (2, "accuracy")]
    later = TensorBoard(tmp_path, study.problem, resumed=True)  # told again by the resume of a killed search
    for epoch in (1, 2, 3):
        later.reported(best, epoch, {"accuracy": 0.5})
    assert [epoch for epoch, _ in points(folder)] == [1, 2, 3]


def test_a_picture_is_a_png():
    assert chain_png(None).startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_the_terminal(terminal, tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    study = Study(SPACE, objectives=["accuracy"], strategy="random", seed=4)
    study.trackers.append(Terminal(tmp_path, study.problem, seconds=60.0, trials=20, console=console))
    study.optimize(curve, trials=12)
    live = study.trackers[0].__rich__().plain
    assert "12 started" in live and "left" in live and len(live) <= 100
    study.end({"state": "finished"})
    text = out.getvalue()
    assert "best so far" in text and "failed: exception: RuntimeError: too deep" in text
    assert f"best of the search: trial {study.best.number}" in text
    assert ("\x1b[" in text) == terminal
    if not terminal:
        assert all(len(line) <= 100 for line in text.splitlines())


def test_a_final_training_is_told_apart(tmp_path):
    out = io.StringIO()
    study = Study(SPACE, objectives=["accuracy"], strategy="random")
    terminal = Terminal(tmp_path, study.problem, console=Console(file=out, width=100))
    trial = study.ask()
    trial = study.tell(trial, 0.5)
    terminal.logged(replace(trial, replicate=1, parent=0), trial.last, trial)
    assert "final    0" in out.getvalue()


def test_the_terminal_of_a_resume_counts_what_was_started_before(tmp_path):
    study = Study(SPACE, objectives=["accuracy"], strategy="random", seed=4)
    study.optimize(curve, trials=5)
    begun = [trial.number for trial in study.trials]
    study.trackers.append(
        Terminal(tmp_path, study.problem, trials=8, begun=begun, console=Console(file=io.StringIO()))
    )
    terminal = study.trackers[0]
    terminal.started(study.trials[4])  # it was unfinished
    assert "5 started  0.0 a minute" in terminal.__rich__().plain
    study.optimize(curve, trials=2)
    terminal._began -= 60.0
    assert "7 started  1 failed  2.0 a minute  0:01:00  about 0:00:30" in terminal.__rich__().plain
