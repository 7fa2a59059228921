"""The maths against dense references, formulas and brute force."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from nas.hpo import acquisition
from nas.hpo.gp import GaussianProcess, Posterior, fit, squash
from nas.hpo.kernel import Hyperparameters, Inputs
from nas.hpo.pareto import hypervolume, hypervolumes, knee, nondominated
from nas.hpo.warp import slopes, warped


def observations(n=40, dimensions=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, dimensions))
    y = np.sin(4 * x[:, 0]) + x[:, 1] ** 2 + 0.05 * rng.standard_normal(n)
    return x, (y - y.mean()) / y.std()


def mixed(n=60, seed=0):
    """Two numbers, a choice of four, an ordered one of five, and the five features of a graph."""
    rng = np.random.default_rng(seed)
    numbers, choice, ordered = rng.random((n, 2)), rng.integers(0, 4, n), rng.integers(0, 5, n)
    one_hot = (choice[:, None] == np.arange(4)) / np.sqrt(2)
    x = np.hstack([numbers, one_hot, ordered[:, None] / 4, rng.integers(0, 2, (n, 5))])
    many = np.full(n, -1)
    codes = np.column_stack([many, many, choice, ordered, many])
    inputs = Inputs(x, np.array([0, 1, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4]), codes)
    y = np.sin(4 * x[:, 0]) + (choice == 2) - x[:, 6] + 0.05 * rng.standard_normal(n)
    return inputs, (y - y.mean()) / y.std()


def dense(theta: Hyperparameters, one: Inputs, other: Inputs) -> np.ndarray:
    """The kernel by scikit-learn's, group by group, without codes and tables."""
    scale = theta.lengthscales[one.groups]
    k = theta.signal * Matern(1.0, nu=2.5)(one.x / scale, other.x / scale)
    for group, length in enumerate(theta.lengthscales):
        own = one.groups == group
        k += theta.additive / len(theta.lengthscales) * Matern(length, nu=2.5)(one.x[:, own], other.x[:, own])
    return k


def test_predictions_equal_a_dense_reference():
    inputs, y = mixed()
    points, _ = mixed(40, seed=1)
    theta = Hyperparameters(np.array([0.5, 0.9, 2.0, 0.7, 3.0]), 1.3, 0.6, 0.02)
    mean, deviation = GaussianProcess(inputs, y, theta, 0.3).predict(points)
    cross = dense(theta, points, inputs)
    inverse = np.linalg.inv(dense(theta, inputs, inputs) + 0.02 * np.eye(60))
    np.testing.assert_allclose(mean, 0.3 + cross @ inverse @ (y - 0.3), atol=1e-6)
    variance = 1.9 - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    np.testing.assert_allclose(deviation, np.sqrt(variance), atol=1e-6)


def test_a_product_alone_equals_scikit_learn():
    x, y = observations()
    lengthscales = np.array([0.5, 0.9, 2.0, 3.0, 1.0])
    ours = GaussianProcess(Inputs.plain(x), y, Hyperparameters(lengthscales, 1.3, 0.0, 0.02))
    kernel = ConstantKernel(1.3) * Matern(lengthscales, nu=2.5)
    reference = GaussianProcessRegressor(kernel, alpha=0.02, optimizer=None).fit(x, y)
    points = np.random.default_rng(1).random((50, 5))
    mean, deviation = ours.predict(Inputs.plain(points))
    expected, spread = reference.predict(points, return_std=True)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_allclose(deviation, spread, atol=1e-6)


@pytest.mark.parametrize("numbers", [(), (0, 3)])
def test_gradients_equal_finite_differences(numbers):
    inputs, y = mixed(25)
    posterior = Posterior(replace(inputs, numbers=numbers), y)
    shapes = [0.4, -0.3, -0.2, 0.6][: 2 * len(numbers)]
    theta = np.array([-0.3, 0.2, 0.5, 1.0, -0.1, 0.1, -0.4, -3.0, *shapes])
    _, gradient = posterior.negative_log(theta)
    for place in range(len(theta)):
        step = np.zeros_like(theta)
        step[place] = 1e-5
        above, below = (posterior.negative_log(theta + sign * step)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)


def test_relevant_dimensions_get_the_short_lengthscales():
    x, y = observations(80)
    model = fit(Inputs.plain(x), y)
    assert set(np.argsort(model.theta.lengthscales)[:2]) == {0, 1}
    held, target = observations(200, seed=3)
    mean, _ = model.predict(Inputs.plain(held))
    assert np.corrcoef(mean, target)[0, 1] > 0.97


def test_warped_points_follow_the_distribution_and_its_slopes():
    """The distribution function of Kumaraswamy's law: that of the least of b draws of the greatest of a."""
    u, drawn = np.linspace(0, 1, 11), np.random.default_rng(0).random((20_000, 3, 2))
    reference = (drawn.max(axis=2).min(axis=1)[:, None] <= u).mean(axis=0)
    np.testing.assert_allclose(warped(u, 2.0, 3.0), reference, atol=0.015)
    np.testing.assert_allclose(warped(u, 1.0, 1.0), u, atol=1e-15)
    for place, step in enumerate(np.eye(2) * 1e-6):
        above, below = (warped(u, *np.exp(np.log([0.6, 2.5]) + sign * step)) for sign in (1, -1))
        np.testing.assert_allclose(slopes(u, 0.6, 2.5)[place], (above - below) / 2e-6, atol=2e-4)


def test_what_changes_fast_at_one_end_is_learned_by_warping():
    ratios = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, held = rng.random((16, 2)), rng.random((200, 2))
        y, truth = (np.log(points[:, 0] + 1e-3) + points[:, 1] for points in (x, held))
        errors = []
        for numbers in ((), (0, 1)):
            model = fit(replace(Inputs.plain(x), numbers=numbers), (y - y.mean()) / y.std())
            mean, _ = model.predict(replace(Inputs.plain(held), numbers=numbers))
            errors.append(float(np.mean((mean * y.std() + y.mean() - truth) ** 2)))
        ratios.append(errors[1] / errors[0])
        a, b = model.theta.shapes.T
        assert a[0] < 0.7 and np.abs(np.log([a[1], b[1]])).max() < 0.5
    assert max(ratios) < 0.5


def test_draws_have_the_mean_and_the_deviation_of_the_process():
    inputs, y = mixed()
    model, (points, _) = fit(inputs, y), mixed(8, seed=2)
    drawn = np.array([model.sample(points, np.random.default_rng(seed)) for seed in range(2000)])
    mean, deviation = model.predict(points)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.12 * deviation.max())
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.1, atol=0.01)


def test_duplicates_constants_and_a_hundred_dimensions():
    rng = np.random.default_rng(0)
    x = Inputs.plain(np.repeat(rng.random((5, 3)), 4, axis=0))
    for y in (np.zeros(20), rng.standard_normal(20)):
        mean, deviation = fit(x, y).predict(x)
        assert np.isfinite(mean).all() and (deviation > 0).all()
    wide = rng.random((30, 110))
    assert np.isfinite(fit(Inputs.plain(wide), wide[:, 0] - 0.5).predict(Inputs.plain(wide))[0]).all()


def test_believing_lowers_the_deviation_and_keeps_the_mean():
    x, y = observations()
    model = fit(Inputs.plain(x), y)
    point = Inputs.plain(np.full((1, 5), 0.93))
    mean, deviation = model.predict(point)
    after, less = model.believing(point).predict(point)
    assert after == pytest.approx(mean, abs=1e-2) and less < deviation


def test_hypervolume_improvement_equals_simulation():
    rng = np.random.default_rng(0)
    told = rng.random((12, 2))
    mean, deviation = rng.random((5, 2)), rng.uniform(0.05, 0.4, (5, 2))
    front = told[nondominated(told)]
    reference = front.max(0) + 0.1 * np.ptp(front, axis=0)
    before = hypervolume(front, reference)
    value = np.exp(acquisition.log_expected_hypervolume_improvement(mean, deviation, told))
    for place in range(5):
        drawn = mean[place] + deviation[place] * rng.standard_normal((4000, 2))
        gains = np.array([hypervolume(np.vstack([front, one]), reference) - before for one in drawn])
        assert value[place] == pytest.approx(gains.mean(), abs=4 * gains.std() / 4000**0.5 + 1e-5)


def test_improvement_of_a_norm_prefers_what_is_better_in_all():
    told = np.random.default_rng(0).random((20, 3))
    normals = np.random.default_rng(1).standard_normal((256, 3))
    mean = np.array([[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    value = acquisition.log_expected_norm_improvement(
        mean, np.full((3, 3), 0.1), told, np.full(3, 1 / 3), normals
    )
    assert value[0] > value[1] > value[2]


def test_squash_keeps_order_and_tames_outliers():
    y = np.array([0.0, 0.1, 0.2, 0.3, 1e9])
    z = squash(y)
    assert (np.diff(z) > 0).all() and abs(z.mean()) < 1e-9 and z.max() < 3
    assert (squash(np.ones(5)) == 0).all()


def test_acquisition_functions_equal_their_formulas():
    rng = np.random.default_rng(0)
    mean, deviation, best = rng.standard_normal(200), rng.uniform(0.05, 2, 200), -0.3
    z = (best - 0.1 - mean) / deviation
    ei = (best - 0.1 - mean) * norm.cdf(z) + deviation * norm.pdf(z)
    np.testing.assert_allclose(acquisition.expected_improvement(mean, deviation, best, xi=0.1), ei, atol=1e-9)
    np.testing.assert_allclose(
        acquisition.probability_of_improvement(mean, deviation, best, xi=0.1), norm.cdf(z), atol=1e-9
    )
    np.testing.assert_allclose(
        acquisition.lower_confidence_bound(mean, deviation, kappa=1.5), 1.5 * deviation - mean, atol=1e-9
    )


def test_the_logarithms_are_finite_where_the_values_underflow():
    z = np.array([-1e5, -1e3, -201.0, -199.0, -40.0, -10.0, -1.0001, -0.9999, 0.0, 5.0])
    value = acquisition.log_expected_improvement(-z, np.ones_like(z), 0.0)
    assert np.isfinite(value).all() and (np.diff(value) > 0).all()
    plain = acquisition.expected_improvement(-z[5:], np.ones(5), 0.0)
    np.testing.assert_allclose(np.exp(value[5:]), plain, rtol=1e-6)
    # asymptotics: log EI -> -z^2/2 - log(sqrt(2 pi)) - 2 log|z|
    np.testing.assert_allclose(value[1], -0.5e6 - 0.5 * np.log(2 * np.pi) - 2 * np.log(1e3), rtol=1e-10)
    assert np.isfinite(acquisition.log_probability_of_improvement(-z, np.ones_like(z), 0.0)).all()


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_fronts_equal_brute_force(objectives):
    rng = np.random.default_rng(objectives)
    losses = rng.integers(0, 6, (120, objectives)).astype(float)  # with ties and duplicates
    expected = [not any((other <= one).all() and (other < one).any() for other in losses) for one in losses]
    np.testing.assert_array_equal(nondominated(losses), expected)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_equals_counting(objectives):
    rng = np.random.default_rng(objectives)
    losses = rng.integers(0, 5, (12, objectives)).astype(float)
    cells = np.stack(np.meshgrid(*[np.arange(5) + 0.5] * objectives), -1).reshape(-1, objectives)
    counted = sum(any((point <= cell).all() for point in losses) for cell in cells)
    assert hypervolume(losses, np.full(objectives, 5.0)) == pytest.approx(counted)
    assert hypervolume(losses, np.zeros(objectives)) == 0


def test_nan_is_refused():
    with pytest.raises(ValueError, match="leave failed points out"):
        nondominated(np.array([[0.0, np.nan]]))


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_over_time_equals_that_of_each_beginning(objectives):
    rng = np.random.default_rng(objectives)
    losses = rng.integers(0, 6, (25, objectives)).astype(float)  # with ties and duplicates
    feasible = rng.random(25) < 0.7
    reference = np.full(objectives, 5.0)
    curve = hypervolumes(losses, reference, feasible)
    expected = [hypervolume(losses[: n + 1][feasible[: n + 1]], reference) for n in range(25)]
    np.testing.assert_allclose(curve, expected)
    assert hypervolumes(losses, reference)[-1] == pytest.approx(hypervolume(losses, reference))


def test_the_knee_is_the_farthest_from_the_line_between_the_ends():
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses = rng.integers(0, 30, (60, 2)) * [1.0, 1000.0]  # of scales of their own, with ties
        feasible = rng.random(60) < 0.8
        front = np.flatnonzero(feasible)[nondominated(losses[feasible])]
        first, last = (losses[front[losses[front, 0].argsort(kind="stable")[end]]] for end in (0, -1))
        scaled = (losses - [first[0], last[1]]) / np.maximum(np.abs(last - first), 1e-9)
        distance = (1 - scaled[front].sum(axis=1)) / np.sqrt(2)
        found = knee(losses, feasible)
        assert found in front and distance[list(front).index(found)] == pytest.approx(distance.max())
    assert knee(np.array([[0.0, 1.0], [0.1, 0.1], [1.0, 0.0]])) == 1
    assert knee(np.array([[0.0, 1.0]]), np.array([False])) is None
