"""One camera's depth in another's view, by hand and on a rendered scene."""

import jax
import numpy as np
import pytest

from tdepth_jax.data import world
from tdepth_jax.geometry import rig, warp

pytestmark = pytest.mark.usefixtures("quick")

F, SIZE = 40.0, (24, 40)
K = np.array([[[F, 0, 19.5], [0, F, 11.5], [0, 0, 1]]], np.float32)
NEAR, FAR = 5.0, 10.0
BASELINE = 1.0  # metres that the second camera stands to the right


def moved(x):
    """other_from_camera of a camera at (x, 0, 0)."""
    motion = np.eye(4, dtype=np.float32)[None].copy()
    motion[0, 0, 3] = -x
    return motion


def wall_with_a_box(left, right):
    """Depth of a wall with something nearer in front of columns left..right-1."""
    depth = np.full((1, *SIZE, 1), FAR, np.float32)
    depth[:, :, left:right] = NEAR
    return depth


def test_the_same_scene_is_seen_alike_but_for_what_hides():
    # The box moves by F·1/5 = 8 pixels, the wall by 4: the second camera does not see the wall left of the box for 4.
    first, second = wall_with_a_box(16, 22), wall_with_a_box(8, 14)
    seen = jax.jit(rig.seen_by_other)(first, K, second, K, moved(BASELINE))
    np.testing.assert_allclose(seen.pixels[0, 3, 16], [8, 3], atol=1e-4)
    visible = np.asarray(seen.visible)[0, 12, :, 0]
    assert not visible[:4].any()  # out of the second image
    assert visible[4:12].all()
    assert not visible[12:16].any()  # behind the box
    assert visible[16:].all()
    shown = np.asarray(seen.depth)[0, :, :, 0]
    np.testing.assert_allclose(shown[:, 16:22], NEAR, rtol=1e-5)
    np.testing.assert_allclose(shown[:, 4:12], FAR, rtol=1e-5)


def test_a_depth_that_is_wrong_is_brought_back_along_its_own_ray():
    """The second camera, turned by 90 degrees to the right in place, has its depth along the first one's x axis."""
    turn = np.array([[[0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]], np.float32)
    points = np.full((1, 1, 1, 1), 4.0, np.float32)
    wide = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]], np.float32)
    one = wide.copy()
    one[0, 0, 2] = -2.0  # the pixel looks along (2, 0, 1)
    # The point (8, 0, 4) is (-4, 0, 8) there: at x = -0.5. Told 6 instead of 8 there, it is (6, 0, 3) here.
    other = wide.copy()
    other[0, 0, 2] = 0.5
    seen = rig.seen_by_other(points, one, np.full((1, 1, 1, 1), 6.0, np.float32), other, turn)
    np.testing.assert_allclose(seen.pixels.ravel(), [0, 0], atol=1e-5)
    np.testing.assert_allclose(seen.depth.ravel(), [3.0], rtol=1e-5)


def test_the_gradient_goes_into_the_other_depth_only():
    first = wall_with_a_box(16, 22)
    second = np.random.RandomState(0).uniform(4, 9, first.shape).astype("f")
    motion = moved(BASELINE)

    def total(first, second):
        return rig.seen_by_other(first, K, second, K, motion).depth[0, 8, 30, 0]

    mine, theirs = jax.grad(total, argnums=(0, 1))(first, second)
    assert not np.asarray(mine).any()
    # No rotation and no motion along z: what is read is what is seen.
    np.testing.assert_allclose(np.asarray(theirs)[0, 8, 26, 0], 1.0, rtol=1e-4)
    assert float(np.abs(theirs).sum()) == pytest.approx(1.0, rel=1e-3)


def test_a_rendered_rig_agrees_wherever_both_cameras_see():
    (spec,) = world.sequences("test", count=1, frames=1, height=48, width=64)
    frame = next(world.render(spec))
    first, second = (frame[f"{camera}/depth"][None, ..., None] for camera in ("rgb", "thermal"))
    far = [np.where(d > 0, d, 200.0).astype("f") for d in (first, second)]
    seen = rig.seen_by_other(
        far[0], frame["rgb/K"][None], far[1], frame["thermal/K"][None],
        np.linalg.inv(frame["rgb_from_thermal"])[None].astype("f"),
    )  # fmt: skip
    here = np.asarray(seen.visible) & (first > 0) & (first < 60)
    wrong = np.abs(seen.depth - first) / np.maximum(first, 1)
    assert here.mean() > 0.4
    assert np.median(wrong[here]) < 0.01
    assert (wrong[here] < 0.1).mean() > 0.9  # the rest lies where a surface ends


def test_the_nearest_pixel_and_the_edge():
    image = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    pixels = np.array([[[[0.4, 0.4], [1.6, 0.6], [-9.0, 9.0]]]], np.float32)
    np.testing.assert_array_equal(warp.nearest(image, pixels).ravel(), [0, 5, 3])
    assert np.isfinite(warp.nearest(image, np.full((1, 1, 1, 2), np.nan, np.float32))).all()
