"""Latency measured and predicted, seconds predicted: against set clocks, solutions by hand, and brute force."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from estimators.cost import table as tables
from estimators.cost.latency import Latency, latency
from estimators.cost.seconds import AMOUNTS, USUAL, Work, fit
from estimators.cost.table import OpTable, Total
from search_spaces.architecture import Design, Opaque, SearchSpace, family
from search_spaces.recipe import recipe_space
from search_spaces.space import Int, Space

CPU = torch.device("cpu")


def designs(name: str, count: int) -> list[Design]:
    space = SearchSpace(family(name, (3, 16, 16), 10), recipe_space((3, 16, 16), 10, 1000))
    rng = np.random.default_rng(0)
    return [space.decode(space.space.sample(rng)) for _ in range(count)]


class Sleeps(nn.Module):
    """Takes a millisecond for each image, and notes with how many threads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.threads = torch.get_num_threads()
        time.sleep(0.001 * len(x))
        return x


def test_latency_is_of_the_batch_and_leaves_the_threads_as_they_were() -> None:
    before, network = torch.get_num_threads(), Sleeps()
    found = latency(network, (1, 4, 4), device=CPU, batch_size=4, threads=1, repeats=11)
    assert network.threads == 1 and torch.get_num_threads() == before and not network.training
    assert 4.0 <= found.p10 <= found.median <= found.p90 <= found.p99
    assert found.n == 11 and found.image == found.median / 4


@pytest.mark.parametrize("name", ["batch_size", "threads", "repeats"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: give at least 1"):
        latency(Sleeps(), (1, 4, 4), device=CPU, **{name: 0})


def test_quantiles_are_those_of_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.accumulate(
        itertools.chain.from_iterable((0.0, 1e-3 * (n % 10)) for n in itertools.count())
    )
    monkeypatch.setattr("estimators.cost.latency.time.perf_counter", lambda: next(ticks))
    found = latency(nn.Identity(), (1, 2, 2), device=CPU, repeats=10)
    assert (found.median, found.p10, found.p90) == pytest.approx((4.5, 0.9, 8.1))
    assert isinstance(found, Latency)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "passes", lambda run, device, repeats: np.full(repeats, 2.0))
    return tmp_path / "cache"


def test_every_op_of_a_network_is_timed_once_and_kept_for_the_machine(cache) -> None:
    (design,) = designs("mobile", 1)
    table = OpTable(CPU, threads=1)
    total = table.total(design)
    network = design.network()
    assert total.nodes == len(network._steps)
    assert total.milliseconds == pytest.approx(2.0 * total.nodes)
    assert 0 < len(table) < total.nodes  # some occur more than once
    again = OpTable(CPU, threads=1)
    again._op = None  # type: ignore[method-assign, assignment]
    assert again.total(design) == total
    assert len(OpTable(CPU, threads=2)) == len(OpTable(CPU, threads=1, batch_size=2)) == 0


def test_the_first_time_of_an_op_counts_and_a_torn_line_does_not(cache) -> None:
    table = OpTable(CPU, threads=1)
    cache.mkdir()
    table.path.write_text('{"op": "a", "milliseconds": 1}\n{"op": "a", "milliseconds": 9}\n{"op": "b", "mill')
    assert OpTable(CPU, threads=1)._times == {"a": 1.0}


def test_an_opaque_design_is_measured_whole(cache) -> None:
    def build(config):
        return nn.Sequential(nn.Flatten(), nn.Linear(12, config["width"]))

    space = SearchSpace(Opaque((3, 2, 2), 2, Space(width=Int(2, 4)), build), recipe_space((3, 2, 2), 2, 1000))
    table, design = OpTable(CPU, threads=1), space.decode(space.space.default())
    total = table.total(design)
    assert total.nodes == 1 and total.milliseconds > 0 and table.total(design) == total
    assert not table.path.exists()  # a name of a function says nothing of what it builds

    def other(config):
        return build(config)

    table.total(replace(design, build=other))
    assert len(table._wholes) == 2


def test_a_fit_finds_what_the_sum_of_ops_leaves_out() -> None:
    rng = np.random.default_rng(0)
    totals = [
        Total(int(n), float(ms))
        for n, ms in zip(rng.integers(10, 200, 40), rng.uniform(1, 30, 40), strict=True)
    ]
    times = [0.3 + 0.01 * total.nodes + 1.2 * total.milliseconds for total in totals]
    found = tables.fit(totals[:20], times[:20])
    errors = [abs(found.milliseconds(t) / y - 1) for t, y in zip(totals[20:], times[20:], strict=True)]
    assert max(errors) < 0.02 and found.ninetieth < 0.03 and found.measured == 20
    noisy = [y * rng.lognormal(0, 0.3) for y in times]
    assert 0.1 < tables.fit(totals, noisy).median < 0.4  # the error it tells of is the noise


def test_a_fit_needs_two_networks(cache) -> None:
    with pytest.raises(ValueError, match="1 design to fit a table of latencies on; give at least 2"):
        tables.fitted(OpTable(CPU, threads=1), designs("chain", 1))


def works(count: int) -> list[Work]:
    found = designs("chain", count // 2) + designs("mobile", count - count // 2)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(found))
    return [Work.of(found[at], epochs=int(rng.integers(1, 4)), images=1000, val=100) for at in order]


def test_work_counts_what_the_network_holds() -> None:
    for design in [*designs("mobile", 2), *designs("chain", 2)]:
        work = Work.of(design, epochs=2, images=600, val=30)
        network = design.network()
        macs = grouped = 0

        def count(module, inputs, output):
            nonlocal macs, grouped
            if isinstance(module, nn.Conv2d):
                own = output[0].numel() * module.weight[0].numel()
                macs, grouped = macs + own * (module.groups == 1), grouped + own * (module.groups > 1)
            elif isinstance(module, nn.Linear):
                macs += output[0].numel() * module.in_features

        for module in network.modules():
            module.register_forward_hook(count)
        with torch.no_grad():
            network.eval()(torch.zeros(1, *design.shape))
        assert (work.macs, work.grouped) == (macs, grouped)
        amounts = dict(zip(AMOUNTS, work.amounts(), strict=True))
        assert amounts["macs"] == macs * 2 * (600 + 10) and amounts["steps"] == 2 * 600 / work.batch_size


def test_seconds_are_learned_from_results_and_the_intervals_cover_them() -> None:
    rng = np.random.default_rng(3)
    machine = USUAL * np.array([2, 0.5, 3, 1, 2, 0.6, 1.5, 1])
    every = works(120)
    rows = [(work, float(work.amounts() @ machine) * float(rng.lognormal(0, 0.1))) for work in every]
    errors, covers = {}, {}
    for seen in (1, 20):
        model = fit(rows[:seen])
        found = [(model.predict(work), seconds) for work, seconds in rows[20:]]
        errors[seen] = np.median([abs(one.median / seconds - 1) for one, seconds in found])
        covers[seen] = np.mean([one.low <= seconds <= one.high for one, seconds in found])
    assert errors[20] < errors[1] and errors[20] < 0.12
    assert covers[20] > 0.85 and covers[1] > 0.8


def test_one_measurement_sets_the_pace_of_all() -> None:
    one, other = works(2)
    slow, quick = (fit([(one, factor * float(one.amounts() @ USUAL))]) for factor in (10.0, 1.0))
    assert slow.predict(other).median == pytest.approx(10 * quick.predict(other).median)
    assert quick.predict(other).median == pytest.approx(float(other.amounts() @ USUAL))


def test_the_rates_are_the_best_that_are_not_negative() -> None:
    rng = np.random.default_rng(0)
    rows = [(work, float(work.amounts() @ USUAL) * float(rng.lognormal(0, 0.5))) for work in works(12)]
    model = fit(rows)
    x = np.array([work.amounts() * USUAL / seconds for work, seconds in rows])
    machine = float(np.median(1 / x.sum(axis=1)))

    def loss(rates: np.ndarray) -> float:
        left = ((x @ rates - 1) / noise) ** 2
        return float(left.sum() + (((rates / machine - 1) / 0.7) ** 2).sum())

    from estimators.cost import seconds as module

    noise = 0.3
    best = module._rates(x, machine, noise)
    assert (best >= 0).all() and min(model.rates().values()) >= 0
    moved = np.maximum(best + rng.normal(0, 0.05, (2000, len(best))) * machine, 0)
    assert loss(best) <= min(map(loss, moved))


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        ([], "no measurement to fit seconds on"),
        ([1.0, 0.0], "seconds 0.0: give positive"),
        ([float("nan")], "seconds nan"),
    ],
)
def test_a_fit_refuses_what_is_no_time(seconds, message) -> None:
    with pytest.raises(ValueError, match=message):
        fit(list(zip(works(2), seconds, strict=False)))


@pytest.mark.gpu
def test_latency_on_cuda_is_by_events() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    found = latency(nn.Conv2d(3, 8, 3).to(device), (3, 32, 32), device=device, batch_size=8)
    assert 0 < found.p10 <= found.median <= found.p99
