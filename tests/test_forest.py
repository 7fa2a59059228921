"""The forest against loops over its trees, and how often its intervals cover what they should."""

import numpy as np
import pytest

from nas.hpo.forest import FLOOR, fit
from nas.study import Study
from search_spaces.space import Float, Space

A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(x):
    """Hartmann's function in six dimensions; ``x`` (n, 6)."""
    return -np.exp(-(A * (x[:, None] - P) ** 2).sum(-1)) @ np.array([1.0, 1.2, 3.0, 3.2])


def test_mean_and_variance_equal_a_loop_over_trees():
    rng = np.random.default_rng(0)
    x, points = rng.random((60, 4)), rng.random((20, 4))
    y = x[:, 0] + rng.random(60)
    model = fit(x[:50], y[:50]).given(x, y)
    mean, deviation = model.predict(points)
    for point, m, d in zip(points, mean, deviation, strict=True):
        means, variances = [], []
        for tree, counts in zip(model.trees, model.c, strict=True):
            leaf = tree.apply(point[None].astype(np.float32))[0]
            held = [i for i in range(60) if tree.apply(x[i : i + 1].astype(np.float32))[0] == leaf]
            inside = [y[i] for i in held for _ in range(int(counts[i]))]
            means.append(np.mean(inside))
            variances.append(np.var(inside))
        assert m == pytest.approx(np.mean(means), abs=1e-12)
        assert d**2 == pytest.approx(np.mean(variances) + np.var(means) + FLOOR, abs=1e-12)


@pytest.mark.parametrize("n", [60, 200, 500])
def test_intervals_cover_what_was_held_out(n):
    """Of 1,000 points of Hartmann-6 a 90 % interval holds 80 to 97 %."""
    rng = np.random.default_rng(n)
    x, held = rng.random((n, 6)), rng.random((1_000, 6))
    mean, deviation = fit(x, hartmann(x), seed=n).predict(held)
    covered = (np.abs(hartmann(held) - mean) < 1.645 * deviation).mean()
    assert 0.80 <= covered <= 0.97


def test_constants_and_few_points():
    x = np.random.default_rng(0).random((2, 3))
    mean, deviation = fit(x, np.ones(2)).predict(x)
    assert mean == pytest.approx(1) and (deviation > 0).all()


def test_proximity_is_one_at_the_point_itself():
    x = np.random.default_rng(0).random((40, 3))
    alike = fit(x, x[:, 0]).proximity(x[:5], x[:5])
    assert (np.diag(alike) == 1).all() and (alike <= 1).all() and alike.min() < 0.5


def test_better_than_random_search():
    space = Space(**{f"x{i}": Float(0, 1) for i in range(6)})

    def reached(strategy, seed):
        study = Study(space, strategy=strategy, seed=seed)
        study.optimize(lambda c: float(hartmann(np.array([[c[f"x{i}"] for i in range(6)]]))[0]), trials=40)
        return study.best.metrics["loss"]

    assert np.mean([reached("forest", s) for s in (0, 1)]) < np.mean([reached("random", s) for s in (0, 1)])
