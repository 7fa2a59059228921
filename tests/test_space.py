"""Spaces: ranges, conditions, encodings, and the messages of what does not fit."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.operators import mutate, tournament, two_point_crossover, uniform_crossover
from search_spaces.space import Choice, Configuration, Float, Int, Linear, Space


@st.composite
def parameters(draw, depth=2):
    kind = draw(
        st.sampled_from(["float", "int", "choice", "ordered", "nested"] if depth else ["float", "int"])
    )
    if kind == "float":
        low = draw(st.floats(1e-6, 10))
        return Float(low, low + draw(st.floats(0.1, 100)), log=draw(st.booleans()))
    if kind == "int":
        low = draw(st.integers(1, 20))
        return Int(low, low + draw(st.integers(0, 50)), log=draw(st.booleans()), step=draw(st.integers(1, 4)))
    if kind == "nested":
        return Choice({"none": None, "own": draw(spaces(depth - 1))})
    return Choice(tuple(range(draw(st.integers(1, 6)))), ordered=kind == "ordered")


@st.composite
def spaces(draw, depth=2):
    return Space(**{f"p{i}": draw(parameters(depth)) for i in range(draw(st.integers(1, 4)))})


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_samples_fit_and_encode(space, seed):
    rng = np.random.default_rng(seed)
    for config in [space.default(), *(space.sample(rng) for _ in range(5))]:
        assert space.check(config) == config
        row = space.encode(config)
        assert row.shape == (space.dimensions,) and (row >= 0).all() and (row <= 1).all()
        for slot in space.slots:
            if slot.path in config and not isinstance(slot.parameter, Float):
                assert slot.parameter.value(slot.parameter.unit(config[slot.path])) == config[slot.path]
        assert pickle.loads(pickle.dumps(config)) == config


def test_weighted_options_are_drawn_as_often_as_they_weigh():
    choice = Choice(("a", "b", "c"), weights=(4, 1, 3))
    for option in choice.options:
        assert choice.value(choice.unit(option)) == option
    rng = np.random.default_rng(0)
    drawn = [Space(x=choice).sample(rng)["x"] for _ in range(8_000)]
    assert [round(drawn.count(option) / 1_000) for option in choice.options] == [4, 1, 3]
    assert choice.value(0.0) == "a" and choice.value(1.0) == "c"
    for weights in ((1, 2), (1, 0, 1), (1, -1, 1), (1, math.inf, 1)):
        with pytest.raises(ValueError, match="one positive number for each"):
            Choice(("a", "b", "c"), weights=weights)


def test_shared_options_are_one_parameter():
    a, b = Float(0.0, 1.0), Int(1, 4)
    depth = Choice({"one": Space(a=a), "two": Space(a=a, b=b), "none": None}, shared=True)
    space = Space(depth=depth)
    assert [slot.path for slot in space.slots] == ["depth", "depth.a", "depth.b"]
    assert space.check({"depth": "two", "depth.a": 0.5, "depth.b": 2})
    with pytest.raises(ValueError, match=r"'depth.b' is inactive"):
        space.check({"depth": "one", "depth.a": 0.5, "depth.b": 2})
    kept = space.complete({"depth": "two", "depth.a": 0.25}, np.random.default_rng(0))
    assert kept["depth.a"] == 0.25 and "depth.b" in kept
    assert (
        space.size == math.inf and Space(c=Choice({"x": Space(b=b), "y": Space(b=b)}, shared=True)).size == 8
    )
    with pytest.raises(ValueError, match=r"'a' is .* under 'two'"):
        Choice({"one": Space(a=a), "two": Space(a=b)}, shared=True)


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_operators_stay_inside_and_keep_what_fits(space, seed):
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    child = mutate(space, a, rng)
    assert space.check(child) == child
    movable = [slot for slot in space.slots if slot.path in a and slot.parameter.size > 1]
    kept = [path for path in a if path in child and child[path] == a[path]]
    if movable:
        assert child != a
        changed = [path for path in a if path in child and child[path] != a[path]]
        assert len(changed) == 1 and len(kept) >= len([p for p in a if p in child]) - 1
    for cross in (uniform_crossover, two_point_crossover):
        child = cross(space, a, b, rng)
        assert space.check(child) == child
        for path, value in child.items():
            assert value in (a.get(path), b.get(path)) or path not in a or path not in b
    assert space.complete(a, rng) == a


@pytest.mark.parametrize(
    "parameter", [Int(1, 9, step=2), Int(1, 100, log=True), Choice((3, 5, 7)), Int(4, 4)]
)
def test_discrete_values_survive_the_unit_interval(parameter):
    values = {parameter.value(u) for u in np.linspace(0, 1, 4001)}
    assert len(values) == parameter.size
    assert all(parameter.value(parameter.unit(value)) == value for value in values)


def test_float_is_uniform_in_the_logarithm():
    parameter = Float(1e-4, 1.0, log=True)
    values = np.log10([parameter.value(u) for u in np.linspace(0, 1, 5)])
    np.testing.assert_allclose(values, [-4, -3, -2, -1, 0], atol=1e-12)


def test_conditional_grid_leaves_inactive_parameters_out():
    space = Space(a=Choice({"x": None, "y": Space(k=Int(1, 3), m=Choice((True, False)))}), b=Int(0, 1))
    grid = list(space.grid())
    assert len(grid) == len(set(grid)) == space.size == (1 + 3 * 2) * 2
    assert all(("a.y.k" in config) == (config["a"] == "y") for config in grid)
    with pytest.raises(ValueError, match="continuous"):
        list(Space(f=Float(0, 1)).grid())


def test_a_grid_of_three_by_three_by_three():
    space = Space(a=Int(1, 3), b=Choice(tuple("xyz")), c=Choice((0.1, 0.2, 0.3)))
    assert {tuple(c.values()) for c in space.grid()} == set(
        itertools.product((1, 2, 3), "xyz", (0.1, 0.2, 0.3))
    )


def test_linear_constraints_hold():
    space = Space(a=Int(0, 10), b=Int(0, 10), constraints=[Linear({"a": 1, "b": 2}, 8)])
    rng = np.random.default_rng(0)
    assert all(c["a"] + 2 * c["b"] <= 8 for c in (space.sample(rng) for _ in range(200)))
    impossible = Space(a=Int(5, 10), constraints=[Linear({"a": 1}, 1)])
    with pytest.raises(ValueError, match="loosen a bound"):
        impossible.sample(rng)


def test_identity_is_typed_and_does_not_depend_on_order():
    assert Configuration({"a": 1, "b": 2}).id == Configuration({"b": 2, "a": 1}).id
    assert Configuration({"a": 1}).id != Configuration({"a": 1.0}).id != Configuration({"a": True}).id
    assert Configuration({"a": 1}).id == "015abd7f5cc57a2d"  # sha256 of {"a":1}: the same on every machine


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(2, 1), "low=2 lies above high=1; swap them"),
        (lambda: Float(0, 1, log=True), "a log scale needs low > 0"),
        (lambda: Float(math.nan, 1), "not a finite number"),
        (lambda: Int(1, 5, step=0), "step >= 1"),
        (lambda: Choice([]), "no options"),
        (lambda: Choice([1, 1]), "stands twice"),
        (lambda: Choice([1, 2], default=3), "is not one of"),
        (lambda: Space(a=3), "give a Float, Int, Choice or Space"),
        (lambda: Space(a=Int(0, 1), constraints=[Linear({"b": 1}, 1)]), "not a parameter of this space"),
        (lambda: Space(lr=Float(0, 1)).parameter("lrr"), "did you mean 'lr'"),
        (lambda: Space(a=Int(0, 1)).check({}), "is missing"),
        (lambda: Space(a=Int(0, 1)).check({"a": 2}), r"lies outside \[0, 1\]"),
        (lambda: Space(a=Int(0, 1)).check({"a": 1, "z": 2}), "is not in this space"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_tournament_takes_the_best_of_those_drawn():
    rng = np.random.default_rng(0)
    ranks = [3.0, 1.0, 2.0, 0.0]
    assert tournament(ranks, 4, rng) == 3
    wins = np.bincount([tournament(ranks, 2, rng) for _ in range(3000)], minlength=4) / 3000
    np.testing.assert_allclose(wins, [0, 2 / 6, 1 / 6, 3 / 6], atol=0.03)


def test_fingerprints_are_those_of_the_description():
    def space(high=3):
        return Space(a=Choice({"x": None, "y": Space(k=Int(1, high))}), f=Float(0, 1))

    assert space().fingerprint == space().fingerprint != space(4).fingerprint
    assert "0x" not in repr(space())
