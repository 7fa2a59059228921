"""Linear constraints: they hold for whatever a space hands out, however tight, nested ones too."""

import itertools

import numpy as np
import pytest

from nas.operators import mutate, uniform_crossover
from nas.strategy import strategies
from nas.study import Study
from search_spaces.space import Choice, Float, Int, Linear, Space

EIGHT = {f"x{i}": 1.0 for i in range(8)}
TIGHT = Space(**{name: Float(0, 1) for name in EIGHT}, constraints=[Linear(EIGHT, 1.0)])
NESTED = Space(
    part=Space(a=Int(0, 9), b=Int(0, 9), constraints=[Linear({"a": 1, "b": 1}, 6)]),
    kind=Choice({"plain": None, "own": Space(k=Int(1, 9), constraints=[Linear({"k": -1}, -3)])}),
)


def test_tight_constraints_are_drawn_in_uniformly():
    rng = np.random.default_rng(0)
    sums = [sum(TIGHT.sample(rng).values()) for _ in range(250)]
    assert max(sums) <= 1 + 1e-12
    assert np.mean(sums) == pytest.approx(8 / 9, abs=0.02)  # of the uniform draw in the simplex
    first = [TIGHT.sample(rng)["x0"] for _ in range(250)]
    assert np.mean(first) == pytest.approx(1 / 9, abs=0.02)


def test_the_default_moves_as_little_as_it_can():
    config = TIGHT.default()
    assert TIGHT.check(config) and np.allclose(list(config.values()), 1 / 8, atol=1e-4)
    space = Space(a=Float(0, 1, default=0.9), b=Float(0, 1), constraints=[Linear({"a": 1, "b": 1}, 1)])
    assert space.default()["a"] == 0.9 and space.default()["b"] == pytest.approx(0.1, abs=1e-4)
    assert space.default({"a": 0.7})["a"] == 0.7
    wrong = Space(
        a=Float(0, 1, default=0.9), b=Float(0, 1, default=0.8), constraints=[Linear({"a": 1, "b": 2}, 1)]
    )
    with pytest.raises(
        ValueError,
        match=r"the defaults a=0.9, b=0.8 break the constraints 1 a \+ 2 b <= 1; change a default=",
    ):
        wrong.default()


def test_operators_end_inside_and_move_little():
    rng = np.random.default_rng(1)
    a, b = TIGHT.sample(rng), TIGHT.sample(rng)
    kept = []
    for _ in range(50):
        child = mutate(TIGHT, a, rng)
        kept.append(sum(child[path] == a[path] for path in a))
        assert TIGHT.check(child) == child
        assert TIGHT.check(uniform_crossover(TIGHT, a, b, rng))
    assert np.mean(kept) > 4
    assert TIGHT.complete(a, rng) == a


def test_nested_constraints_hold_where_their_space_is_open():
    rng = np.random.default_rng(0)
    configs = [NESTED.sample(rng) for _ in range(200)]
    assert all(c["part.a"] + c["part.b"] <= 6 and c.get("kind.own.k", 9) >= 3 for c in configs)
    assert {c["kind"] for c in configs} == {"plain", "own"}
    grid = list(NESTED.grid())
    assert len(grid) == 28 * (1 + 7) and set(configs) <= set(grid)
    with pytest.raises(
        ValueError, match=r"part.a=5, part.b=2 breaks the constraint 1 part.a \+ 1 part.b <= 6"
    ):
        NESTED.check({"part.a": 5, "part.b": 2, "kind": "plain"})
    assert NESTED.check(NESTED.default()) == NESTED.default()
    plain = Space(part=Space(a=Int(0, 9), b=Int(0, 9)), kind=NESTED.parts["kind"])
    assert plain.fingerprint != NESTED.fingerprint


def test_constraints_of_spaces_with_shared_names():
    shared = Choice(
        {
            "one": Space(a=Int(0, 9), constraints=[Linear({"a": 1}, 3)]),
            "two": Space(a=Int(0, 9), b=Int(0, 9), constraints=[Linear({"a": -1, "b": -1}, -9)]),
        },
        shared=True,
    )
    for config in Space(depth=shared).grid():
        few = config["depth.a"] <= 3
        assert few if config["depth"] == "one" else config["depth.a"] + config["depth.b"] >= 9


def test_a_grid_does_not_walk_what_cannot_hold():
    space = Space(
        **{f"x{i}": Int(0, 9) for i in range(12)},
        constraints=[Linear({f"x{i}": 1 for i in range(12)}, 1)],
    )
    assert len(list(space.grid())) == 13
    study = Study(space, strategy="grid")
    study.optimize(lambda config: float(config["x3"]))
    assert len(study.trials) == 13


def test_equalities_between_integers():
    space = Space(
        a=Int(0, 20, step=2),
        b=Int(1, 9),
        constraints=[Linear({"a": 1, "b": 1}, 11), Linear({"a": -1, "b": -1}, -11)],
    )
    rng = np.random.default_rng(0)
    found = {tuple(space.sample(rng).values()) for _ in range(60)}
    assert found <= {(a, b) for a, b in itertools.product(range(0, 21, 2), range(1, 10)) if a + b == 11}
    assert len(found) == 5 and space.check(space.default())


def test_what_is_fixed_stays():
    rng = np.random.default_rng(0)
    config = TIGHT.complete({"x1": 0.9}, rng, fixed={"x0": 0.8})
    assert config["x0"] == 0.8 and config["x1"] < 0.2 + 1e-9 and TIGHT.check(config)
    with pytest.raises(ValueError, match=r"no configuration with x0=0.8, x1=0.9 holds .* loosen a bound"):
        TIGHT.complete({}, rng, fixed={"x0": 0.8, "x1": 0.9})


@pytest.mark.parametrize("strategy", sorted(set(strategies.names()) - {"grid", "auto"}))
def test_searches_hold_tight_constraints(strategy):
    study = Study(TIGHT, strategy=strategy, seed=0)
    study.optimize(lambda config: sum(config.values()) - 2 * config["x0"], trials=10)
    assert len(study.trials) == 10 and all(TIGHT.check(trial.config) for trial in study.trials)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Space(ab=Int(0, 1), constraints=[Linear({"abb": 1}, 1)]),
            "of this space; did you mean 'ab'",
        ),
        (
            lambda: Space(a=Choice(tuple("xy")), constraints=[Linear({"a": 1}, 1)]),
            "'a', whose options are not numbers",
        ),
        (lambda: Space(a=Int(0, 1), constraints=["a<=1"]), "is no Linear; write Linear"),
        (lambda: Linear({"a": float("nan")}, 1), "nan is not a finite number"),
        (lambda: Linear({"a": 1}, "3"), "'3' is not a finite number"),
        (
            lambda: Space(a=Float(0, 1), constraints=[Linear({"a": -1}, -2)]).sample(
                np.random.default_rng(0)
            ),
            "no configuration holds the constraints -1 a <= -2; loosen a bound",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()
