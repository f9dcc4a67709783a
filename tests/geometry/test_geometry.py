"""Cameras, rigid motions and warps against hand-worked numbers, NumPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from tdepth_jax.geometry import camera, se3, warp

K = np.array([[[90.0, 0.3, 79.5], [0.0, 95.0, 60.0], [0.0, 0.0, 1.0]]], np.float32)
vectors = st.lists(st.floats(-1.5, 1.5, width=32), min_size=6, max_size=6).map(lambda v: np.float32([v]))


def test_backproject_is_the_inverse_of_K_by_hand():
    depth = np.random.RandomState(0).uniform(1, 50, (1, 5, 7, 1)).astype("f")
    got = camera.backproject(depth, K)
    v, u = np.mgrid[:5, :7]
    rays = np.einsum("ij,hwj->hwi", np.linalg.inv(K[0].astype("d")), np.stack([u, v, np.ones_like(u)], -1))
    np.testing.assert_allclose(got[0], rays * depth[0], rtol=1e-5, atol=1e-5)


def test_projection_undoes_backprojection_and_keeps_depth():
    depth = np.random.RandomState(1).uniform(0.5, 80, (1, 6, 9, 1)).astype("f")
    pixels, z = camera.project(camera.backproject(depth, K), K)
    np.testing.assert_allclose(pixels[0], camera.pixel_grid(6, 9), atol=2e-4)
    np.testing.assert_allclose(z, depth, rtol=1e-6)


def test_a_point_behind_the_camera_keeps_its_negative_depth():
    _, z = camera.project(jnp.asarray([[[[0.5, 0.2, -3.0]]]]), K)
    assert float(z[0, 0, 0, 0]) == -3.0


@given(vectors)
@settings(max_examples=50, deadline=None)
def test_rotations_equal_scipy(v):
    euler = Rotation.from_euler("XYZ", v[0, 3:]).as_matrix()
    rodrigues = Rotation.from_rotvec(v[0, 3:]).as_matrix()
    np.testing.assert_allclose(se3.from_vector(v, rotation="euler")[0, :3, :3], euler, atol=2e-6)
    np.testing.assert_allclose(se3.from_vector(v, rotation="axis_angle")[0, :3, :3], rodrigues, atol=2e-6)


@given(vectors)
@settings(max_examples=25, deadline=None)
def test_inverse_times_motion_is_identity(v):
    motion = se3.from_vector(v, rotation="axis_angle")
    np.testing.assert_allclose(se3.inverse(motion)[0] @ motion[0], np.eye(4), atol=1e-5)


@pytest.mark.parametrize("rotation", ["euler", "axis_angle"])
def test_zero_vector_is_the_identity_with_a_finite_gradient(rotation):
    zero = jnp.zeros((1, 6))
    np.testing.assert_array_equal(se3.from_vector(zero, rotation=rotation)[0], np.eye(4))
    gradient = jax.jacfwd(lambda v: se3.from_vector(v, rotation=rotation))(zero)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).sum() > 0


def test_sampling_equals_scipy_inside_and_at_the_border():
    rng = np.random.RandomState(2)
    image = rng.rand(2, 8, 11, 3).astype("f")
    pixels = rng.uniform([-4, -4], [14, 12], (2, 9, 9, 2)).astype("f")
    got, inside = warp.sample(image, pixels)
    for b in range(2):
        for c in range(3):
            coordinates = [pixels[b, ..., 1], pixels[b, ..., 0]]
            want = map_coordinates(image[b, ..., c], coordinates, order=1, mode="nearest")
            np.testing.assert_allclose(got[b, ..., c], want, atol=1e-5)
    x, y = pixels[..., 0], pixels[..., 1]
    np.testing.assert_array_equal(inside[..., 0], (x >= 0) & (x <= 10) & (y >= 0) & (y <= 7))
    zeros, _ = warp.sample(image, pixels, padding="zeros")
    assert (np.asarray(zeros)[~np.asarray(inside)[..., 0]] == 0).all()


def test_identity_motion_is_the_identity_warp():
    rng = np.random.RandomState(3)
    image = rng.rand(1, 32, 40, 1).astype("f")
    depth = rng.uniform(0.2, 90, (1, 32, 40, 1)).astype("f")
    pixels, z = warp.reproject(depth, jnp.eye(4)[None], K)
    value, inside = warp.sample(image, pixels)
    assert bool(inside.all())
    np.testing.assert_allclose(value, image, atol=1e-4)
    np.testing.assert_allclose(z, depth, rtol=1e-6)


def test_a_sideways_step_shifts_a_plane_by_focal_over_depth():
    depth = jnp.full((1, 20, 30, 1), 10.0)
    source_from_target = jnp.eye(4).at[0, 3].set(0.5)[None]  # the camera moved 0.5 m to the left
    pixels, _ = warp.reproject(depth, source_from_target, K)
    shift = np.broadcast_to([90.0 * 0.5 / 10, 0.0], (20, 30, 2))
    np.testing.assert_allclose(pixels[0] - camera.pixel_grid(20, 30), shift, atol=1e-4)


def test_warp_gradient_equals_finite_differences():
    with jax.enable_x64(True):
        rng = np.random.RandomState(4)
        # A smooth image, so that the bilinear surface has no kink inside the step of the difference.
        v, u = np.mgrid[:16, :20]
        image = np.sin(u / 3.0 + v / 5.0)[None, ..., None]
        K64 = K.astype("d")

        def loss(depth, vector):
            pixels, _ = warp.reproject(depth, se3.from_vector(vector), K64)
            value, inside = warp.sample(image, pixels)
            return jnp.sum(jnp.where(inside, value, 0.0) ** 2)

        depth = rng.uniform(4, 9, (1, 16, 20, 1))
        vector = np.array([[0.11, -0.07, 0.2, 0.004, -0.006, 0.003]])
        g_depth, g_vector = jax.grad(loss, argnums=(0, 1))(depth, vector)
        eps = 1e-7
        for i in range(6):
            step = np.zeros((1, 6))
            step[0, i] = eps
            fd = (loss(depth, vector + step) - loss(depth, vector - step)) / (2 * eps)
            np.testing.assert_allclose(g_vector[0, i], fd, rtol=1e-3, atol=1e-4)
        for y, x in [(3, 4), (10, 15), (8, 8)]:
            step = np.zeros(depth.shape)
            step[0, y, x, 0] = eps
            fd = (loss(depth + step, vector) - loss(depth - step, vector)) / (2 * eps)
            np.testing.assert_allclose(g_depth[0, y, x, 0], fd, rtol=1e-3, atol=1e-6)
