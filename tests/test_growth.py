"""A space that grows between two openings of a study, and what is no growth."""

import json

import pytest

from nas.strategy import strategies
from nas.study import Study
from search_spaces.space import Choice, Float, Int, Linear, Space

SMALL = {"x": Float(0, 1), "k": Int(1, 3), "o": Choice({"adam": None, "sgd": None})}
OPTIONS = {"adam": None, "sgd": Space(m=Float(0, 1, default=0.9)), "lion": Space(beta=Float(0, 1))}
LARGE = {"x": Float(-1, 2), "k": Int(1, 5), "o": Choice(OPTIONS), "depth": Int(1, 8, default=2)}


def loss(config):
    return (config["x"] - 0.3) ** 2 + config["k"]


def begun(path, strategy="random", trials=12):
    with Study(Space(**SMALL), strategy=strategy, storage=path, seed=0) as study:
        study.optimize(loss, trials=trials)
        return [trial.config for trial in study.trials]


@pytest.mark.parametrize("strategy", [name for name in strategies.names() if name != "grid"])
def test_old_trials_get_the_default_of_what_is_new(strategy, tmp_path):
    path = tmp_path / "study.log"
    before = begun(path, strategy)
    with Study(Space(**LARGE), strategy=strategy, storage=path, seed=0) as study:
        for old, trial in zip(before, study.trials, strict=True):
            assert trial.config["depth"] == 2 and {path: trial.config[path] for path in old} == dict(old)
            assert trial.config.get("o.sgd.m", 0.9) == 0.9 and ("o.sgd.m" in trial.config) == (
                old["o"] == "sgd"
            )
            assert study.problem.space.check(trial.config) and trial.key == trial.config.id
        study.optimize(loss, trials=4)
        after = study.trials
    assert len({trial.key for trial in after}) == 16
    with Study(Space(**LARGE), strategy=strategy, storage=path, seed=0) as study:
        assert study.trials == after
        assert set(study.strategy.trials) == set(range(16))


def test_growth_resumed_is_growth_in_one_go(tmp_path):
    def grown(path, steps):
        begun(path, "evolution")
        for trials in steps:
            with Study(Space(**LARGE), strategy="evolution", storage=path, seed=0) as study:
                study.optimize(loss, trials=trials)
        return [trial.config for trial in study.trials]

    assert grown(tmp_path / "a.log", [20]) == grown(tmp_path / "b.log", [3, 9, 8])


def test_values_once_given_stay_when_a_default_changes(tmp_path):
    path = tmp_path / "study.log"
    begun(path)
    Study(Space(**LARGE), strategy="random", storage=path).close()
    later = {**LARGE, "depth": Int(1, 16, default=9), "w": Float(0, 1)}
    with Study(Space(**later), strategy="random", storage=path) as study:
        assert all(trial.config["depth"] == 2 and trial.config["w"] == 0.5 for trial in study.trials)


def test_the_store_tells_of_the_new_space(tmp_path):
    path = tmp_path / "study.log"
    begun(path)
    Study(Space(**LARGE), strategy="random", storage=path).close()
    rows = [json.loads(line[line.index("{") :]) for line in path.read_text().splitlines()[1:]]
    first, second = [row["parameters"] for row in rows if row["kind"] == "study"]
    assert first["k"] == repr(SMALL["k"]) and second["k"] == repr(LARGE["k"])
    assert "depth" not in first and second["o"] == "Choice(['adam', 'sgd', 'lion'])"
    Study(Space(**LARGE), strategy="random", storage=path).close()
    assert len(path.read_text().splitlines()) == len(rows) + 1


def test_a_constraint_narrows_and_keeps_what_there_was(tmp_path):
    path = tmp_path / "study.log"
    before = begun(path)
    with Study(Space(**SMALL, constraints=[Linear({"x": 1}, 0.4)]), strategy="random", storage=path) as study:
        assert [trial.config for trial in study.trials] == before
        study.optimize(loss, trials=10)
        assert all(trial.config["x"] <= 0.4 for trial in study.trials[12:])


def test_an_exhausted_study_goes_on_when_its_space_has_grown(tmp_path):
    path = tmp_path / "study.log"
    for options, count in (("ab", 2), ("abc", 3)):
        with Study(Space(a=Choice(tuple(options))), strategy="random", storage=path) as study:
            assert not study.exhausted
            study.optimize(lambda config: 1.0)
            assert len(study.trials) == count and study.exhausted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": Int(1, 2)}, r"its trial \d+ has k=3, which does not fit any more: 3 lies outside \[1, 2\]"),
        ({"k": Float(1, 3.5)}, None),  # every integer is a number of the range
        (
            {"o": Choice(("adam",))},
            r"has o='sgd', which does not fit any more: 'sgd' is not one of \['adam'\]",
        ),
        ({"k": None}, r"its trial 0 has k=2, which is no parameter of this space"),
        ({"x": Choice({"a": Space(x=Float(0, 1))})}, r"its trial 0 has x=0.5, which does not fit any more"),
    ],
)
def test_what_is_taken_away_makes_another_study(change, message, tmp_path):
    path = tmp_path / "study.log"
    begun(path)
    content = path.read_bytes()
    space = Space(**{name: part for name, part in {**SMALL, **change}.items() if part is not None})
    if message is None:
        Study(space, strategy="random", storage=path).close()
        return
    with pytest.raises(ValueError, match=message + r".*a space may grow, not shrink"):
        Study(space, strategy="random", storage=path)
    assert path.read_bytes()[160:] == content[160:]
    Study(Space(**SMALL), strategy="random", storage=path).close()


def test_what_waits_in_the_queue_must_fit_too(tmp_path):
    path = tmp_path / "study.log"
    with Study(Space(**SMALL), strategy="random", storage=path) as study:
        study.enqueue({"k": 3})
    with pytest.raises(ValueError, match=r"a configuration waits in it whose parameter 'k': 3 lies outside"):
        Study(Space(x=Float(0, 1), k=Int(1, 2)), strategy="random", storage=path)


def test_a_value_given_at_a_growth_must_fit_too(tmp_path):
    path = tmp_path / "study.log"
    begun(path)
    Study(Space(**LARGE), strategy="random", storage=path).close()
    with pytest.raises(
        ValueError, match=r"its trial 0 has depth=2, which does not fit any more: 2 lies outside"
    ):
        Study(Space(**{**LARGE, "depth": Int(3, 8)}), strategy="random", storage=path)


def test_an_integer_that_became_a_number_is_the_same_design(tmp_path):
    path = tmp_path / "study.log"
    with Study(Space(k=Int(1, 3), o=Choice(tuple("ab"))), strategy="random", storage=path) as study:
        study.enqueue({"k": 3, "o": "a"})
        study.optimize(lambda config: 1.0, trials=1)
        study.enqueue({"k": 3, "o": "a"})
        study.enqueue({"k": 2, "o": "a"})
    for trials in (2, 1):
        with Study(Space(k=Float(1, 3), o=Choice(tuple("ab"))), strategy="random", storage=path) as study:
            assert all(type(trial.config["k"]) is float for trial in study.trials)
            assert all(trial.key == trial.config.id for trial in study.trials)
            study.optimize(lambda config: 1.0, trials=trials)
    assert [trial.config["k"] for trial in study.trials[:2]] == [3.0, 2.0]
    assert study.history.events["skipped"] == {"k": 3.0, "o": "a"}
