"""Saliency and depth distributions, against numbers worked by hand and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdepth_jax.losses import explainable as ex


def mean(term):
    total, count = term
    return float(total) / float(count)


def test_saliency_by_hand():
    """Two channels on a 1 x 2 map; gradient means are 1 and -2: ReLU(1·A0 - 2·A1)."""
    feature = jnp.array([[[[3.0, 1.0], [1.0, 2.0]]]])
    gradient = jnp.array([[[[0.0, -3.0], [2.0, -1.0]]]])
    np.testing.assert_allclose(ex.grad_cam(feature, gradient), [[[1.0, 0.0]]])


def test_saliency_is_the_gradient_that_finite_differences_see():
    """What α says of a channel: how much the scalar moves when all its pixels do, by their number."""
    rng = np.random.default_rng(0)
    feature, weight = rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(2,))

    def scalar(x):
        return jnp.tanh((x * weight).sum(-1)).mean()

    gradient = jax.grad(scalar)(jnp.asarray(feature, jnp.float32))
    step = 1e-2
    share = [
        float(scalar(feature + step * np.eye(2)[c]) - scalar(feature - step * np.eye(2)[c])) / (2 * step) / 12
        for c in range(2)
    ]
    want = np.maximum((feature * share).sum(-1), 0)
    np.testing.assert_allclose(ex.grad_cam(jnp.asarray(feature), gradient), want, rtol=2e-3, atol=1e-5)


def test_distance_of_saliencies_is_one_less_the_cosine():
    a = jnp.array([[[3.0, 4.0]], [[1.0, 0.0]], [[1.0, 1.0]]])
    b = jnp.array([[[6.0, 8.0]], [[0.0, 2.0]], [[0.0, 0.0]]])  # equal, unlike, a teacher that says nothing
    total, count = ex.saliency_distance(a, b)
    assert (float(total), float(count)) == pytest.approx((1.0, 2.0), abs=1e-6)


def test_a_student_without_saliency_has_a_finite_gradient():
    found = jax.grad(lambda x: ex.saliency_distance(x, jnp.ones((1, 2, 2)))[0])(jnp.zeros((1, 2, 2)))
    assert np.isfinite(found).all()


def test_saliencies_of_two_sizes_are_compared():
    teacher = jnp.ones((1, 4, 4))
    assert mean(ex.saliency_distance(jnp.ones((1, 2, 2)), teacher)) == pytest.approx(0, abs=1e-6)


def test_distribution_by_hand():
    """Bins 0, 1; τ = 1. d = 0: logits 0, -1; d = 1: -1, 0. p = (e, 1)/(e+1), q swapped: KL = (p0 - p1) ln(p0/p1)."""
    e = np.e
    want = (e - 1) / (e + 1)
    centres = jnp.array([0.0, 1.0])
    found = ex.depth_distribution(
        jnp.ones((1, 1, 1, 1)), jnp.zeros((1, 1, 1, 1)), centres, temperature=1.0, spacing="linear"
    )
    assert mean(found) == pytest.approx(want, rel=1e-6)


def test_dense_bins_are_two_laplace_laws():
    centres = ex.bin_centres(2000, 0.0, 100.0, "linear")
    for delta in (0.5, 2.0, 10.0):
        teacher = jnp.full((1, 1, 1, 1), 50.0)
        found = ex.depth_distribution(teacher + delta, teacher, centres, temperature=2.0, spacing="linear")
        assert mean(found) == pytest.approx(delta / 2 + np.exp(-delta / 2) - 1, rel=1e-3)


def test_log_bins_see_ratios():
    centres = ex.bin_centres(500, 1.0, 100.0, "log")
    ratio = [
        mean(ex.depth_distribution(
            jnp.full((1, 1, 1, 1), 1.2 * d), jnp.full((1, 1, 1, 1), d), centres, temperature=0.1, spacing="log"
        ))
        for d in (5.0, 40.0)
    ]  # fmt: skip
    assert ratio[0] == pytest.approx(ratio[1], rel=0.01)
    np.testing.assert_allclose(np.asarray(centres)[[0, -1]], [1, 100], rtol=1e-5)


def test_the_slope_of_the_distribution_is_that_of_finite_differences():
    centres = ex.bin_centres(16, 0.0, 20.0, "linear")
    teacher = jnp.full((1, 1, 1, 1), 7.3)

    def loss(d):
        return ex.depth_distribution(
            jnp.full((1, 1, 1, 1), d), teacher, centres, temperature=2.0, spacing="linear"
        )[0]

    assert float(jax.grad(loss)(9.1)) == pytest.approx(float(loss(9.15) - loss(9.05)) / 0.1, rel=1e-3)
    assert float(jax.grad(loss)(30.0)) == pytest.approx(0, abs=1e-6)  # beyond the bins


def test_confidence_is_asked_for_where_a_return_is_near():
    """One return of 10 m in the middle: right at its left, 0.5 m off at its right, unlabelled above."""
    radar, truth = np.zeros((1, 3, 5, 1), "f"), np.zeros((1, 3, 5, 1), "f")
    radar[0, 1, 2], truth[0, 1, 1], truth[0, 1, 3], truth[0, 1, 0] = 10, 10.3, 10.5, 10.0
    logits = jnp.full((1, 3, 5, 1), 2.0)
    total, count = ex.radar_confidence(logits, jnp.asarray(radar), jnp.asarray(truth), patch=(1, 1))
    assert float(count) == 2  # the pixel two columns away has no return within the patch
    yes, no = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    assert float(total) == pytest.approx(yes + no, rel=1e-6)
    assert (
        float(ex.radar_confidence(logits, jnp.zeros_like(logits), jnp.ones_like(logits), patch=(1, 1))[1])
        == 0
    )
