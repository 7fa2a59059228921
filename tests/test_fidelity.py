"""Schedulers in simulation: what is read, who gets which row, the simulated clock, and how searches are scored."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import pytest

from estimators.estimator import Fidelity
from experiments.fidelity import compare, curves, scores, searches, suite, taskset, trace
from experiments.fidelity.rivals import baselines, kept
from experiments.fidelity.simulate import ladder_of, replay, simulate
from experiments.fidelity.task import Pool, Task
from experiments.fidelity.trace import Piece
from nas.scheduler import Done, Start, schedulers
from nas.schedulers.full import Full
from nas.strategies.random import Random
from nas.trial import Trial
from search_spaces.space import Configuration, Float, Space

SPACE = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))
NAN = math.nan
LOSSES = np.array(
    [
        [9.0, 8.0, 7.0, 6.0],
        [8.0, 5.0, 4.0, 4.0],
        [7.0, 6.0, NAN, NAN],
        [5.0, 5.0, 5.0, 5.0],
        [6.0, 2.0, 2.0, 3.0],
    ]
)
PLACES = ((0.0, 0.0), (0.1, 0.1), (0.5, 0.5), (0.9, 0.9), (1.0, 0.0))


def small(seconds: np.ndarray | None = None, fulls: int = 3) -> Task:
    configs = tuple(Configuration({"x": x, "y": y}) for x, y in PLACES)
    return Task("small", SPACE, configs, LOSSES, np.ones((5, 4)) if seconds is None else seconds, fulls)


def larger(rows: int = 30, epochs: int = 9) -> Task:
    rng = np.random.default_rng(0)
    configs = tuple(SPACE.sample(rng) for _ in range(rows))
    ends = np.array([(config["x"] - 0.3) ** 2 + config["y"] for config in configs], float)
    losses = ends[:, None] + 1.0 / np.arange(1, epochs + 1)
    losses[:4, 2:] = NAN
    return Task("larger", SPACE, configs, losses, rng.uniform(0.5, 2.0, (rows, epochs)), 5)


# what is read


def test_a_training_has_diverged_from_the_first_loss_beyond_the_bound():
    losses = np.array([[1.0, 0.9, 3.5, 0.5], [1.0, np.inf, 0.8, 0.7], [1.0, 0.5, 0.4, 2.9]])
    expected = [[0.9, NAN, NAN], [NAN, NAN, NAN], [0.5, 0.4, 2.9]]
    np.testing.assert_array_equal(taskset.until_diverged(losses), expected)


def test_betas_are_read_as_their_distance_to_1_and_what_rounding_moved_lies_inside():
    names = list(taskset.RANGES)
    row = np.array([[0.9, 0.9999991, 1e-8, 1e-4, 1e-5, 1e-6, 11.0, 1e-5]])
    (config,) = taskset.settings_of(names, row)
    assert config["beta1"] == pytest.approx(0.1)
    assert config["beta2"] == 1e-6
    assert config["learning_rate"] == 10.0
    taskset.adam_space().check(config)


def curve_row(number: int, seed: int, config: dict, epochs: int, error: str | None) -> dict:
    points = [
        {"accuracy": 0.1 * epoch + 0.01 * number + 0.001 * seed, "loss": 1.0, "seconds": 2.0 + number}
        for epoch in range(1, epochs + 1)
    ]
    about = {"space": "chain", "number": number, "seed": seed, "config": config}
    return {**about, "curve": points, "error": error}


def test_our_curves_are_read_by_seed_failed_ones_end_in_nan_and_stopped_ones_stay():
    space = curves.curve_space("chain")
    rng = np.random.default_rng(0)
    configs = [dict(space.sample(rng)) for _ in range(3)]
    rows = [curve_row(number, 1, configs[number], 3, None) for number in (2, 1, 0)]
    rows += [curve_row(number, 0, configs[number], 3 - number, None) for number in (0, 1)]
    rows.append(curve_row(2, 0, configs[2], 1, "nan: loss is nan"))
    first, second, third = (curves.task_of("chain", space, rows, search) for search in range(3))
    np.testing.assert_allclose(first.losses, [[0.9, 0.8, 0.7], [0.89, 0.79, 0.79], [0.88, NAN, NAN]])
    np.testing.assert_allclose(first.seconds, [[2.0, 2.0, 2.0], [3.0, 3.0, 0.03], [4.0, 4.0, 4.0]])
    np.testing.assert_allclose(second.losses[2], [0.879, 0.779, 0.679])
    np.testing.assert_array_equal(third.losses, first.losses)
    assert second.budget == pytest.approx(curves.FULLS * 9.0)
    assert first.units.shape == (3, space.dimensions)


def test_a_seed_that_is_still_being_recorded_is_shown_to_nobody():
    space = curves.curve_space("chain")
    config = dict(space.sample(np.random.default_rng(0)))
    rows = [curve_row(number, 0, config, 3, None) for number in (0, 1)] + [curve_row(0, 1, config, 3, None)]
    assert len(curves.task_of("chain", space, rows, 1).configs) == 2


def test_the_hash_of_a_table_is_of_what_was_read(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(curves, "FOLDER", tmp_path)
    none = curves.digest("chain")
    (tmp_path / "table-mobile.jsonl").write_text('{"number": 0}\n')
    assert searches.Ours("full").path("mobile").name == f"fullxrandom-mobile-{curves.digest('mobile')}.jsonl"
    assert curves.digest("mobile") != none


def test_a_torn_last_line_of_a_table_is_not_read(tmp_path):
    (tmp_path / "torn.jsonl").write_text('{"number": 0}\n{"number"')
    assert curves.rows_of(tmp_path / "torn.jsonl") == ({"number": 0},)
    assert curves.rows_of(tmp_path / "missing.jsonl") == ()


def test_the_split_halves_the_tasks_and_a_wrong_name_is_guessed():
    assert set(suite.DEVELOPMENT) | set(suite.UNTOUCHED) == {*suite.TASKSET, *suite.OURS}
    assert not set(suite.DEVELOPMENT) & set(suite.UNTOUCHED)
    with pytest.raises(ValueError, match=r"no task 'chian'; did you mean 'chain'\?"):
        suite.names_of("chian")


# who gets which row


def test_a_proposal_gets_the_nearest_row_that_is_not_started():
    pool = Pool(small())
    wanted = Configuration({"x": 0.04, "y": 0.0})
    assert [pool.take(wanted) for _ in range(5)] == [0, 1, 2, 4, 3]
    assert not pool.free.any()


def test_a_row_that_is_asked_for_itself_is_given_once():
    pool = Pool(small())
    assert pool.take(pool.task.configs[3]) == 3
    assert pool.take(pool.task.configs[3]) == 2


def test_a_search_starts_no_row_twice_and_ends_with_the_table():
    pieces = replay(small(fulls=50), "full", "random")
    assert sorted(piece.row for piece in pieces) == list(range(5))


class Stranger(Full):
    """Draws its designs itself."""

    def start(self, trials: Mapping[int, Trial], pending: Sequence[int], fidelity: Fidelity) -> Start | Done:
        return Start(SPACE.sample(np.random.default_rng(len(trials))), fidelity)


def test_strategies_are_told_where_losses_were_measured_whoever_drew_the_design():
    told = list[Trial]()

    class Spy(Random):
        def tell(self, trial: Trial) -> None:
            told.append(trial)

    replay(small(), Stranger, Spy)
    assert len(told) == 4  # one of them diverged a quarter before its end
    assert {trial.config for trial in told} <= set(small().configs)


# the simulated clock


def test_workers_are_told_in_the_order_in_which_trainings_end():
    seconds = np.ones((5, 4))
    seconds[0] = 10.0  # the straggler, whoever gets it
    pieces = replay(small(seconds), "full", "random", workers=2, budget=100.0)
    ends = [piece.end(small(seconds)) for piece in pieces]
    assert [piece.began for piece in pieces[:2]] == [0.0, 0.0]
    assert pieces[2].began == min(ends[:2])
    straggler = next(at for at, piece in enumerate(pieces) if piece.row == 0)
    others = [piece for piece in pieces[straggler + 1 :] if piece.began < ends[straggler]]
    assert len(others) == len(pieces) - straggler - 1  # the other worker went on alone


def test_four_workers_never_train_more_than_four_rows_at_once():
    task = larger()
    pieces = replay(task, "halving", "random", workers=4)
    moments = [piece.began for piece in pieces]
    busy = [sum(p.began <= now < p.end(task) for p in pieces) for now in moments]
    assert max(busy) == 4
    assert moments == sorted(moments)
    assert moments[-1] < task.budget / 4


def test_a_continued_training_begins_where_it_was_and_a_diverged_one_ends_there():
    task = larger()
    reached: dict[int, int] = {}
    for piece in replay(task, "halving", "random"):
        assert piece.start == reached.get(piece.row, 0)
        assert piece.stop <= 3 or piece.row >= 4
        reached[piece.row] = piece.stop
    assert max(reached.values()) == task.epochs


def test_the_same_seed_trains_the_same_and_simulate_lists_each_finite_epoch():
    task = larger()
    assert replay(task, "halving", "tpe", 1) == replay(task, "halving", "tpe", 1)
    points = simulate(task, "halving", "random", 1)
    assert [second for second, _ in points] == sorted(second for second, _ in points)
    assert points[-1][0] <= task.budget
    assert all(map(math.isfinite, np.ravel(points)))


class Fine(Full):
    spacing: ClassVar[str] = "fine"


def test_ladders():
    assert [one.epochs for one in ladder_of("halving", 50)] == [1, 2, 6, 17, 50]
    assert [one.epochs for one in ladder_of("halving", 15)] == [1, 2, 5, 15]
    assert [one.epochs for one in ladder_of(partial(Fine), 50)] == [1, 2, 3, 5, 8, 12, 18, 27, 50]


@pytest.mark.parametrize("name", [name for name in schedulers.names() if name != "pbt"])
def test_every_scheduler_runs_on_curves(name: str):
    task = larger()
    pieces = replay(task, name, "random", workers=2)
    assert max(piece.stop for piece in pieces) == task.epochs
    assert len({(piece.row, piece.start) for piece in pieces}) == len(pieces)


# how searches are scored


def turn(*steps: tuple[int, int]) -> tuple[Piece, ...]:
    return trace.in_turn(small(), steps)


def test_one_worker_trains_in_turn_and_goes_on_from_where_it_was():
    assert turn((1, 2), (0, 1), (1, 4)) == (Piece(1, 0, 2, 0.0), Piece(0, 0, 1, 2.0), Piece(1, 2, 4, 3.0))


def test_regret_is_of_the_best_epoch_so_far():
    pieces = turn((3, 1), (4, 4), (1, 4))  # 5 | 6 2 2 3 | 8 5 4 4
    # the best of the table is 2; the median of 6, 4, infinity, 5, 3 is 5
    marks = np.array([0.5, 1.0, 2.0, 3.0, 9.0])
    np.testing.assert_allclose(scores.regrets(small(), pieces, marks), [1.0, 1.0, 1.0, 0.002, 0.002])


def test_the_cost_of_a_regret_is_that_of_the_epoch_that_first_has_it():
    pieces = turn((0, 4), (1, 4))  # 9 8 7 6 | 8 5 4 4
    assert scores.reached(small(), pieces, 1.0, 8.0) == 6.0
    assert scores.reached(small(), pieces, 2 / 3, 8.0) == 7.0
    assert scores.reached(small(), pieces, 0.5, 8.0) == 16.0  # not reached: twice the budget


def test_what_is_recommended_is_the_best_of_those_trained_furthest():
    pieces = turn((4, 2), (3, 4), (0, 4))
    assert scores.chosen(small(), pieces, 10.0) == 3
    assert scores.chosen_regret(small(), pieces, 10.0) == pytest.approx((5 - 3) / (5 - 3))
    assert scores.chosen(small(), pieces, 2.0) == 4
    assert scores.chosen_regret(small(), pieces, 2.0) == 0.002


def test_what_would_diverge_counts_as_the_worst_that_did_not():
    assert scores.chosen_regret(small(), turn((2, 2)), 2.0) == pytest.approx((6 - 3) / (5 - 3))


def test_the_target_of_a_task_is_the_final_regret_of_its_best_rival(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compare, "task", lambda name, seed: small())
    good, bad = {0: turn((1, 4), (3, 4), (0, 4))}, {0: turn((0, 4), (3, 4))}
    goals = compare.targets({"good": {"small": good}, "bad": {"small": bad}, "none": {}}, ["small"])
    assert goals == {"small": ("good", pytest.approx(2 / 3))}
    # the budget is 12: the best has it after 2 epochs, the other never
    np.testing.assert_allclose(np.exp(compare.costs("small", {0: turn((4, 4))}, 2 / 3)), [2 / 12])
    np.testing.assert_allclose(np.exp(compare.costs("small", bad, 2 / 3)), [2.0])
    assert compare.cost_ratio({"small": {0: turn((4, 4))}}, goals).mean == pytest.approx(1 / 6)


def test_a_significant_loss_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compare, "task", lambda name, seed: small())
    good = {seed: turn((4, 4), (1, 4)) for seed in range(10)}
    bad = {seed: turn((0, 4), (3, 4)) for seed in range(10)}
    assert compare.worse({"small": bad}, {"small": good}).keys() == {"small"}
    assert compare.worse({"small": good}, {"small": bad}) == {}


# rivals


def test_a_worker_trains_nothing_twice_and_merges_what_goes_on():
    worker = kept.Worker(small())
    assert [worker.train(4, epoch) for epoch in (1, 2)] == [6.0, 2.0]
    assert worker.train(1, 3) == 4.0
    assert worker.train(4, 1) == 6.0
    assert math.isnan(worker.train(2, 4))
    assert math.isnan(worker.train(2, 4))
    assert worker.steps == [(4, 2), (1, 3), (2, 3)]
    assert worker.now == 8.0
    assert not worker.over
    assert math.isfinite(worker.train(4, 4))
    assert math.isfinite(worker.train(0, 2))
    assert worker.over


def test_kept_searches_are_read_again(tmp_path):
    worker = kept.Worker(small())
    worker.train(4, 2)
    worker.train(1, 4)
    worker.train(4, 4)
    search = worker.search(3, 0.5, "package 1")
    kept.keep(tmp_path / "one.jsonl", [search])
    assert kept.read(tmp_path / "one.jsonl") == {3: search}
    assert search.pieces(small()) == turn((4, 2), (1, 4), (4, 4))


def test_one_epoch_top_k_trains_the_best_to_the_end():
    task = larger()
    worker = kept.Worker(task)
    baselines.one_epoch_top_k(worker, seed=0, top=2)
    first = [row for row, stop in worker.steps if stop == 1]
    to_the_end = [row for row, stop in worker.steps if stop == task.epochs]
    assert len(first) > 2 * len(to_the_end)
    order = sorted({row for row, _ in worker.steps}, key=lambda row: task.losses[row, 0])
    assert to_the_end == [row for row in order if row >= 4][: len(to_the_end)]


def test_searches_of_ours_are_kept_by_seed(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(searches, "RUNS", tmp_path)
    monkeypatch.setattr(searches, "task", lambda name, seed: small())
    ours = searches.Ours("full")
    found = searches.run(ours, ["small"], [0, 1])
    assert searches.read(ours.path("small")) == found["small"]
    monkeypatch.setattr(searches, "task", None)  # nothing is searched again
    assert searches.run(ours, ["small"], [1, 0])["small"] == found["small"]
