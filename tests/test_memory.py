"""Peaks of memory: predicted against what is really allocated, measured for one evaluation alone, and kept."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from estimators.cost.liveness import Live
from estimators.cost.memory import (
    LOW,
    SCORED,
    _nodes,
    _peak_of_scoring,
    _peak_of_step,
    pieces_within,
    predict_memory,
)
from estimators.cost.peak import CLEAR, Peak
from estimators.dataset import Dataset, save
from estimators.estimator import Context, Fidelity
from estimators.loop import Training
from estimators.mix import Labels
from estimators.preprocess import Standardise
from estimators.split import Split
from estimators.train import TrainEstimator
from nas.draws import draw
from search_spaces.architecture import Design, Opaque, SearchSpace, family
from search_spaces.configuration import Configuration
from search_spaces.graph import Graph, Node
from search_spaces.recipe import Recipe, recipe_space
from search_spaces.space import Choice, Space

CPU = torch.device("cpu")


def designs(name, count, shape=(3, 16, 16)):
    space = SearchSpace(family(name, shape, 10), recipe_space(shape, 10, 4_000))
    drawn = (draw(space, number, 0) for number in range(20))
    return [one.design for one in islice((one for one in drawn if not isinstance(one, str)), count)]


def allocated(design, n, dtype):
    """Return the peak of bytes that torch gives out in a step of ``n`` images, and in their evaluation."""
    network = design.network(0).train().to(memory_format=torch.channels_last)
    x = torch.zeros(n, *design.shape).contiguous(memory_format=torch.channels_last)
    state = [x, *network.parameters(), *network.buffers()]
    autocast = torch.autocast("cpu", dtype, enabled=dtype != torch.float32, cache_enabled=False)
    with Live(*state) as live:
        with autocast:
            out = network(x)
        out.sum().backward()
    peak = live.peak
    network.eval()
    with Live(*state) as live, torch.no_grad():
        network(x)
    return peak, live.peak


def predicted(design, n, dtype):
    """Return the same two, as they are in a prediction."""
    step = sum(_peak_of_step(_nodes(design, dtype), n))
    return step, _peak_of_scoring(_nodes(design, torch.float32), n)


@pytest.mark.parametrize("name", ["chain", "mobile", "cell", "residual", "vit"])
def test_the_prediction_is_what_torch_allocates(name):
    for design in designs(name, 2):
        for dtype, most in ((torch.float32, 1.25), (torch.bfloat16, 1.4)):
            step, scoring = (
                a / b for a, b in zip(predicted(design, 8, dtype), allocated(design, 8, dtype), strict=True)
            )
            assert 0.97 < step < most and 0.6 < scoring < 1.3, (name, dtype, step, scoring)


def chain(recipe, filters=16):
    nodes = (
        Node.make("x", "input"),
        Node.make("one", "conv", ["x"], filters=filters),
        Node.make("pool", "global-pool", ["one"]),
        Node.make("out", "linear", ["pool"], units=10),
    )
    recipe = Configuration({"lr": 0.1, **recipe})
    return Design(Configuration({}), recipe, (3, 8, 8), 10, graph=Graph(nodes, "out"))


@pytest.mark.parametrize(
    ("recipe", "copies"),
    [
        ({"optimizer": "sgd", "optimizer.sgd.momentum": 0.0}, 0),
        ({"optimizer": "sgd", "optimizer.sgd.momentum": 0.9}, 1),
        ({"optimizer": "rmsprop"}, 1),
        ({"optimizer": "adamw", "ema": 0.99}, 2),
    ],
)
def test_the_state_is_counted_as_it_is(recipe, copies):
    design = chain(recipe)
    plain, parsed = Standardise.identity(3), Recipe.parse(design.recipe)
    training = Training(design.network(0), parsed, plain, device=CPU, dtype=torch.float32)
    training.step(torch.zeros(4, 3, 8, 8), Labels(torch.zeros(4, dtype=torch.long)), 1.0)
    groups = training.state().groups
    real = {
        name: sum(t.nbytes for t in groups.get(group, {}).values() if t.numel() > 1)
        for name, group in (("weights", "network"), ("optimizer", "optimizer"), ("average", "average"))
    }
    parts = predict_memory(design).parts
    assert {name: parts[name] for name in real} == pytest.approx(real, abs=16)
    assert parts["optimizer"] == copies * 4 * design.parameters
    assert parts["copy"] == parts["weights"] + parts["optimizer"] + parts["average"]


def test_a_larger_batch_takes_more_and_pieces_take_less():
    small, large = (predict_memory(chain({"batch_size": size}, 64)) for size in (1024, 4096))
    assert large.total > 3 * small.total and large.low < large.total < large.high
    assert predict_memory(chain({"batch_size": 4096}, 64), pieces=4).total < 0.5 * large.total
    least = predict_memory(chain({"batch_size": 16}, 64)).parts["activations"]
    assert least > SCORED * 8 * 8 * 64 * 4  # a validation batch is larger than a small one


def test_pieces_follow_from_the_design_and_the_limit():
    design = chain({"batch_size": 4096}, 64)
    whole = predict_memory(design)
    assert pieces_within(design, whole.low) == 1 and LOW < 1
    for part in (2, 4):
        cut = predict_memory(design, pieces=part).total
        if cut < whole.low:
            assert pieces_within(design, cut) == part
    with pytest.raises(
        MemoryError, match=r"predicted .*B, cut into 2048 pieces .*B, limit 1.0 kB; search smaller"
    ):
        pieces_within(design, 1_000)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    rng = np.random.default_rng(0)

    def part(n):
        return Split(rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8), np.arange(n) % 10)

    folder = tmp_path_factory.mktemp("data") / "data"
    save(Dataset("random", part(128), part(40), part(20), tuple("0123456789")), folder)
    return folder


def test_a_batch_that_would_not_fit_is_cut_and_a_design_that_cannot_is_not_begun(saved, tmp_path):
    design, estimator = chain({"batch_size": 64}, 256), TrainEstimator(saved, metrics=["memory"])
    limits = {part: predict_memory(design, pieces=part) for part in (1, 4)}
    done = {}
    for name, limit in (
        ("free", None),
        ("wide", limits[1].total),
        ("tight", limits[1].low - 1),
        ("none", 1e6),
    ):
        context = Context(seed=0, scratch=tmp_path / name, memory=limit)
        context.scratch.mkdir()
        done[name] = estimator.evaluate(design, Fidelity(1), context)
    assert done["none"].error.startswith("memory: predicted ") and done["none"].checkpoint is None
    assert (
        done["free"].metrics["loss"] == done["wide"].metrics["loss"] and done["free"].metrics["memory"] > 1e6
    )
    assert limits[4].total <= limits[1].low - 1 and done["tight"].error is None
    assert done["tight"].metrics["loss"] != done["free"].metrics["loss"]  # batch norm saw the pieces
    assert done["tight"].metrics["memory"] < done["free"].metrics["memory"]


def build(config):
    width = config["width"]
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 10))


def test_an_opaque_design_is_measured():
    shape = (3, 8, 8)
    space = SearchSpace(Opaque(shape, 10, Space(width=Choice((8, 64))), build), Space())
    rng = np.random.default_rng(0)
    found = {}
    while len(found) < 2:
        design = space.decode(space.space.sample(rng))
        found[design.config["architecture.width"]] = design
    for design in found.values():
        step, _ = predicted(design, 16, torch.float32)
        assert step == pytest.approx(allocated(design, 16, torch.float32)[0], rel=0.2)
    assert predict_memory(found[64]).total > 2 * predict_memory(found[8]).total


@pytest.mark.skipif(not CLEAR.exists(), reason="the mark cannot be set back here")
def test_the_peak_is_of_what_came_since():
    before = torch.ones(30_000_000)
    before *= 2
    del before
    peak = Peak(CPU)
    held = torch.ones(10_000_000)
    held += 1
    del held
    assert 38e6 < peak.bytes < 60e6
    assert Peak(CPU, held=1000).bytes < 10e6


def test_without_the_mark_there_is_a_lower_bound(monkeypatch, tmp_path):
    monkeypatch.setattr("estimators.cost.peak.CLEAR", tmp_path)
    assert 0 <= Peak(CPU, held=5).bytes < 10e6
