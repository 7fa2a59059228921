"""Two objectives on recorded curves: what of a search is a point, what it dominates, and what is searched again."""

import math
from pathlib import Path

import numpy as np
import pytest

from experiments.fidelity import curves
from experiments.fidelity.simulate import replay
from experiments.fidelity.task import Task
from experiments.fidelity.trace import in_turn
from experiments.front import run as fronts
from experiments.front import scores
from experiments.record import Record
from nas.strategies.random import Random
from nas.trial import Trial
from search_spaces.space import Configuration, Float, Space

NAN = math.nan
SIZES = np.exp([4.0, 3.0, 2.0, 1.0])
LOSSES = np.array([[0.5, 0.1], [0.2, 0.3], [0.6, NAN], [0.9, 0.7]])


def small(seconds: float = 1.0) -> Task:
    configs = tuple(Configuration({"x": x}) for x in (0.0, 0.3, 0.6, 1.0))
    return Task("small", Space(x=Float(0.0, 1.0)), configs, LOSSES, np.full((4, 2), seconds), 3)


def test_points_are_of_trainings_that_ended_or_of_every_epoch():
    pieces = in_turn(small(), [(0, 2), (3, 1), (2, 2), (3, 2)])
    np.testing.assert_allclose(scores.points(small(), SIZES, pieces, 4.0, "ended"), [[0.1, 4]])
    np.testing.assert_allclose(scores.points(small(), SIZES, pieces, 9.0, "ended"), [[0.1, 4], [0.7, 1]])
    seen = [[0.5, 4], [0.1, 4], [0.9, 1], [0.6, 2]]
    np.testing.assert_allclose(scores.points(small(), SIZES, pieces, 4.0, "seen"), seen)
    assert len(scores.everything(small(), SIZES, "ended")) == 3
    assert len(scores.everything(small(), SIZES, "seen")) == 7


def test_what_is_chosen_is_what_looks_good_by_its_error_had_it_been_trained_to_the_end():
    pieces = in_turn(small(), [(0, 1), (1, 2), (2, 1), (3, 1)])
    # last seen: 0.5, 0.3, 0.6, 0.9; row 1 beats row 0, and row 2 would diverge
    np.testing.assert_allclose(scores.points(small(), SIZES, pieces, 9.0, "chosen"), [[0.3, 3], [0.7, 1]])
    assert scores.points(small(), SIZES, pieces, 0.5, "chosen").shape == (0, 2)


def test_shares_are_of_what_the_table_dominates():
    pieces = in_turn(small(), [(1, 1), (1, 2), (0, 2)])

    def shares(seconds: list[float], way: str, below: str) -> list[float]:
        return scores.shares(small(), SIZES, pieces, seconds, way, below)

    # (0.1, 4) and (0.3, 3) below (0.7, 4), where (0.7, 1) lies on the edge; a divergence is the worst of the median
    assert scores.references(small(), SIZES)["worst"].tolist() == [0.7, 4.0]
    assert scores.references(small(), SIZES)["median"].tolist() == [0.5, 4.0]
    assert shares([1.0, 2.0, 6.0], "ended", "worst") == pytest.approx([0, 1, 1])
    # by any epoch (0.2, 3) and (0.6, 2) below (0.7, 4): 0.5 and 0.1
    assert shares([1.0], "seen", "worst") == pytest.approx([0.5 / 0.6])
    assert shares([1.0], "seen", "median") == pytest.approx([1.0])


def test_a_budget_is_less_where_a_table_is_small():
    assert fronts.budget_of(small()) == pytest.approx(4 / fronts.EACH * 2.0)


def test_tables_that_are_not_recorded_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(curves, "FOLDER", tmp_path)
    (tmp_path / "table-chain.jsonl").write_text("{}\n{}\n")
    assert fronts.names_of("chain,mobile", 2) == ["chain"]
    with pytest.raises(ValueError, match="none of chain,mobile has 3 trainings yet; record more by"):
        fronts.names_of("chain,mobile", 3)
    with pytest.raises(ValueError, match="no table 'cell' of our own; give some of chain, mobile"):
        fronts.names_of("chain,cell", 2)


def test_a_search_is_not_done_again_on_the_same_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    shares = {f"{way}, {below}": [0.1, 0.2, 0.5] for way in scores.WAYS for below in scores.REFERENCES}
    counts = {"designs": 4, "begun": 2, "ended": 1, "full trainings": 3.0, "spent": 1.0}
    done = list[tuple[str, str, str, int]]()

    def search(*which: str) -> dict:
        done.append(which)
        return {**shares, **counts}

    monkeypatch.setattr(fronts, "search", search)
    monkeypatch.setattr(curves, "digest", lambda name: "one")
    run = fronts.Run(Record(str(tmp_path / "run.py"), "experiments/record.py"), "none", ("random",), (0, 1))
    fronts.compare(run, "chain")
    assert [show["value"] for show in run.record.data["shows"]] == [1.0] * 4
    assert [show["holds"] for show in run.record.data["shows"]] == [False, False, True, True]
    fronts.compare(run, "chain")
    assert len(done) == 4
    monkeypatch.setattr(curves, "digest", lambda name: "grown")
    fronts.compare(run, "chain")
    assert len(done) == 8


def test_a_study_learns_both_objectives():
    told = list[dict[str, float]]()

    class Spy(Random):
        def tell(self, trial: Trial) -> None:
            told.append({**trial.free, **trial.steps[-1].metrics})
            super().tell(trial)

    sizes = dict(zip(small().configs, SIZES, strict=True))

    def measure(config: Configuration) -> dict[str, float]:
        return {"params": float(sizes.get(config, 1.0))}

    pieces = replay(small(), "auto", Spy, objectives=("loss", "params"), measure=measure)
    assert {piece.row for piece in pieces} == {0, 1, 2, 3}
    assert {one["params"] for one in told} == {float(size) for size in SIZES}
