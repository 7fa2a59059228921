"""What may import what, what a plug-in is, and what costs nothing."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import nas.strategies
import nas.trackers
import search_spaces.ops
from nas.executor import executors
from nas.exporter import exporters
from nas.scheduler import schedulers
from nas.storage import storages
from nas.strategy import strategies
from nas.tracker import trackers
from search_spaces.architecture import spaces
from search_spaces.op import ops
from search_spaces.registry import Registry

ROOT = Path(__file__).parents[1]


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import nas", {"torch", "sklearn", "scipy", "numpy", "tensorboard"}),
        ("import nas; nas.Study; nas.Space", {"torch", "sklearn", "scipy", "tensorboard"}),
        (
            "from nas.cli import main; main(['list'])",
            {"torch", "sklearn", "scipy", "tensorboard", "matplotlib"},
        ),
        ("from search_spaces.architecture import SearchSpace; import search_spaces.spaces.chain", {"torch"}),
    ],
)
def test_what_an_import_costs(code, absent):
    assert not modules_after(code) & absent


@pytest.mark.parametrize(
    "registry", [ops, spaces, strategies, schedulers, storages, executors, trackers, exporters]
)
def test_every_plugin_is_named_like_its_file_and_documented(registry):
    assert registry.names()
    for name in registry.names():
        plugin = registry.get(name)
        assert plugin.__module__.rsplit(".", 1)[1].replace("_", "-") == name
        assert plugin.__doc__ and sys.modules[plugin.__module__].__doc__


PLUGINS = {
    "op": (
        search_spaces.ops,
        ops,
        "twice",
        """
        from dataclasses import dataclass
        from search_spaces.op import Layer, Op, ops

        @ops.register("twice")
        @dataclass(frozen=True)
        class Twice(Op):
            def layers(self, *shapes):
                return (Layer.make("Tanh"), Layer.make("Tanh"))
        """,
    ),
    "strategy": (
        nas.strategies,
        strategies,
        "stubborn",
        """
        from nas.strategy import Strategy, strategies

        @strategies.register("stubborn")
        class Stubborn(Strategy):
            def propose(self, rng, index, pending):
                return self.problem.space.default()
        """,
    ),
    "tracker": (
        nas.trackers,
        trackers,
        "notes",
        """
        from nas.tracker import Tracker, trackers

        @trackers.register("notes")
        class Notes(Tracker):
            def started(self, trial): ...
            def logged(self, trial, step, best):
                with (self.folder / "notes.txt").open("a") as file:
                    file.write(f"{trial.number}\\n")
            def ended(self, trials, best, summary): ...
        """,
    ),
}


@pytest.mark.parametrize("kind", PLUGINS)
def test_a_plugin_is_one_file(kind, tmp_path, monkeypatch):
    package, registry, name, text = PLUGINS[kind]
    assert name not in registry.names()
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert name in registry.names()
    plugin = registry.get(name)
    monkeypatch.delitem(registry._entries, name)
    if kind == "op":
        assert plugin().expression((3, 4, 4)) == "nn.Sequential(nn.Tanh(), nn.Tanh())"
    if kind == "strategy":
        study = nas.Study(nas.Space(x=nas.Int(1, 5)), strategy=plugin)
        study.optimize(lambda config: config["x"], trials=5)
        assert len({trial.config for trial in study.trials}) == 5
    if kind == "tracker":
        study = nas.Study(nas.Space(x=nas.Int(1, 5)))
        study.trackers.append(plugin(tmp_path, study.problem))
        study.optimize(lambda config: config["x"], trials=2)
        assert (tmp_path / "notes.txt").read_text() == "0\n1\n"


def test_registry_messages(tmp_path, monkeypatch):
    registry: Registry = Registry("thing", "nas.strategies")
    registry.register("a")(int)
    with pytest.raises(ValueError, match=r"thing 'a' is registered twice: by .* rename one"):
        registry.register("a")(Path)
    with pytest.raises(ValueError, match=r"no thing 'evolutoin'; did you mean"):
        registry.get("evolutoin")


def test_the_floors_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_help_and_list_answer():
    for arguments in (["--help"], ["list"], ["list", "ops"], ["search", "--help"]):
        subprocess.run([Path(sys.executable).with_name("nas"), *arguments], capture_output=True, check=True)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
