"""Losses and warps equal kornia's to 1e-5, from what make_kornia.py wrote down; neither torch nor kornia is needed.

What is kept apart: kornia weighs SSIM's window by a Gaussian; smoothness takes a value that is normalised already; and
with zeros outside, kornia fades the last half pixel's way out of the image where `warp.sample` cuts at the border.
"""

import jax
import jax.numpy as jnp
import kornia_golden as golden
import numpy as np
import pytest

from tdepth_jax.geometry import camera, se3, warp
from tdepth_jax.losses import photometric

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def given():
    return {name: value.astype(np.float32) for name, value in golden.given().items()}


@pytest.fixture(scope="module")
def kornia():
    with np.load(golden.FILE) as file:
        return dict(file)


def test_ssim(given, kornia):
    got = photometric.ssim_distance(given["image"], given["other"])
    np.testing.assert_allclose(got, np.clip((1 - kornia["ssim_box"]) / 2, 0, 1), **CLOSE)
    apart = np.abs(kornia["ssim_box"] - kornia["ssim_gaussian"])
    assert 0.001 < apart.mean() < 0.05  # of [-1, 1]: another window, not another measure


def test_smoothness(given, kornia):
    # Of the whole batch at once, as kornia means it: every image weighs alike in both.
    total, count = photometric.smoothness(1 / given["depth"], given["image"])
    np.testing.assert_allclose(total / count, kornia["smoothness"], **CLOSE)


def test_motions_and_points(given, kornia):
    motion = se3.from_vector(given["vector"], rotation="axis_angle")
    np.testing.assert_allclose(motion, kornia["source_from_target"], **CLOSE)
    np.testing.assert_allclose(camera.backproject(given["depth"], given["K"]), kornia["points"], **CLOSE)


def warped(given, kornia, depth, padding):
    pixels, _ = warp.reproject(depth, kornia["source_from_target"], given["K"])
    return warp.sample(given["image"], pixels, padding=padding)


def test_warps(given, kornia):
    with jax.enable_x64(True):  # a pixel is a float32's 1e-6, and the image falls by up to 1 a pixel
        given = {name: jnp.asarray(value) for name, value in golden.given().items()}
        border, inside = warped(given, kornia, given["depth"], "border")
        zeros, _ = warped(given, kornia, given["depth"], "zeros")
    np.testing.assert_allclose(border, kornia["warped_border"], **CLOSE)
    inside = np.broadcast_to(inside, zeros.shape)
    np.testing.assert_allclose(np.asarray(zeros)[inside], kornia["warped_zeros"][inside], **CLOSE)
    assert (np.asarray(zeros)[~inside] == 0).all()
    shares = inside.mean(axis=(1, 2, 3))
    assert shares[0] == 1
    assert 0.2 < shares[2] < 0.8  # both sides of the border are put to the test


def test_the_gradient_by_depth(given, kornia):
    with jax.enable_x64(True):
        given = {name: jnp.asarray(value) for name, value in golden.given().items()}

        def total(depth):
            value, inside = warped(given, kornia, depth, "zeros")
            return jnp.sum(value * given["other"]), inside

        got, inside = jax.grad(total, has_aux=True)(given["depth"])
    np.testing.assert_allclose(np.asarray(got)[inside], kornia["depth_gradient"][np.asarray(inside)], **CLOSE)
