"""Whole searches that experiments compare: whose turn it is, on how many cores, and what is claimed of the results."""

from pathlib import Path

import numpy as np
import pytest

from experiments import searches as whole
from experiments.record import Record


def test_every_seed_begins_with_the_next_arm():
    plan = whole.Plan("digits", "1m", {arm: {} for arm in "abc"}, (0, 1, 2), "the arm")
    assert [arm for _, arm in plan.turns()] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert len(set(plan.turns())) == 9


def test_the_interval_is_students_t():
    assert whole.interval(np.array([1.0, 2.0, 3.0])) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)


def test_one_core_too_many_is_told_of():
    with pytest.raises(ValueError, match=r"--cores 9999: this process may use \d+; give 1 to"):
        whole.pin(9999)


def test_a_search_begins_goes_on_or_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    plan, called = (
        whole.Plan("digits", "1m", {"auto": {"scheduler": "auto"}}, (0,), "it"),
        list[tuple[str, ...]](),
    )
    monkeypatch.setattr(whole, "call", lambda *words: called.append(words) or 1.0)
    monkeypatch.setattr(whole, "result_of", lambda run: {"test": 0.9, "started": 3})

    class Run:
        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def status(self) -> dict[str, str]:
            return {"state": "interrupted"}

    monkeypatch.setattr(whole.nas, "Run", Run)
    record = Record(str(tmp_path / "run.py"), "experiments/record.py")
    for runs in (tmp_path / "a", tmp_path / "b"):
        whole.searched(record, runs, plan, "auto", 1)
    ((word, data, *options),) = called  # the second is read
    assert (word, data, options[:3]) == ("search", "digits", ["--budget=1m", "--scheduler=auto", "--seed=1"])
    Path(options[3].removeprefix("--out=")).mkdir(parents=True)
    (tmp_path / "c").mkdir()
    whole.searched(Record(str(tmp_path / "c/run.py"), "README.md"), tmp_path / "a", plan, "auto", 1)
    assert called[1] == ("resume", options[3].removeprefix("--out="))


@pytest.mark.parametrize(("loss", "holds"), [(0.001, True), (0.05, False)])
def test_what_is_significantly_worse_is_missed(tmp_path: Path, loss: float, holds: bool):
    plan = whole.Plan("digits", "1m", {"auto": {}, "full": {}}, (0, 1, 2), "the scheduler")
    full = np.array([0.90, 0.91, 0.92])
    record = Record(str(tmp_path / "run.py"), "experiments/record.py")
    tests = {"auto": full - loss + [0.002, 0.0, -0.002], "full": full}
    found = {
        (seed, arm): {"test": own[seed], "started": 4 + seed}
        for arm, own in tests.items()
        for seed in range(3)
    }
    whole.show(record, plan, found, "none")
    (claim,) = (one for one in record.data["shows"] if "paired" in one["claim"])
    assert claim["value"] == pytest.approx(-loss)
    assert claim["holds"] == holds
    assert "reported; 0.9 to 0.92" in [one["bar"] for one in record.data["shows"]]
