import numpy as np
import pytest

from nas.hpo.pareto import hypervolume, nondominated
from nas.hpo.promotion import promotion_order


def test_one_objective_is_ordered_by_value_and_ties_keep_their_order():
    assert promotion_order(np.array([[3.0], [1.0], [2.0], [1.0]])).tolist() == [1, 3, 2, 0]


def test_what_breaks_a_constraint_comes_last_by_how_far():
    order = promotion_order(np.array([[0.0], [1.0], [0.5]]), np.array([2.0, 0.0, 1.0]))
    assert order.tolist() == [1, 2, 0]


@pytest.mark.parametrize("objectives", [2, 3])
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


def test_nothing_has_an_order_too():
    assert promotion_order(np.empty((0, 2))).tolist() == []
