import sys

import numpy as np
import pytest

from nas.hpo.pareto import hypervolume, nondominated
from nas.hpo.promotion import promotion_order


def test_one_objective_is_ordered_by_value_and_ties_keep_their_order():
    assert promotion_order(np.array([[3.0], [1.0], [2.0], [1.0]])).tolist() == [1, 3, 2, 0]


def test_what_breaks_a_constraint_comes_last_by_how_far():
    order = promotion_order(np.array([[0.0], [1.0], [0.5]]), np.array([2.0, 0.0, 1.0]))
    assert order.tolist() == [1, 2, 0]


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_fronts_come_one_after_the_other(objectives):
    losses = np.random.default_rng(0).random((40, objectives))
    order = promotion_order(losses)
    assert sorted(order) == list(range(40))
    while len(order):
        count = int(nondominated(losses[order]).sum())
        assert nondominated(losses[order])[:count].all()
        order = order[count:]


def test_the_first_k_of_a_front_keep_nearly_all_of_its_hypervolume():
    t = np.linspace(0, 1, 12)
    crowd = np.column_stack(
        [np.append(t, 0.5 + 1e-4 * np.arange(8)), np.append(1 - t, 0.5 - 1e-4 * np.arange(8))]
    )
    kept = promotion_order(crowd)[:12]
    reference = np.full(2, 1.1)
    assert hypervolume(crowd[kept], reference) > 0.99 * hypervolume(crowd, reference)
    assert (kept >= 12).sum() <= 2


def sphere(points, objectives, seed=0):
    """Points that form one front."""
    losses = np.abs(np.random.default_rng(seed).standard_normal((points, objectives)))
    return 1 - losses / np.linalg.norm(losses, axis=1, keepdims=True)


def calls(function, limit):
    """Return how many Python functions ``function`` calls; more than ``limit`` is an error at once."""
    counted = 0

    def count(frame, event, argument):
        nonlocal counted
        counted += event == "call"
        assert counted <= limit, f"more than {limit} calls"

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("objectives", [3, 4])
@pytest.mark.parametrize("points", [24, 64, 200])
def test_more_objectives_cost_as_much_as_two(objectives, points):
    """Exact contributions call themselves for every slice of every point left out: millions of times."""
    two = calls(lambda: promotion_order(sphere(24, 2)), 100_000)
    order = []
    calls(lambda: order.extend(promotion_order(sphere(points, objectives))), 20 * two)
    assert sorted(order) == list(range(points))


@pytest.mark.parametrize("objectives", [3, 4])
def test_the_first_of_a_large_front_are_nearly_as_good_as_any(objectives):
    """Volumes by samples of its own: far above as many of the front at random, and the same at every call."""
    front = sphere(64, objectives)
    order, rng = promotion_order(front), np.random.default_rng(1)
    samples = rng.random((20_000, objectives)) * 1.1

    def volume(places):
        return (front[places][:, None] <= samples).all(axis=2).any(axis=0).mean()

    at_random = [volume(rng.permutation(64)[:8]) for _ in range(50)]
    assert volume(order[:8]) > max(at_random) and volume(order[:8]) > 0.65 * volume(order)
    assert order.tolist() == promotion_order(front).tolist()


def test_copies_of_a_point_come_after_what_adds_something():
    front = np.vstack([sphere(12, 3), sphere(12, 3)])
    assert set(promotion_order(front)[:12] % 12) == set(range(12))


def test_nothing_has_an_order_too():
    assert promotion_order(np.empty((0, 2))).tolist() == []
