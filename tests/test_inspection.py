"""``nas space``: what it says of a small space equals brute force, and its messages."""

import dataclasses
import io
import json
import re
import statistics
from math import prod

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from estimators import dataset as images
from estimators.dataset import load
from estimators.lr_range import Rates
from nas.cli import main
from nas.draws import Draw, draw, generator, rows
from nas.folder import Folder, Settings
from nas.front import _search_space
from nas.inspection import MOST, inspect, pace, size_of
from nas.joint import joint_space
from nas.rates import Found
from nas.sensitivity import TRIES
from nas.summary import plain, show
from nas.trial import Constraint
from search_spaces.architecture import Architecture, SearchSpace
from search_spaces.graph import Graph, Node
from search_spaces.recipe import recipe_space
from search_spaces.space import Choice, Float, Int, Linear, Space
from search_spaces.spaces.chain import Chain

SHAPE = (1, 8, 8)


class Small(Architecture):
    """12 networks: ``idle`` and the width of an absent layer change none; 13 filters are none."""

    @property
    def space(self):
        return Space(
            filters=Choice((4, 8, 13), ordered=True),
            idle=Int(1, 5),
            hidden=Choice({"none": None, "one": Space(units=Int(3, 5), unused=Float(0.0, 1.0))}),
            only=Choice((1,)),
        )

    def decode(self, config, shape):
        if config["filters"] == 13:
            raise ValueError("13 filters bring bad luck; choose 4 or 8")
        nodes = [Node.make("image", "input"), Node.make("c", "conv", ["image"], filters=config["filters"])]
        nodes.append(Node.make("pool", "global-pool", ["c"]))
        if config["hidden"] == "one":
            nodes.append(Node.make("h", "linear", ["pool"], units=config["hidden.one.units"]))
        nodes.append(Node.make("out", "linear", [nodes[-1].name], units=self.classes))
        return Graph(tuple(nodes), "out")


def small(recipe=None):
    return SearchSpace(Small(SHAPE, 2), recipe or Space(batch_size=Choice((16, 32), ordered=True)))


@pytest.fixture(scope="module")
def found():
    return inspect(small(), samples=300, seed=3, constraints=[Constraint.parse("params<=60")])


def networks():
    """Every valid network of the small space, by its choices."""
    space = small()
    for filters in (4, 8):
        for units in (None, 3, 4, 5):
            hidden = {"hidden": "none"} if units is None else {"hidden": "one", "hidden.one.units": units}
            below = {} if units is None else {"hidden.one.unused": 0.5}
            chosen = {"filters": filters, "idle": 1, "only": 1, **hidden, **below}
            config = {f"architecture.{path}": value for path, value in chosen.items()}
            yield space.decode(space.space.check({**config, "recipe.batch_size": 16}))


def test_sizes_count_what_is_active_together(found):
    size = found.sizes["architecture"]
    assert (size.parameters, size.continuous) == (5, 1)
    assert size.combinations == 3 * 5 * (1 + 3)
    discrete = Space(a=Int(0, 6, step=2), b=Choice({"x": None, "y": Space(c=Choice((1, 2, 3)))}))
    assert size_of(discrete).combinations == discrete.size == len(list(discrete.grid()))
    large = Space(**{f"p{place}": Int(0, 9) for place in range(400)})
    assert size_of(large).combinations == 10**400


def test_extremes_are_those_of_all_networks(found):
    every = list(networks())
    for name, count in (("params", lambda d: d.parameters), ("macs", lambda d: d.macs)):
        spread = found.spreads[name]
        assert spread.minimum == min(map(count, every)) and spread.maximum == max(map(count, every))
    by_hand = [one for one in (draw(small(), number, 3) for number in range(300)) if isinstance(one, Draw)]
    for name, spread in found.spreads.items():
        values = [one.metrics[name] for one in by_hand]
        assert spread.median == statistics.median_low(values)
        named = [draw(small(), number, 3).metrics[name] for number in spread.where]
        assert named == [spread.minimum, spread.median, spread.maximum]
        configs = [dict(draw(small(), number, 3).design.config) for number in spread.where]
        assert [found.configs[number] for number in spread.where] == configs
    assert found.spreads["params"].default == small().decode(small().space.default()).parameters


def test_invalid_draws_and_repeats_are_counted(found):
    space = small()
    configs = [space.space.sample(generator(3, 21, number)) for number in range(300)]
    valid = [config for config in configs if config["architecture.filters"] != 13]
    assert found.invalid == 300 - len(valid) > 50 and "bad luck" in found.reason
    paths = ("architecture.filters", "architecture.hidden", "architecture.hidden.one.units")
    seen = {tuple(config.get(path) for path in paths) for config in valid}
    assert len(seen) == len(list(networks())) and found.same_network == len(valid) - len(seen)
    joint = {(*(config.get(path) for path in paths), config["recipe.batch_size"]) for config in valid}
    assert found.same_design == len(valid) - len(joint) < found.same_network


def test_dead_dimensions_are_found_and_no_others(found):
    assert [change.path for change in found.changes] == [
        "filters",
        "idle",
        "hidden",
        "hidden.one.units",
        "hidden.one.unused",
    ]
    assert [change.path for change in found.changes if change.dead] == ["idle", "hidden.one.unused"]
    assert all(change.tries == TRIES for change in found.changes)
    assert all(change.changes == TRIES for change in found.changes if not change.dead)
    few = inspect(small(), samples=1, seed=2)  # what is seldom active is drawn until it is
    assert [change.path for change in few.changes if change.dead] == ["idle", "hidden.one.unused"]


def test_a_parameter_that_cannot_change_alone_is_not_called_dead():
    tied = small()
    parts = {"architecture.filters": 1.0, "architecture.idle": -1.0}
    tied.space = Space(
        architecture=Space(filters=Int(4, 5), idle=Int(4, 5), hidden=Choice(("none",))),
        constraints=[Linear(parts, 0), Linear({path: -weight for path, weight in parts.items()}, 0)],
    )
    told = inspect(tied, samples=20)
    assert [(change.tries, change.dead) for change in told.changes] == [(0, False), (0, False)]
    assert "too seldom active or valid to tell: filters, idle" in printed(told)


def test_reach_of_constraints(found):
    draws = [draw(small(), number, 3) for number in range(300)]
    met = sum(isinstance(one, Draw) and one.design.parameters <= 60 for one in draws)
    (reach,) = found.reaches
    assert 0 < met < 300 and (reach.met, reach.draws) == (met, 300) and found.impossible is None
    p, n, z = met / 300, 300, 1.959963984540054  # Wilson 1927, by hand
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert reach.interval == pytest.approx([(middle + s * half) / (1 + z * z / n) for s in (-1, 1)])


def test_a_constraint_out_of_reach_is_looked_for_longer():
    least = min(one.parameters for one in networks())
    bounds = [Constraint.parse(text) for text in (f"params<={least - 1}", "macs>=1")]
    none = inspect(small(), samples=30, constraints=bounds)
    assert [reach.draws for reach in none.reaches] == [MOST] * 3
    assert [reach.met == 0 for reach in none.reaches] == [True, False, True]
    assert none.impossible == (
        f"none of 5,000 draws meets params<={least - 1}; the nearest value seen is {least}; "
        "loosen it or change the space"
    )
    most = max(one.parameters for one in networks())
    apart = [Constraint.parse(text) for text in (f"params<={least}", f"params>={most}")]
    assert (
        f"meets params<={least} and params>={most}; loosen" in inspect(small(), constraints=apart).impossible
    )


def printed(found, terminal=False, nodes=False):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, highlight=False)
    show(console, "space small", found, nodes=nodes)
    return out.getvalue()


def test_print_and_json_hold_the_same(found):
    text = printed(found)
    spread, (reach,) = found.spreads["params"], found.reaches
    assert f"{found.spreads['macs'].maximum:,.0f}  #{found.spreads['macs'].where[2]}" in text
    assert f"{spread.minimum:,.0f}" in text and "dead dimensions: idle, hidden.one.unused" in text
    assert f"{reach.met / 300:.1%}" in text and "60 combinations of the 4 discrete, 1 continuous" in text
    assert "bad luck" in text and "\x1b" not in text and "─" not in text
    assert "─" in printed(found, terminal=True)
    values = json.loads(json.dumps(plain(found)))
    assert values["dead"] == ["idle", "hidden.one.unused"] and values["invalid"] == found.invalid
    assert values["spreads"]["params"]["where"] == list(spread.where) and len(values["shown"]) == 2
    for one, told in zip(found.shown, values["shown"], strict=True):
        assert sum(node["parameters"] for node in told["nodes"]) == one.design.parameters
        assert sum(node["macs"] for node in told["nodes"]) == one.design.macs
        assert [prod(row.shape) for row in rows(one.design)][-1] == 2


def test_rates_are_printed_beside_what_is_searched(found):
    swept = Rates(1e-3, 0.02, 0.15, ((1e-6, 2.3), (0.15, 0.4)))
    one = dataclasses.replace(found, rates={"sgd": Found(swept, (0.01, 0.5)), "adam": Found(swept, None)})
    lines = [line.split() for line in printed(one).splitlines()]
    assert ["sgd", "1.0e-03", "2.0e-02", "1.5e-01", "1.0e-02", "to", "5.0e-01"] in lines
    assert ["adam", "1.0e-03", "2.0e-02", "1.5e-01"] in lines
    assert plain(one)["rates"]["sgd"]["rates"]["steepest"] == 0.02


def test_networks_are_summed_up_by_shape_or_listed_by_node(found):
    short, long = (printed(found, nodes=nodes).partition("draw #")[2] for nodes in (False, True))
    assert short.splitlines()[1].split() == ["output", "nodes", "parameters", "MACs", "ops"]
    assert long.splitlines()[1].split() == ["node", "output", "parameters", "MACs", "op"]
    for what, text in enumerate((short, long)):
        for one, part in zip(found.shown, text.split("draw #"), strict=True):
            table = [
                line.split() for line in part.splitlines() if re.search(r"\dx?\d* +[\d,]+ +[\d,]+  ", line)
            ]
            assert sum(int(row[2].replace(",", "")) for row in table) == one.design.parameters
            nodes = [1] * len(table) if what else [int(row[1]) for row in table]
            assert sum(nodes) == len(rows(one.design))
    assert short.endswith("(--nodes lists every node)\n") and "--nodes" not in long


def test_a_long_network_is_a_few_lines(capsys):
    main(["space", "cell", "--data", "digits", "--samples", "2", "--no-timing"])
    draws = capsys.readouterr().out.partition("\ndraw #0")[2]
    assert len(draws.splitlines()) < 30 and " sum" in draws


def test_the_same_seed_draws_the_same(found):
    assert inspect(small(), samples=300, seed=3).spreads == found.spreads
    assert inspect(small(), samples=300, seed=4).changes != () and draw(small(), 5, 1) != draw(small(), 5, 2)


def test_seconds_come_from_the_estimator(monkeypatch):
    monkeypatch.setattr("nas.calibration.AGAIN", 0.0)
    dataset, space = load("digits"), SearchSpace(Chain(SHAPE, 10), recipe_space(SHAPE, 10, 1_222))
    found = inspect(space, samples=20)
    timed = pace(space, dataset, found, "cpu")
    assert timed.images == len(dataset.train) and timed.default > 0
    order = [found.spreads["macs"].default, found.spreads["macs"].median, found.ninetieth_macs]
    seconds = [timed.default, timed.median, timed.ninetieth]
    assert np.array_equal(np.argsort(order, kind="stable"), np.argsort(seconds, kind="stable"))


def test_the_space_is_that_of_a_search(tmp_path):
    rng = np.random.default_rng(0)
    lopsided = load((rng.integers(0, 256, (400, 16, 16, 3), dtype=np.uint8), np.arange(400) % 10 // 9))
    images.save(lopsided, tmp_path / "data")
    searched = _search_space(Settings(data="x", trials=1), Folder(tmp_path), None)
    assert joint_space(lopsided, "chain").space.fingerprint == searched.space.fingerprint


def test_the_command(tmp_path, capsys):
    arguments = ["space", "chain", "--data", "digits", "--samples", "12", "--no-timing"]
    main([*arguments, "--png", str(tmp_path / "two.png"), "--constraint", "params<=1e6"])
    out = capsys.readouterr().out
    assert "space chain" in out and "1,222 train" in out and "draw #1" in out and "params<=1e+06" in out
    with Image.open(tmp_path / "two.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 600
    main([*arguments, "--json"])
    values = json.loads(capsys.readouterr().out)
    assert values["space"] == "chain" and values["samples"] == 12 and values["pace"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chian", "--data", "digits"], "no space 'chian'; did you mean 'chain'"),
        (["chain", "--data", "digitz"], "no data set and no folder 'digitz'; did you mean 'digits'"),
        (["chain", "--data", "digits", "--samples", "0"], "samples=0: give at least 1"),
        (["chain", "--data", "digits", "--seed", "-1"], "seed=-1: give a whole number from 0 up"),
        (["chain", "--data", "digits", "--constraint", "params<1"], "write METRIC<=NUMBER"),
        (
            ["chain", "--data", "digits", "--constraint", "accuracy>=0.9"],
            "accuracy is known only after training; before it there are params, macs, size",
        ),
        (["chain", "--data", "digits", "--device", "cuda:7"], "torch sees"),
        (["chain", "--data", "digits", "--png", "nowhere/two.png"], "no folder 'nowhere'"),
        (
            ["chain", "--data", "digits", "--samples", "10", "--constraint", "params<=5"],
            "none of 50 draws meets params<=5; the nearest value seen is",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("nas.inspection.MOST", 50)
    with pytest.raises(SystemExit) as left:
        main(["space", *arguments])
    error = capsys.readouterr().err
    assert left.value.code == 2 and message in error and error.count("\n") == 1


def test_a_space_in_which_nothing_is_valid():
    class Cursed(Small):
        @property
        def space(self):
            return Space(filters=Choice((13,)), hidden=Choice(("none",)))

    with pytest.raises(ValueError, match="none of 7 samples decodes; the first says: 13 filters"):
        inspect(SearchSpace(Cursed(SHAPE, 2), Space()), samples=7)
