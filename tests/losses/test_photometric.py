"""Photometric losses against straightforward NumPy/SciPy and numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from tdepth_jax.losses import photometric


def ssim_by_scipy(a, b):
    def mean(x):
        return uniform_filter(x, size=3, mode="mirror")  # SciPy's "mirror" is the reflection without the edge

    va, vb, cov = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2, mean(a * b) - mean(a) * mean(b)
    n = (2 * mean(a) * mean(b) + 1e-4) * (2 * cov + 9e-4)
    return np.clip((1 - n / ((mean(a) ** 2 + mean(b) ** 2 + 1e-4) * (va + vb + 9e-4))) / 2, 0, 1)


def test_ssim_equals_scipy_and_is_zero_for_equal_images():
    a, b = np.random.RandomState(0).rand(2, 1, 12, 17, 1)
    with jax.enable_x64(True):
        got = photometric.ssim_distance(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(got[0, ..., 0], ssim_by_scipy(a[0, ..., 0], b[0, ..., 0]), atol=1e-9)
    assert float(jnp.abs(photometric.ssim_distance(a.astype("f"), a.astype("f"))).max()) < 1e-5


def test_photometric_mix_by_hand():
    a, b = np.full((1, 3, 3, 1), 0.5, "f"), np.full((1, 3, 3, 1), 0.3, "f")
    ssim = (2 * 0.5 * 0.3 + 1e-4) / (0.5**2 + 0.3**2 + 1e-4)  # flat windows: the variances vanish
    want = 0.15 * 0.2 + 0.85 * (1 - ssim) / 2
    np.testing.assert_allclose(photometric.photometric_distance(a, b), np.full((1, 3, 3, 1), want), rtol=1e-4)


@given(st.floats(0.1, 80), st.floats(0.1, 80))
@settings(max_examples=50, deadline=None)
def test_depth_inconsistency_is_symmetric_scale_free_and_bounded(a, b):
    one, two = jnp.full((1, 1, 1, 1), a), jnp.full((1, 1, 1, 1), b)
    d = float(photometric.depth_inconsistency(one, two).squeeze())
    assert 0 <= d <= 1
    np.testing.assert_allclose(d, abs(a - b) / (a + b), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        d, photometric.depth_inconsistency(7 * two, 7 * one).squeeze(), rtol=1e-4, atol=1e-6
    )


def test_smoothness_by_hand_and_weaker_across_an_edge():
    value = jnp.asarray([[1.0, 3.0]])[
        None, ..., None
    ]  # mean 2, normalised 0.5 and 1.5: one step of 1 along x
    flat = jnp.zeros((1, 1, 2, 1))
    edge = jnp.asarray([[0.0, 2.0]])[None, ..., None]
    # A one-row image has no vertical difference; jnp's mean of nothing is NaN, so two equal rows are used.
    value, flat, edge = (jnp.tile(x, (1, 2, 1, 1)) for x in (value, flat, edge))
    total, count = photometric.smoothness(value, flat)
    np.testing.assert_allclose(total / count, 1.0, rtol=1e-5)
    total, count = photometric.smoothness(value, edge)
    np.testing.assert_allclose(total / count, np.exp(-2.0), rtol=1e-5)


def test_smoothness_does_not_feel_the_scale_of_depth():
    rng = np.random.RandomState(1)
    value, image = rng.uniform(1, 9, (2, 8, 9, 1)).astype("f"), rng.rand(2, 8, 9, 1).astype("f")
    np.testing.assert_allclose(
        photometric.smoothness(value, image), photometric.smoothness(100 * value, image), rtol=1e-4
    )


def test_masked_sum_counts_ignores_nan_and_refuses_a_handful():
    value = jnp.asarray([1.0, jnp.nan, 3.0, 4.0]).reshape(1, 2, 2, 1)
    mask = jnp.asarray([True, False, True, False]).reshape(1, 2, 2, 1)
    assert tuple(map(float, photometric.masked_sum(value, mask))) == (4.0, 2.0)
    assert tuple(map(float, photometric.masked_sum(value, mask, least=0.6))) == (0.0, 2.0)
    gradient = jax.grad(lambda v: photometric.masked_sum(v, mask)[0])(value)
    np.testing.assert_array_equal(gradient.ravel(), [1, 0, 1, 0])
