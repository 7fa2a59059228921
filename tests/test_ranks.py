"""How ranks of scores are measured: like with like, the best chosen by another seed, what is no number last."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from experiments.supernet_rank.ranks import ceiling, finite, interval, tau, top
from experiments.supernet_rank.run import EPOCHS, reached


@pytest.fixture(scope="module")
def trained():
    """The quality of sixty designs, and two trainings of each with as much noise as there is spread."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=60)
    return quality, quality[:, None] + rng.normal(size=(60, 2))


def test_tau_is_the_mean_of_that_with_each_seed(trained):
    quality, truth = trained
    each = [kendalltau(quality, truth[:, seed]).statistic for seed in (0, 1)]
    assert tau(quality, truth)[0] == pytest.approx(np.mean(each))
    assert ceiling(truth)[0] == pytest.approx(kendalltau(*truth.T).statistic)


def test_a_score_as_good_as_a_training_reaches_the_ceiling_and_no_more(trained):
    quality, truth = trained
    more = []
    for seed in range(20):
        another = quality + np.random.default_rng(100 + seed).normal(size=60)
        more.append(tau(another, truth)[0] - ceiling(truth)[0])
    assert abs(np.mean(more)) < 0.1
    found = interval(tau(quality, truth))
    assert found.low < found.value < found.high


def test_the_best_third_is_chosen_by_one_seed_and_compared_with_the_other(trained):
    quality, truth = trained
    own, between = top(quality, truth)
    expected = []
    for chooser, other in (truth.T, truth.T[::-1]):
        best = np.argsort(-chooser)[:20]
        expected.append([kendalltau(signal[best], other[best]).statistic for signal in (quality, chooser)])
    assert [own.value, between.value] == pytest.approx(np.mean(expected, axis=0))
    best = np.argsort(-truth[:, 0])[:20]
    alone, none = top(quality, truth[:, :1])
    assert none is None
    assert alone.value == pytest.approx(kendalltau(quality[best], truth[best, 0]).statistic)


def test_what_is_no_number_is_ranked_last():
    assert finite(np.array([2.0, np.nan, -1.0, -np.inf])).tolist() == [2.0, -2.0, -1.0, -2.0]
    assert finite(np.array([np.nan, np.nan])).tolist() == [0.0, 0.0]


def test_epochs_are_counted_to_what_scratch_has_at_its_end():
    scratch = [[0.5, 1.0], [0.8, 2.0], [0.7, 3.0]]
    assert reached(scratch, [[0.6, 1.0], [0.7, 2.0], [0.9, 3.0]]) == (2, 2)
    assert reached(scratch, [[0.6, 1.0], [0.65, 2.0], [0.6, 3.0]]) == (2, EPOCHS + 1)
