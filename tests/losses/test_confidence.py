"""Losses by confidence against numbers worked by hand."""

import jax
import numpy as np
import pytest

from tdepth_jax.losses import confidence as losses


def image(values, width=None):
    values = np.asarray(values, np.float32)
    return values.reshape(1, -1, width or values.size, 1)


def test_the_share_between_is_of_each_images_own_pixels():
    values = np.concatenate([image(range(10), 5), 100 + image(range(10), 5)])
    mask = np.ones(values.shape, bool)
    kept = np.asarray(losses.between(values, mask, high=0.8)).reshape(2, 10)
    # The 80 % point of 0..9 is 7.2.
    np.testing.assert_array_equal(kept, [[True] * 8 + [False] * 2] * 2)
    mask[0].reshape(-1)[5:] = False
    kept = np.asarray(losses.between(values, mask, low=0.2)).reshape(2, 10)
    # Of 0..4 it is 0.8 and of 100..109 101.8.
    np.testing.assert_array_equal(kept[0], [False, True, True, True, True] + [False] * 5)
    np.testing.assert_array_equal(kept[1], [False, False] + [True] * 8)


def test_an_image_without_a_pixel_has_nothing_between():
    assert not losses.between(image([1, 2, 3]), np.zeros((1, 1, 3, 1), bool), high=0.8).any()


def test_distance_by_confidence():
    depth, teacher = image([2.0, 5.0, 9.0]), image([3.0, 3.0, 3.0])
    trust, mask = image([1.0, 0.5, 0.25]), np.array([[[[True], [True], [False]]]])
    total, count = losses.confident_distance(depth, teacher, trust, mask)
    assert (float(total), float(count)) == (1.0 + 0.5 * 2.0, 2.0)
    slopes = jax.grad(lambda *a: losses.confident_distance(*a, mask)[0], argnums=(0, 1, 2))(
        depth, teacher, trust
    )
    np.testing.assert_allclose(slopes[0].ravel(), [-1.0, 0.5, 0.0])
    assert not np.asarray(slopes[1]).any()
    assert not np.asarray(slopes[2]).any()


def test_nothing_to_teach_is_zero_without_nan_in_the_gradient():
    depth, teacher = image([np.nan, 5.0]), image([3.0, np.inf])
    mask = np.zeros(depth.shape, bool)
    for loss in (
        lambda d: losses.confident_distance(d, teacher, image([1, 1]), mask),
        lambda d: losses.confidence_likelihood(d - teacher, image([0.5, 0.0]), mask),
        lambda d: losses.spread_likelihood(d - teacher, image([0.1, 0.1]), np.zeros(depth.shape, np.float32)),
    ):
        total, count = loss(depth)
        assert (float(total), float(count)) == (0.0, 0.0)
        assert np.isfinite(jax.grad(lambda d, f=loss: f(d)[0])(depth)).all()


@pytest.mark.parametrize("error", [0.01, 0.1, 2.0])
def test_confidence_settles_at_the_inverse_of_the_error(error):
    grid = np.linspace(1e-4, 1, 20001, dtype=np.float64)
    mask = np.ones((1, 1, 1, 1), bool)
    at = jax.vmap(lambda c: losses.confidence_likelihood(image([error]), c.reshape(1, 1, 1, 1), mask)[0])
    best = grid[np.argmin(np.asarray(at(grid.astype("f"))))]
    assert best == pytest.approx(min(0.002 / error, 1.0), abs=2e-4)


def test_the_spread_that_fits_laplace_errors_is_their_scale():
    errors = np.random.RandomState(0).laplace(scale=0.3, size=(1, 100, 100, 1)).astype("f")
    ones = np.ones_like(errors)
    loss = lambda b: losses.spread_likelihood(errors, b * ones, ones)[0]  # noqa: E731
    grid = np.linspace(0.1, 0.6, 501)
    best = grid[np.argmin([float(x) for x in jax.lax.map(loss, grid.astype("f"))])]
    assert best == pytest.approx(np.abs(errors).mean(), abs=2e-3)
    # By hand: one error of 0.2 at b = 0.1 with half a weight.
    total, count = losses.spread_likelihood(image([0.2]), image([0.1]), image([0.5]))
    assert float(total) == pytest.approx(0.5 * (2 + np.log(0.1)), rel=1e-5)
    assert float(count) == 0.5


def test_smoothness_spares_the_guides_strongest_edges():
    value = image([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]], 6)
    guide = np.zeros_like(value)
    flat, count = losses.guided_smoothness(value, guide)
    assert float(flat / count) == pytest.approx(1.0)  # along x; along y nothing changes
    guide[:, :, 3:] = 9.0  # one of the five steps along x, which is the top 20 %
    value[:, :, 3:] += 100.0
    spared, count = losses.guided_smoothness(value, guide)
    assert float(spared / count) == pytest.approx(1.0)
    everything, count = losses.guided_smoothness(value, guide, kept=1.0)
    assert float(everything / count) == pytest.approx((4 + 101 * np.exp(-9)) / 5, rel=1e-5)
