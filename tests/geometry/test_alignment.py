"""Alignment against motions that are known: two views of a plane whose grey values are a formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdepth_jax.geometry import alignment, camera, se3, warp

H, W = 48, 64
K = jnp.asarray([[[50.0, 0.0, 31.5], [0.0, 52.0, 23.5], [0.0, 0.0, 1.0]]])
# The plane n.X = 1 in the target's frame: near below, far above, as a road and what stands behind it.
NORMAL = jnp.asarray([0.02, 0.12, 0.1])


def texture(points):
    """A grey value in [0, 1] for every point in space, smooth at the scale of a pixel."""
    x, y, z = jnp.moveaxis(points, -1, 0)
    return 0.5 + 0.2 * jnp.sin(1.1 * x + 0.3 * z) + 0.2 * jnp.sin(0.9 * y - 0.5 * z + 0.4 * x)


def view(camera_from_target):
    """(image, depth) of the plane from a camera at `camera_from_target`, by intersecting every ray with it."""
    motion = se3.inverse(camera_from_target)
    rays = camera.backproject(jnp.ones((1, H, W, 1)), K) @ jnp.swapaxes(motion[:, :3, :3], 1, 2)[:, None]
    start = motion[0, :3, 3]
    depth = (1 - start @ NORMAL) / (rays @ NORMAL)
    return texture(start + rays * depth[..., None])[..., None], depth[..., None]


def motion(*vector):
    return se3.from_vector(jnp.asarray([vector], jnp.float32), rotation="axis_angle")


def error(found, true):
    """(metres, radians) between two motions."""
    off = np.asarray(se3.inverse(true) @ found)[0]
    return np.linalg.norm(off[:3, 3]), np.linalg.norm(off[[2, 0, 1], [1, 2, 0]])


TRUE = motion(0.05, -0.03, 0.25, 0.008, -0.006, 0.005)


@pytest.mark.parametrize("brightness", [0.0, 0.05])
def test_the_motion_of_a_plane_is_found(brightness):
    (target, depth), (source, _) = view(jnp.eye(4)[None]), view(TRUE)
    found = alignment.align(target, source + brightness, depth, jnp.eye(4)[None], K, steps=12)
    metres, radians = error(found, TRUE)
    before = error(jnp.eye(4)[None], TRUE)
    assert metres < 0.15 * before[0]  # what is left is the pull towards the start
    assert radians < 0.002


def test_the_truth_is_a_fixed_point():
    (target, depth), (source, _) = view(jnp.eye(4)[None]), view(TRUE)
    metres, radians = error(alignment.align(target, source, depth, TRUE, K, steps=5), TRUE)
    assert metres < 0.005
    assert radians < 5e-4


def test_depth_and_motion_share_their_unit():
    """Depth and start ten times as large give a translation ten times as large, and the same rotation."""
    (target, depth), (source, _) = view(jnp.eye(4)[None]), view(TRUE)
    start = motion(0.0, 0.0, 0.1, 0.0, 0.0, 0.0)
    one = alignment.align(target, source, depth, start, K)
    ten = alignment.align(target, source, 10 * depth, start.at[:, :3, 3].multiply(10), K)
    np.testing.assert_allclose(ten[:, :3, 3], 10 * one[:, :3, 3], atol=1e-3)
    np.testing.assert_allclose(ten[:, :3, :3], one[:, :3, :3], atol=1e-5)


def test_masked_pixels_do_not_pull():
    (target, depth), (source, _) = view(jnp.eye(4)[None]), view(TRUE)
    valid = jnp.ones((1, H, W, 1)).at[:, 30:].set(0.0)
    bonnet = target.at[:, 30:].set(jax.random.uniform(jax.random.key(0), (1, H - 30, W, 1)))
    clean = alignment.align(target, source, depth, TRUE, K, valid)
    masked = alignment.align(bonnet, source, depth, TRUE, K, valid)
    # The bonnet's first row lends its grey value to the gradient of the row above it, no more.
    assert max(error(masked, clean)) < 0.02


def test_an_image_without_texture_leaves_the_start_alone():
    flat = jnp.full((1, H, W, 1), 0.5)
    _, depth = view(jnp.eye(4)[None])
    np.testing.assert_allclose(alignment.align(flat, flat, depth, TRUE, K), TRUE, atol=1e-5)


def test_the_found_motion_explains_the_source():
    (target, depth), (source, _) = view(jnp.eye(4)[None]), view(TRUE)
    found = alignment.align(target, source, depth, jnp.eye(4)[None], K, steps=8)

    def left(m):
        seen, inside = warp.sample(source, warp.reproject(depth, m, K)[0])
        return float(jnp.abs((seen - target) * inside).sum() / inside.sum())

    assert left(found) < 0.2 * left(jnp.eye(4)[None])
