"""Enqueued configurations: asked first, in order, completed by the strategy, kept over a resume."""

import numpy as np
import pytest

from estimators.estimator import Fidelity
from nas.strategy import strategies
from nas.study import Finished, Study
from search_spaces.space import Choice, Float, Int, Linear, Space

SPACE = Space(
    lr=Float(1e-4, 1, log=True), k=Int(1, 9), optimizer=Choice({"adam": None, "sgd": Space(m=Float(0, 1))})
)
DISCRETE = Space(
    a=Int(1, 4), b=Choice(tuple("xyz")), c=Choice({"off": None, "on": Space(d=Choice((True, False)))})
)


def loss(config):
    return config["k"] + config["lr"]


@pytest.mark.parametrize("strategy", strategies.names())
def test_the_queue_comes_first_and_in_order(strategy):
    study = Study(DISCRETE, strategy=strategy, seed=0)
    whole = {"a": 3, "b": "y", "c": "off"}
    study.enqueue(whole)
    study.enqueue({"a": 2})
    study.enqueue({"c.on.d": False})
    study.optimize(lambda config: float(config["a"]), trials=1000 if strategy in ("grid", "random") else 5)
    first, second, third = (trial.config for trial in study.trials[:3])
    assert dict(first) == whole and second["a"] == 2 and third["c"] == "on" and third["c.on.d"] is False
    assert len(study.trials) == len({trial.key for trial in study.trials})
    assert len(study.trials) == 5 or (study.exhausted and len(study.trials) == DISCRETE.size)


def test_the_rest_is_what_the_strategy_proposes():
    study = Study(SPACE, strategy="random", seed=0)
    study.enqueue({"k": 7})
    config = study.ask().config
    assert config == SPACE.default({"k": 7})  # trial 0 is the default, elsewhere
    study.enqueue({"optimizer.sgd.m": 0.25})
    assert study.ask().config["optimizer"] == "sgd"


def test_values_become_plain_ones_of_their_range():
    study = Study(SPACE, strategy="random")
    study.enqueue({"lr": 1, "k": np.int64(4)})
    config = study.ask().config
    assert type(config["lr"]) is float and config["lr"] == 1.0 and type(config["k"]) is int


def test_what_was_started_is_skipped_with_a_note():
    study = Study(SPACE, strategy="random", seed=0)
    whole = {"lr": 0.1, "k": 3, "optimizer": "adam"}
    study.enqueue(whole)
    study.enqueue(whole)
    study.enqueue({"k": 5})
    assert dict(study.ask().config) == whole and study.ask().config["k"] == 5
    assert study.history.events["skipped"] == whole


def test_the_queue_outlives_the_process(tmp_path):
    def search(path, stops):
        for stop in stops:
            with Study(SPACE, strategy="evolution", seed=1, storage=path) as study:
                if not study.trials:
                    for k in (4, 8, 2):
                        study.enqueue({"k": k})
                study.optimize(loss, trials=stop - len(study.trials))
        return [trial.config for trial in study.trials]

    configs = search(tmp_path / "study.log", (1, 2, 6))
    assert [config["k"] for config in configs[:3]] == [4, 8, 2]
    assert configs == search(None, (6,))


def test_halving_starts_the_queue_on_its_lowest_rung():
    study = Study(
        SPACE, strategy="random", scheduler="halving", ladder=(Fidelity(1), Fidelity(3)), objectives=["loss"]
    )
    study.enqueue({"k": 7})
    trial = study.ask()
    assert trial.config["k"] == 7 and trial.asked.fidelity == Fidelity(1)


def test_space_constraints_hold_for_what_is_completed():
    space = Space(a=Float(0, 1), b=Float(0, 1), constraints=[Linear({"a": 1, "b": 1}, 1)])
    study = Study(space, strategy="random")
    for _ in range(4):
        study.enqueue({"a": 0.95})
        config = study.ask().config
        assert config["a"] == 0.95 and config["b"] <= 0.05 + 1e-9
    with pytest.raises(ValueError, match=r"no configuration with a=0.5, b=0.6 holds the constraints"):
        study.enqueue({"a": 0.5, "b": 0.6})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lrr": 0.1}, "no parameter 'lrr' in this space; did you mean 'lr'"),
        ({"lr": 7.0}, r"parameter 'lr': 7.0 lies outside \[0.0001, 1.0\]"),
        ({"lr": "high"}, "parameter 'lr': 'high' is not a finite number"),
        ({"k": 2.5}, "parameter 'k': 2.5 is not an integer"),
        (
            {"optimizer": "adam", "optimizer.sgd.m": 0.5},
            "'optimizer.sgd.m' is inactive with 'optimizer' at 'adam'; leave it out, or choose 'sgd'",
        ),
        (
            {"k": 9, "lr": 0.1, "optimizer": "adam"},
            "breaks params<=8: it has {'params': 9.0}; enqueue another",
        ),
        (3, "enqueue got 3; give a map from path to value"),
    ],
)
def test_what_is_wrong_is_named_and_not_enqueued(config, message):
    study = Study(
        SPACE,
        strategy="random",
        constraints=["params<=8"],
        measure=lambda c: {"params": float(c["k"])},
    )
    with pytest.raises(ValueError, match=message):
        study.enqueue(config)
    assert study.ask().config == SPACE.default()


def test_a_queue_does_not_outlast_the_space():
    study = Study(Space(a=Int(1, 2)), strategy="random")
    study.enqueue({"a": 2})
    study.enqueue({"a": 2})
    study.optimize(lambda config: 1.0)
    assert len(study.trials) == 2 and study.exhausted
    with pytest.raises(Finished):
        study.ask()


def test_what_was_enqueued_is_not_lost_when_it_cannot_be_started(tmp_path, monkeypatch):
    path = tmp_path / "study.log"
    with Study(SPACE, strategy="random", storage=path) as study:
        study.enqueue({"k": 7})
        study.enqueue({"k": 5})
        with monkeypatch.context() as patch:
            patch.setattr(study._storage, "append", _full)
            with pytest.raises(OSError, match="full"):
                study.ask()
        assert study.ask().config["k"] == 7
    with Study(SPACE, strategy="random", storage=path) as study:
        assert [study.ask().config["k"] for _ in range(2)] == [7, 5]


def _full(*rows):
    raise OSError(28, "the disk is full")


def test_what_was_enqueued_is_not_lost_when_the_strategy_raises():
    study = Study(SPACE, strategy="random")
    study.optimize(loss, trials=1)
    study.enqueue({"k": 7})
    propose, study.strategy.propose = study.strategy.propose, lambda *given: _full()
    with pytest.raises(OSError, match="full"):
        study.ask()
    study.strategy.propose = propose
    assert study.ask().config["k"] == 7
