"""Seconds of steps and of what is left, and latencies before and after a search: against values by hand."""

import json
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from estimators.cost import table as tables
from estimators.cost.latency import Latency
from estimators.cost.seconds import Interval, fit
from estimators.cost.table import OpTable, Total
from estimators.estimator import Fidelity, Result
from nas import calibration
from nas.duration import Durations, added
from nas.exclusive import PROBES, Latencies, bound_on_latency, predicts_latency
from nas.folder import Folder, Settings
from nas.plan import Cost, step_limit
from nas.status import status_of
from nas.trackers.terminal import Terminal
from nas.trial import Problem, Step, Trial
from nas.wording import latency_lines
from search_spaces.architecture import SearchSpace, family
from search_spaces.recipe import recipe_space
from search_spaces.space import Space

SPACE = SearchSpace(family("chain", (1, 8, 8), 10), recipe_space((1, 8, 8), 10, 1000))
DEFAULT = SPACE.space.default()
COST = Cost(0.1, 0.002)


def trial(number: int, seconds: float = 4.0, *, epochs: int = 2) -> Trial:
    config = SPACE.space.sample(np.random.default_rng(number))
    step = Step(number, number, Fidelity(epochs, 0.5), curve=({"loss": 1.0},) * epochs, seconds=seconds)
    return Trial(number, config, steps=(step,))


def durations(cost: Cost | None = COST) -> Durations:
    return Durations(SPACE.decode, DEFAULT, images=10_000, val=100, cost=cost)


def test_before_any_result_the_default_takes_what_it_was_measured_to_take() -> None:
    asked = Trial(0, DEFAULT, asked=Step(0, 0, Fidelity(1, 0.2048)))
    found = durations().step(asked, [])
    assert found is not None
    assert found.low < COST.seconds(2048) < found.high
    assert found.median == pytest.approx(COST.seconds(2048), rel=0.15)


@pytest.mark.parametrize("patience", [60.0, 0.0])
def test_only_what_was_measured_is_a_row(patience, tmp_path, monkeypatch) -> None:
    """Where the larger measurement takes too long it is left out, and no row stands for it."""
    seconds = {512: 1.0, 2048: 3.0}
    monkeypatch.setattr(calibration, "PATIENCE", patience)
    ended = SimpleNamespace(
        slots=1,
        threads=1,
        submit=lambda task: SimpleNamespace(
            result=lambda: Result(seconds=seconds[round(task.fidelity.data * 10_000)])
        ),
    )
    cost = calibration.calibrate(None, SPACE, ended, Folder(tmp_path), 10_000, "cpu")  # type: ignore[arg-type]
    counts = (512, 2048) if patience else (512,)
    assert cost.measured == counts and Cost.of(json.loads(json.dumps(cost.row()))) == cost
    one = durations(cost)
    rows = [(one.work(DEFAULT, 1, count), seconds[count]) for count in counts]
    model = one.model([])
    assert model is not None and model.rates() == pytest.approx(fit(rows).rates())


def test_without_measurement_nothing_is_predicted() -> None:
    one = durations(None)
    assert one.model([]) is None and one.finals([(trial(0), 5)], []) is None
    assert one.step(Trial(0, DEFAULT, asked=Step(0, 0, Fidelity())), []) is None


def test_the_model_is_a_function_of_the_results_however_they_came() -> None:
    trials = [trial(number, 1.0 + number) for number in range(12)]
    stepwise, whole = durations(), durations()
    for count in range(len(trials) + 1):
        model = stepwise.model(trials[:count])
    again = whole.model(trials)
    assert model is not None and again is not None
    assert model.rates() == again.rates() and model.rows == 14
    rows = [(whole.work(DEFAULT, 1, n), COST.seconds(n)) for n in (512, 2048)]
    rows += [(whole.work(t.config, 2, 5_000), t.seconds) for t in trials]
    assert fit(rows).rates() == again.rates()


def test_failed_steps_teach_no_seconds() -> None:
    broken = replace(trial(0), steps=(replace(trial(0).steps[0], error="memory: none left"),))
    model = durations().model([broken])
    assert model is not None and model.rows == 2


def ended(number: int, seconds: float) -> Trial:
    one = trial(number, seconds)
    step = replace(one.steps[0], curve=(), error=f"timeout: over {seconds:g} s")
    return replace(one, steps=(step,))


@pytest.mark.parametrize("quick", [0, 6, 100])
def test_a_machine_that_became_slow_has_its_time_after_some_timeouts(quick: int) -> None:
    """Every training takes twelve times what was measured; each timeout raises the limit until one comes through."""
    trials = [trial(number, 0.002 * 10_000) for number in range(quick)]
    one, limits = durations(), list[float]()
    for number in range(quick, quick + 40):
        config = trial(number).config
        predicted = one.step(Trial(number, config, asked=Step(number, number, Fidelity(2, 0.5))), trials)
        assert predicted is not None
        limits.append(step_limit(predicted))
        if limits[-1] > 12 * 20:
            break
        trials.append(ended(number, limits[-1]))
    assert limits[-1] > 12 * 20 > limits[0], limits
    model, again = one.model(trials), durations().model(trials)
    assert model is not None and again is not None and model.rates() == again.rates()


def test_seconds_of_forks_are_those_of_the_start_they_descend_from() -> None:
    starts = [replace(trial(number, 10.0), lineage=number) for number in range(3)]
    forks = [replace(trial(number, 20.0), parent=0, lineage=1, replaces=2) for number in (3, 4)]
    left = durations().searching([*starts, *forks], 2)
    assert left is not None and left.median == pytest.approx(2 * (3 * 10 + 2 * 20) / 3)
    assert durations().searching(starts, 2) != left


def test_a_timeout_that_the_others_foresee_teaches_nothing() -> None:
    trials = [trial(number, 40.0) for number in range(6)]
    without, given = durations().model(trials), durations().model([*trials, ended(7, 0.5)])
    assert without is not None and given is not None and given.rates() == without.rates()


def test_a_slow_design_has_the_time_it_needs_and_a_small_one_is_ended_early() -> None:
    found = sorted([trial(n) for n in range(20)], key=lambda one: SPACE.decode(one.config).macs)
    one = durations()
    limits = []
    for each in (found[0], found[-1]):
        asked = replace(each, steps=(), asked=Step(0, each.number, Fidelity(9)))
        predicted = one.step(asked, [])
        assert predicted is not None
        limits.append(step_limit(predicted))
        assert limits[-1] == 2 * predicted.high + 5
    assert limits[1] > 2 * limits[0]


def test_what_is_left_of_a_search_has_the_spread_of_its_trials() -> None:
    trials = [trial(number, seconds) for number, seconds in enumerate((4.0, 6.0, 8.0))]
    found = durations().searching(trials, 10)
    assert found is not None and found.median == 60.0
    half = 1.645 * 2.0 * np.sqrt(10 + 100 / 3)
    assert (found.low, found.high) == pytest.approx((60 - half, 60 + half))
    assert durations().searching(trials[:1], 10) is None
    assert durations().searching(trials, 0) == Interval(0.0, 0.0, 0.0)


def test_intervals_add_and_end() -> None:
    total = added([Interval(10.0, 7.0, 14.0), Interval(20.0, 16.0, 23.0)])
    assert total == Interval(30.0, 25.0, 35.0)
    assert total.within(32.0) == Interval(30.0, 25.0, 32.0) and total.within(-1.0) == Interval(0.0, 0.0, 0.0)
    assert total.after(28.0) == Interval(2.0, 0.0, 7.0)


def whole(total: Total) -> Latency:
    return Latency(*[2.0 * total.milliseconds] * 4, n=30)


@pytest.mark.parametrize(
    ("left", "said"),
    [(Interval(75.0, 60.0, 3661.0), "0:01:15 left (0:01:00 to 1:01:01)"), (None, "at most 0:01:")],
)
def test_the_terminal_shows_what_is_left_with_its_spread(tmp_path, left, said) -> None:
    terminal = Terminal(
        tmp_path, Problem(Space()), seconds=90.0, left=lambda: left, console=Console(file=StringIO())
    )
    assert said in terminal._line()


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """Latencies whose ops take 2 ms each and whose networks take twice the sum of their ops."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    monkeypatch.setattr(tables, "passes", lambda run, device, repeats: np.full(repeats, 2.0))
    monkeypatch.setattr(OpTable, "measure", lambda self, design: whole(self.total(design)))
    return Latencies(SPACE, SPACE.measure, OpTable(torch.device("cpu"), threads=1), seed=0)


def test_latency_is_free_in_a_search_and_measured_alone_after_it(predicted: Latencies) -> None:
    free = predicted.measure(DEFAULT)
    ops = len(SPACE.decode(DEFAULT).network()._steps)
    assert free.keys() == {"params", "macs", "size", "latency"}
    assert free["latency"] == pytest.approx(4.0 * ops, rel=0.1)
    assert predicted.alone([Trial(7, DEFAULT)]) == {"7": 4.0 * ops}
    about = predicted.about()
    assert about["measured"] == 1 + PROBES and about["ninetieth"] < 0.1


def test_a_resumed_search_predicts_as_before(predicted: Latencies, monkeypatch) -> None:
    before = predicted.measure(DEFAULT)
    again = Latencies(SPACE, SPACE.measure, OpTable(torch.device("cpu"), threads=1), seed=0)
    again.restore(predicted.about())
    monkeypatch.setattr(OpTable, "measure", None)  # nothing is fitted anew
    assert again.measure(DEFAULT) == before


def test_beyond_the_bound_no_more_is_timed_than_it_takes_to_know(predicted: Latencies) -> None:
    settings = Settings("digits", trials=1, constraints=("latency<=5", "latency<=3", "params<=1"))
    assert bound_on_latency(settings) == 3.0 and bound_on_latency(Settings("digits", trials=1)) == np.inf
    strict = Latencies(SPACE, SPACE.measure, OpTable(torch.device("cpu"), threads=1), seed=0, bound=3.0)
    strict.restore(predicted.about())
    fresh = next(
        config
        for n in range(100, 200)
        if not predicted.measure(config := SPACE.space.sample(np.random.default_rng(n)))["latency"] < 12
    )
    strict.table._times.clear()
    strict.table.path.unlink()
    assert strict.measure(fresh)["latency"] == 4.0 < predicted.measure(fresh)["latency"]
    assert len(strict.table) == 1
    strict.table.total(SPACE.decode(fresh))
    assert strict.measure(fresh)["latency"] == 4.0  # however much is known


def test_a_latency_is_the_same_whatever_the_table_knew(predicted: Latencies, monkeypatch) -> None:
    rng = np.random.default_rng(1)
    monkeypatch.setattr(OpTable, "_op", lambda self, op, shapes: float(rng.uniform(0.01, 0.3)))
    for number in range(30):
        design = SPACE.decode(SPACE.space.sample(np.random.default_rng(number)))
        assert predicted.table.total(design) == predicted.table.total(design)


def test_of_two_searches_at_once_the_first_to_time_an_op_counts(predicted: Latencies, monkeypatch) -> None:
    one, other = (OpTable(torch.device("cpu"), threads=1) for _ in range(2))
    design = SPACE.decode(DEFAULT)
    monkeypatch.setattr(OpTable, "_op", lambda self, op, shapes: 7.0 if self is one else 9.0)
    assert one.total(design) == other.total(design)

    def beaten(self, op, shapes):  # the other process is quicker
        fresh.total(wide)
        return 9.0

    fresh = OpTable(torch.device("cpu"), threads=1)
    wide = next(
        found
        for number in range(100)
        if (found := SPACE.decode(SPACE.space.sample(np.random.default_rng(number)))).macs > design.macs
    )
    monkeypatch.setattr(OpTable, "_op", lambda self, *op: 7.0 if self is fresh else beaten(self, *op))
    assert one.total(wide) == fresh.total(wide) == OpTable(torch.device("cpu"), threads=1).total(wide)


def test_what_describes_no_network_is_not_timed(predicted: Latencies, monkeypatch) -> None:
    def refuse(config):
        raise ValueError("no such network")

    monkeypatch.setattr(OpTable, "growing", None)
    with pytest.raises(ValueError, match="no such network"):
        Latencies(SPACE, refuse, predicted.table, seed=0).measure(DEFAULT)


def test_a_fit_holds_for_its_machine_alone(predicted: Latencies) -> None:
    about = predicted.about()
    assert predicted.holds(about) and predicted.holds({**about, "processor": about["processor"]})
    assert predicted.holds({name: value for name, value in about.items() if name != "processor"})
    for name, value in (("threads", 2), ("device", "cuda"), ("processor", "another")):
        assert not predicted.holds({**about, name: value})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"constraints": ("latency<=2",)}, True),
        ({"objectives": ("accuracy", "latency")}, True),
        ({"constraints": ("params<=1e6",)}, False),
    ],
)
def test_latency_is_predicted_where_it_is_asked_for(settings, expected) -> None:
    assert predicts_latency(Settings("digits", trials=1, **settings)) is expected


def test_status_tells_predicted_from_measured_and_the_time_left(predicted: Latencies, tmp_path) -> None:
    events = {"latency table": predicted.about(), "latency measured 1": {"3": 1.5}}
    status = status_of(
        [],
        Problem(Space()),
        events,
        Settings("digits", trials=1),
        state="running",
        seconds=1.0,
        best=tmp_path,
        left=Interval(10.04, 5.0, 20.0),
    )
    assert status["seconds_left"] == {"median": 10.0, "low": 5.0, "high": 20.0}
    assert status["latency"]["measured"] == {"3": 1.5}
    lines = latency_lines(status["latency"])
    assert "predicted from a table of ops" in lines[0] and "on 9 networks" in lines[0]
    assert lines[1] == "measured alone: trial 3 1.5 ms"
