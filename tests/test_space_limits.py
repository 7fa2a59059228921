"""Linear constraints over choices, and spaces that could be misread."""

import enum
import math

import numpy as np
import pytest

from nas.study import Study
from search_spaces.space import Choice, Float, Int, Linear, Space


def test_constraints_over_choices_alone_hold_in_every_draw():
    pair = Choice([1, 2, 4, 8])
    space = Space(a=pair, b=pair, constraints=[Linear({"a": 1, "b": 1}, 4)])
    drawn = {tuple(space.sample(np.random.default_rng(seed)).items()) for seed in range(300)}
    assert len(drawn) == 4  # all that hold
    study = Study(space, strategy="random", seed=0)
    study.optimize(lambda config: config["a"], trials=9)
    assert len(study.trials) == 4 and study.exhausted


def test_tight_constraints_over_switches_and_widths():
    switches = Space(
        **{f"s{i}": Choice([False, True]) for i in range(12)},
        x=Float(0, 1),
        constraints=[Linear({f"s{i}": 1 for i in range(12)}, 1)],
    )
    rng = np.random.default_rng(0)
    counts = [sum(v for p, v in switches.sample(rng).items() if p != "x") for _ in range(200)]
    assert set(counts) == {0, 1}
    widths = Space(
        **{f"w{i}": Choice([16, 32, 64, 128]) for i in range(8)},
        constraints=[Linear({f"w{i}": 1 for i in range(8)}, 150)],
    )
    for _ in range(20):
        assert widths.complete({}, rng, fixed={"w0": 32})["w0"] == 32


def test_defaults_that_nobody_gave_move():
    pair = Choice([8, 1])
    space = Space(a=pair, b=pair, constraints=[Linear({"a": 1, "b": 1}, 10)])
    assert sum(space.default().values()) <= 10 and space.default() == space.default()
    shut = Space(a=Int(5, 9), constraints=[Linear({"a": 1}, 2)])
    assert Space(c=Choice({"big": shut, "none": None})).default()["c"] == "none"


def test_a_partial_configuration_of_a_shared_choice_implies_what_all_its_paths_allow():
    block = Int(1, 9)
    depth = Choice(
        {str(n): Space(**{f"b{i}": Space(k=block) for i in range(1, n + 1)}) for n in (2, 3, 4)}, shared=True
    )
    space = Space(depth=depth)
    assert space.partial({"depth.b3.k": 5, "depth.b4.k": 3})["depth"] == "4"
    assert space.partial({"depth.b4.k": 3, "depth.b1.k": 3})["depth"] == "4"
    with pytest.raises(ValueError, match=r"'depth\.b4\.k' is inactive with 'depth' at '3'"):
        space.partial({"depth": "3", "depth.b4.k": 3})


class Colour(enum.IntEnum):
    RED = 1


def test_options_are_plain_values():
    assert [type(o) for o in Choice(np.linspace(0, 1, 3)).options] == [float] * 3
    assert type(Choice([Colour.RED, 2]).options[0]) is int
    study = Study(Space(a=Choice(np.arange(4))), strategy="gp", seed=0)
    study.optimize(lambda config: config["a"], trials=4)
    assert study.best.config["a"] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice("adam"), "options='adam' is one word; give a list, for example"),
        (lambda: Choice([1.0, math.inf]), "option inf is not finite"),
        (lambda: Choice([1, 2], default=2.0), "default=2.0 is not one of"),
        (lambda: Int(0, 2**60), "hold more than 2\\^53 values; use a Float"),
        (
            lambda: Space(c=Choice({1: Space(lr=Float(0, 1)), "1": Space(lr=Float(5, 6))})),
            "two parameters stand at 'c.1.lr'; rename",
        ),
    ],
)
def test_what_could_be_misread_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
