"""The tables that strategies are compared on: what is read, how it is scored, and where the functions are least."""

import json
import math
import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from experiments.tables import behaviour, cells, fronts, functions, networks, ours, scores, suite, table
from experiments.tables.rivals import kept
from experiments.tables.rivals.baselines import mutated, random_search, regularised_evolution
from search_spaces.space import Choice, Configuration, Int, Space

SMALL = Space(a=Choice((1, 2), ordered=True), b=Choice(("x", "y", "z")))
LOSSES = np.array(
    [
        [4.0, 6.0, np.nan],
        [1.0, 2.0, 9.0],
        [3.0, 5.0, np.nan],
        [2.0, 2.0, 2.0],
        [8.0, 8.0, 8.0],
        [7.0, 0.0, 1.0],
    ]
)


def small() -> table.Lookup:
    return table.Lookup("small", SMALL, LOSSES, np.nanmean(LOSSES, axis=1))


def search(replicate: int, *losses: float) -> kept.Search:
    return kept.Search(replicate, losses, losses[-3:], len(losses), 0.1)


# tables


def test_a_replicate_reads_its_seed_modulo_those_there_are():
    config = Configuration({"a": 1, "b": "x"})
    assert [small().evaluate(config, replicate) for replicate in range(5)] == [4.0, 6.0, 4.0, 6.0, 4.0]
    assert small().test(config) == 5.0


def test_regret_is_0_at_the_best_and_1_at_the_median_of_the_replicate():
    assert small().bounds(0) == (1.0, 3.5)
    assert small().regret(1.0, 0) == 0.0
    assert small().regret(3.5, 0) == 1.0
    assert small().bounds(1) == (0.0, 3.5)
    assert small().test_bounds() == (2.0, 4.0)
    assert small().test_regret(5.0) == 1.5


def test_rows_are_in_the_order_of_the_choices():
    assert [small().row(config) for config in SMALL.grid()] == list(range(6))


def test_cells_are_read_in_any_order_of_rows(tmp_path: Path):
    codes = np.array(list(product(range(5), repeat=6)), dtype=np.uint8)
    order = np.random.default_rng(0).permutation(len(codes))
    errors = np.arange(len(codes)) / len(codes)
    accuracy = np.stack([100 - errors, 100 - errors / 2, np.full(len(codes), np.nan)], axis=1)
    np.savez(
        tmp_path / "table.npz",
        code=codes[order],
        ops=np.array(cells.BENCHMARK_OPS),
        val_acc_cifar100=accuracy[order],
        test_acc=np.stack([errors, 100 - 2 * errors, errors], axis=1)[order],
        test_datasets=np.array(["cifar10", "cifar100", "ImageNet16-120"]),
    )
    found = cells.read_cells(tmp_path / "table.npz", "nb201-cifar100")
    config = Configuration({f"edge{a}_{b}": "none" for a, b in cells.EDGES} | {"edge2_3": "average3x3"})
    assert found.evaluate(config, 0) == pytest.approx(4 / 15625)
    assert found.evaluate(config, 3) == pytest.approx(2 / 15625)
    assert found.test(config) == pytest.approx(8 / 15625)
    assert found.graph is not None
    assert found.graph(config).key() == found.graph(Configuration(dict(config) | {"edge0_1": "skip"})).key()


@pytest.mark.parametrize(("metric", "expected"), [("val_loss", [0.25, 0.5]), ("val_acc", [75.0, 50.0])])
def test_networks_are_read_by_their_digits(tmp_path: Path, metric: str, expected: list[float]):
    choices = {"depth": Choice((1, 2), ordered=True), "kind": Choice(("x", "y", "z"))}
    rows = {
        f"{a}{b}": {metric: [0.25, 0.5] if (a, b) == (1, 0) else [1.0, 1.0]}
        for b in range(3)
        for a in range(2)
    }
    (tmp_path / "kept.pkl").write_bytes(pickle.dumps(rows))
    found = networks.read_networks(tmp_path / "kept.pkl", "tiny", choices, metric)
    config = Configuration({"depth": 2, "kind": "x"})
    assert [found.evaluate(config, replicate) for replicate in range(2)] == expected
    assert found.test(config) == np.mean(expected)


def test_the_split_names_every_table_once():
    names = suite.names_of("dev,untouched")
    assert len(names) == len(set(names)) == 15
    assert set(suite.DEVELOPMENT).isdisjoint(suite.UNTOUCHED)
    with pytest.raises(ValueError, match=r"no table 'mlp-cra'; did you mean 'mlp-car'\?"):
        suite.names_of("mlp-cra")


# functions

MINIMA = {
    "branin": {"x1": math.pi, "x2": 2.275},
    "hartmann6": dict(
        zip(
            [f"x{i}" for i in range(1, 7)],
            (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573),
            strict=True,
        )
    ),
    "rosenbrock5": {f"x{i}": 1.0 for i in range(1, 6)},
    "mixed": {
        "lr": 1e-3,
        "decay": 1e-4,
        "dropout": 0.2,
        "layers": 6,
        "width": 128,
        "batch": 3,
        "optimizer": "adam",
        "activation": "gelu",
    },
    "conditional": {
        "smooth": 0.3,
        "model": "network",
        "model.network.lr": 1e-3,
        "model.network.width": 128,
        "model.network.optimizer": "adam",
    },
}


@pytest.mark.parametrize("name", suite.SYNTHETIC)
def test_functions_are_least_where_they_should_be(name: str):
    function = functions.function(name)
    config = function.space.check(MINIMA[name])
    assert function.regret(function.evaluate(config, 0), 0) == pytest.approx(0.0, abs=1e-6)
    rng = np.random.default_rng(1)
    losses = [function.evaluate(function.space.sample(rng), 0) for _ in range(500)]
    assert min(losses) > function.least
    assert np.mean(np.array(losses) < function.median) == pytest.approx(0.5, abs=0.1)


# scores


def test_regrets_are_of_the_best_so_far_and_have_a_floor():
    losses = [8.0] * 20 + [3.5] * 20 + [1.0] * 20
    assert scores.regrets(small(), [search(0, *losses)]).tolist() == [[1.0, scores.FLOOR, scores.FLOOR]]


def test_log_ratios_are_of_the_replicates_that_both_have():
    mine = {0: search(0, *[3.5] * 60), 1: search(1, *[7.0] * 60)}
    theirs = {1: search(1, *[3.5] * 60), 2: search(2, *[3.5] * 60)}
    assert np.exp(scores.logs(small(), mine, theirs)) == pytest.approx(np.full((1, 3), 2.0))
    assert len(scores.logs(small(), mine, {})) == 0


def test_the_interval_of_a_ratio_is_that_of_seeds_and_tables():
    rng = np.random.default_rng(0)
    tables = [rng.normal(math.log(0.5), 0.4, 20) for _ in range(10)]
    found = scores.ratio(tables)
    assert found.mean == pytest.approx(math.exp(np.mean(tables)))
    spread = 1.645 * math.hypot(
        0.4 / math.sqrt(200), np.std([values.mean() for values in tables]) / math.sqrt(10)
    )
    assert math.log(found.high / found.low) / 2 == pytest.approx(spread, rel=0.15)
    assert str(scores.Ratio(0.5, 0.4, 0.6)) == "0.50 (0.40-0.60)"


def test_tables_count_alike_whatever_their_seeds():
    assert scores.ratio([np.zeros(10), np.full(2, math.log(4.0))]).mean == pytest.approx(2.0)


def test_holm_corrects_in_steps():
    assert scores.holm([0.01, 0.04, 0.03, 0.5]).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.5])


def test_losses_are_what_is_worse_beyond_chance():
    clear, none = np.linspace(0.1, 1.0, 20), np.zeros(20)
    assert list(scores.losses({"worse": clear, "better": -clear, "level": none})) == ["worse"]
    assert scores.p_value(none) == 1.0


# searches


def test_what_is_kept_is_read_again(tmp_path: Path):
    watch = kept.Watch(small(), 1)
    random_search(SMALL, watch, 60, 0)
    found = watch.search()
    kept.keep(tmp_path / "kept.jsonl", found)
    assert kept.read(tmp_path / "kept.jsonl") == {1: found}
    assert kept.read(tmp_path / "none.jsonl") == {}
    assert len(found.losses) == 60
    assert found.distinct == 6
    assert found.test[-1] == pytest.approx(8 / 3, rel=1e-6)


def test_regularised_evolution_descends_by_changes_of_one_parameter():
    asked: list[Configuration] = []
    space = Space(a=Int(0, 50), b=Int(0, 50))
    regularised_evolution(space, lambda config: asked.append(config) or float(config["a"]), 200, 0)
    assert len(asked) == 200
    assert np.mean([config["a"] < 5 for config in asked[-50:]]) > 0.3  # a tenth of the range
    rng = np.random.default_rng(0)
    for config in asked[:20]:
        child = mutated(space, config, rng)
        assert sum(child[path] != config[path] for path in ("a", "b")) == 1


def test_our_searches_are_kept_by_code_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ours, "RUNS", tmp_path)
    mine = ours.Ours("evolution", (("population", 8), ("sample", 3)))
    found = ours.search(mine, "branin", 3)
    path = tmp_path / ours.CODE / "evolution-population=8-sample=3-branin.jsonl"
    assert json.loads(path.read_text())["replicate"] == 3
    assert ours.search(mine, "branin", 3) == found
    assert len(path.read_text().splitlines()) == 1


def test_fronts_are_a_share_of_what_the_table_dominates(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fronts, "cells", lambda name: small())
    monkeypatch.setattr(fronts, "latencies", lambda device: np.array([1.0, 5.0, 3.0, 4.0, 2.0, 1.0]))
    everything = [(loss, ms) for loss, ms in zip(LOSSES[:, 0], (1.0, 5.0, 3.0, 4.0, 2.0, 1.0), strict=True)]
    assert fronts.volume(everything, "phone", 0) == 1.0
    assert fronts.volume([(8.0, 1.0)], "phone", 0) == 0.0
    # below (3.5, 5) the table dominates 0.5 x 2 by (3, 3) and 1 x 1 more by (2, 4)
    assert fronts.volume([(3.0, 3.0)], "phone", 0) == pytest.approx(1.0 / 2.0)


def test_random_search_meets_failures_in_proportion():
    assert 50 < behaviour.failures("random", 200, 0) < 110
    assert math.isnan(behaviour.cliff(Configuration({"x": 0.61, "y": 0.4, "z": 0.5})))
    assert behaviour.cliff(Configuration({"x": 0.6, "y": 0.4, "z": 0.5})) == 0.0
