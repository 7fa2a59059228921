"""Mutation, crossover and selection, against brute force and on spaces of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_space import spaces

from estimators.estimator import Fidelity
from nas.operators import CROSSOVERS, MUTATIONS, best_first, crowding, fronts
from nas.operators.generations import Generations, diversity
from nas.trial import Constraint, Objective, Problem, Step, Trial
from search_spaces.space import Choice, Float, Int, Linear, Space

MIXED = Space(
    x=Float(0, 1),
    rate=Float(1e-4, 1, log=True),
    units=Int(4, 64, log=True),
    level=Choice((1, 2, 3, 4), ordered=True),
    kind=Choice({"plain": None, "own": Space(k=Int(1, 5), s=Choice(tuple("abc")))}),
)


@settings(max_examples=40, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1), st.sampled_from(list(MUTATIONS)), st.integers(1, 4))
def test_mutations_change_as_many_as_they_are_told(space, seed, name, count):
    rng = np.random.default_rng(seed)
    config = space.sample(rng)
    movable = [slot.path for slot in space.slots if slot.path in config and slot.parameter.size > 1]
    child = MUTATIONS[name](space, config, rng, count=count)
    assert space.check(child) == child
    changed = [path for path in config if path in child and child[path] != config[path]]
    gone = [path for path in config if path not in child]
    assert len(changed) <= min(count, len(movable)) <= len(changed) + len(gone)


@settings(max_examples=40, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1), st.sampled_from(list(CROSSOVERS)))
def test_crossovers_stay_inside(space, seed, name):
    rng = np.random.default_rng(seed)
    mother, father = space.sample(rng), space.sample(rng)
    child = CROSSOVERS[name](space, mother, father, rng)
    assert space.check(child) == child
    assert CROSSOVERS[name](space, mother, mother, rng) == mother
    for path, value in child.items():  # what both have and is no number comes from one of them
        parameter = space.parameter(path)
        if isinstance(parameter, Choice) and not parameter.ordered and path in mother and path in father:
            assert value in (mother[path], father[path])


def test_blends_reach_beyond_their_parents_and_sbx_keeps_near_them():
    space, rng = Space(x=Float(0, 1)), np.random.default_rng(0)
    drawn = {
        name: np.array([cross(space, {"x": 0.4}, {"x": 0.6}, rng)["x"] for _ in range(2000)])
        for name, cross in CROSSOVERS.items()
    }
    assert drawn["blend"].min() == pytest.approx(0.3, abs=0.01)
    assert drawn["blend"].max() == pytest.approx(0.7, abs=0.01)
    assert set(drawn["uniform"]) == set(drawn["two-point"]) == {0.4, 0.6}
    distance = np.minimum(abs(drawn["simulated-binary"] - 0.4), abs(drawn["simulated-binary"] - 0.6))
    assert np.median(distance[distance > 0]) < 0.02


def test_gaussian_steps_are_as_wide_as_they_say_and_factors_on_a_logarithm():
    space, rng = Space(rate=Float(1e-4, 1, log=True)), np.random.default_rng(0)
    middle = space.default()
    drawn = [MUTATIONS["gaussian"](space, middle, rng)["rate"] for _ in range(2000)]
    units = np.array([space.parameter("rate").unit(value) for value in drawn])
    assert units.mean() == pytest.approx(0.5, abs=0.02) and units.std() == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("name", [*MUTATIONS, *CROSSOVERS])
def test_linear_constraints_hold_and_parents_are_not_lost(name):
    bound = Linear({"a": 1, "b": 1, "c": 1}, 1.0)
    space = Space(a=Float(0, 1), b=Float(0, 1), c=Float(0, 1), d=Int(0, 9), constraints=[bound])
    rng = np.random.default_rng(0)
    for _ in range(100):
        mother, father = space.sample(rng), space.sample(rng)
        child = (
            MUTATIONS[name](space, mother, rng)
            if name in MUTATIONS
            else CROSSOVERS[name](space, mother, father, rng)
        )
        assert bound.holds(child)
        assert child["d"] in (mother["d"], father["d"]) or name in {*MUTATIONS, "blend", "simulated-binary"}


def test_complete_draws_anew_only_what_a_broken_constraint_weighs():
    space = Space(a=Int(0, 9), b=Int(0, 9), c=Int(0, 9), constraints=[Linear({"a": 1, "b": 1}, 5)])
    kept = space.complete({"a": 9, "b": 9, "c": 7}, np.random.default_rng(0))
    assert kept["a"] + kept["b"] <= 5 and kept["c"] == 7


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_fronts_equal_peeling_by_brute_force(objectives):
    rng = np.random.default_rng(objectives)
    losses = rng.integers(0, 5, (60, objectives)).astype(float)  # with ties and duplicates
    penalty = rng.choice([0.0, 0.0, 0.5, 1.0], 60)

    def dominates(one, other):
        if penalty[one] != penalty[other]:
            return penalty[one] < penalty[other]
        return (losses[one] <= losses[other]).all() and (losses[one] < losses[other]).any()

    expected, left, front = np.zeros(60, int), set(range(60)), 0
    while left:
        peeled = {one for one in left if not any(dominates(other, one) for other in left)}
        expected[list(peeled)] = front
        left, front = left - peeled, front + 1
    np.testing.assert_array_equal(fronts(losses, penalty), expected)


def test_crowding_is_the_perimeter_between_the_neighbours():
    losses = np.array([[0.0, 4.0], [1.0, 2.0], [2.0, 1.0], [4.0, 0.0], [5.0, 5.0]])
    found = crowding(losses, np.array([0, 0, 0, 0, 1]))
    np.testing.assert_allclose(found, [np.inf, 0.5 + 0.75, 0.75 + 0.5, np.inf, np.inf])


def trial(number, metrics=None, epochs=1, error=None):
    step = Step(number, number, Fidelity(epochs), metrics=metrics or {}, error=error)
    return Trial(number, Space(x=Int(0, 99)).complete({"x": number}, np.random.default_rng(0)), steps=(step,))


def test_the_best_come_first():
    problem = Problem(
        Space(x=Int(0, 99)),
        (Objective("a", maximize=False), Objective("b", maximize=False)),
        (Constraint.parse("params<=5"),),
    )
    members = [
        trial(0, error="oom"),
        trial(1, {"a": 0, "b": 0, "params": 9}),  # infeasible
        trial(2, {"a": 2, "b": 2, "params": 1}),  # dominated
        trial(3, {"a": 1, "b": 1, "params": 1}),
        trial(4, {"a": 0, "b": 0, "params": 1}, epochs=3),  # of a dearer fidelity
        trial(5, {"a": 0, "b": 0, "params": 6}),  # infeasible, by less
    ]
    assert best_first(problem, members) == [4, 3, 2, 5, 1, 0]


def test_diversity_equals_the_mean_over_all_pairs():
    rng = np.random.default_rng(0)
    configs = [MIXED.sample(rng) for _ in range(20)]

    def distance(slot, one, other):
        if slot.path not in one or slot.path not in other:
            return float((slot.path in one) != (slot.path in other))
        a, b = slot.parameter.unit(one[slot.path]), slot.parameter.unit(other[slot.path])
        unordered = isinstance(slot.parameter, Choice) and not slot.parameter.ordered
        return float(a != b) if unordered else abs(a - b)

    pairs = [(a, b) for i, a in enumerate(configs) for b in configs[:i]]
    expected = np.mean([[distance(slot, a, b) for slot in MIXED.slots] for a, b in pairs])
    assert diversity(MIXED, configs) == pytest.approx(expected)
    assert diversity(MIXED, configs[:1] * 5) == 0 == diversity(MIXED, configs[:1])


def test_generations_log_what_did_not_fail():
    log = Generations(Problem(Space(x=Int(0, 99))), 3)
    for number in range(7):
        log.add(trial(number, {"loss": float(number)}, error="oom" if number in (1, 3, 4, 5) else None))
    first, second = log.rows
    assert (first.generation, first.min, first.mean, first.max) == (0, 0.0, 1.0, 2.0)
    assert second.generation == 1 and np.isnan([second.min, second.mean, second.max]).all()
    assert [first.diversity, second.diversity] == pytest.approx([4 / 3 / 100] * 2)
