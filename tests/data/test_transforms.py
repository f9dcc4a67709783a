"""Resize, crop and flip against the pinhole equation, ramps whose value is their place, and impulses."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy_records import pose

from tdepth_jax.data import transforms
from tdepth_jax.data.transforms import Augment, View, draw_view, full_view

RELAXED = settings(max_examples=60, deadline=None)
sizes = st.tuples(st.integers(2, 40), st.integers(2, 40))
K0 = np.array([[50, 0.3, 15.2], [0, 47, 11.7], [0, 0, 1]], np.float32)


@st.composite
def views(draw):
    stored = draw(sizes)
    window = draw(st.integers(1, stored[0])), draw(st.integers(1, stored[1]))
    top = draw(st.integers(0, stored[0] - window[0]))
    left = draw(st.integers(0, stored[1] - window[1]))
    return stored, View(top, left, *window, draw(sizes), draw(st.booleans()))


def project(K, points):
    u = points @ np.asarray(K, np.float64).T
    return u[..., :2] / u[..., 2:]


@given(case=views(), seed=st.integers(0, 99))
@RELAXED
def test_intrinsics_project_points_where_the_view_moves_pixels(case, seed):
    """A pixel x covers [x - 1/2, x + 1/2]; windows and sizes are such edges, which must meet."""
    _, view = case
    points = np.random.default_rng(seed).normal((0, 0, 6), size=(20, 3))
    u = project(K0, points)
    part = (u + 0.5 - [view.left, view.top]) / [view.width, view.height]  # of the window, from its corner
    want = part * [view.size[1], view.size[0]] - 0.5
    if view.flip:  # the mirrored world in the mirrored image
        want[:, 0] = view.size[1] - 1 - want[:, 0]
        points = points * [-1, 1, 1]
    scale = max(view.size) / min(view.width, view.height)
    np.testing.assert_allclose(project(view.intrinsics(K0), points), want, atol=2e-5 * max(scale, 1) * 50)


@given(stored=sizes, size=sizes, axis=st.integers(0, 1), flip=st.booleans())
@RELAXED
def test_an_image_moves_as_its_intrinsics_say(stored, size, axis, flip):
    """An image whose counts are 1000 x pixel coordinate, resized, reads the old coordinate at the new pixel."""
    assume(stored[axis] > 3)
    ramp = np.indices(stored)[axis] * 1000
    got = View(0, 0, *stored, size, flip).image(ramp.astype(np.uint16)).astype(float) / 1000
    new = np.indices(size)[axis].astype(float)
    if flip and axis == 1:
        new = size[1] - 1 - new
    step = stored[axis] / size[axis]
    want = (new + 0.5) * step - 0.5
    inside = (want - max(step, 1) / 2 >= 0) & (want + max(step, 1) / 2 <= stored[axis] - 1)
    # An average over a part of a pixel takes the pixel's one value: off by up to an eighth of a pixel or so.
    tolerance = 0.26 if step > 1 and step != int(step) else 2e-3
    assert (np.abs(got - want)[inside] <= tolerance).all()


@given(case=views())
@RELAXED
def test_depth_is_taken_never_mixed_and_from_the_nearest_pixel(case):
    stored, view = case
    y, x = np.indices(stored)
    got_x, got_y = view.nearest(x), view.nearest(y)
    columns = np.arange(view.size[1])
    want = (columns + 0.5) * view.width / view.size[1] - 0.5 + view.left
    if view.flip:
        want = want[::-1]
    assert (np.abs(got_x - want) <= 0.5 + 1e-9).all()
    rows = (np.arange(view.size[0]) + 0.5) * view.height / view.size[0] - 0.5 + view.top
    assert (np.abs(got_y - rows[:, None]) <= 0.5 + 1e-9).all()


@given(case=views(), seed=st.integers(0, 99), bad=st.floats(0, 0.4))
@RELAXED
def test_no_count_of_an_unusable_pixel_gets_into_a_usable_one(case, seed, bad):
    stored, view = case
    rng = np.random.default_rng(seed)
    valid = (rng.random(stored) >= bad).astype(np.uint8)
    image = rng.integers(0, 2**14, stored).astype(np.uint16)
    hot, cold = (np.where(valid, image, level).astype(np.uint16) for level in (2**14 - 1, 0))
    usable = view.valid(valid)
    assert usable.dtype == np.bool_
    difference = np.abs(view.image(hot).astype(int) - view.image(cold))
    assert (difference[usable] <= 2).all()  # of 16384: weights under 1e-4 are float rounding


@given(case=views())
@RELAXED
def test_an_all_usable_mask_stays_so(case):
    stored, view = case
    assert view.valid(np.ones(stored, np.uint8)).all()
    assert not view.valid(np.zeros(stored, np.uint8)).any()


@given(case=views(), level=st.integers(0, 2**16 - 1))
@RELAXED
def test_a_constant_keeps_its_16_bits(case, level):
    stored, view = case
    got = view.image(np.full(stored, level, np.uint16))
    assert got.dtype == np.uint16
    assert got.shape == view.size
    assert (got == level).all()


def test_levels_survive_resizing():
    """Two levels apart by one count, on a 16-bit pedestal, are still two after halving and doubling."""
    image = np.full((8, 8), 60001, np.uint16)
    image[:, 4:] = 60002
    assert transforms.resize_image(image, (4, 4)).tolist() == [[60001, 60001, 60002, 60002]] * 4
    big = transforms.resize_image(image, (16, 16))
    assert set(np.unique(big)) == {60001, 60002}


def test_halving_is_the_mean_of_four():
    image = np.random.default_rng(0).integers(0, 2**16, (6, 8)).astype(np.uint16)
    want = np.rint(image.reshape(3, 2, 4, 2).mean((1, 3)))
    np.testing.assert_allclose(
        transforms.resize_image(image, (3, 4)), want, atol=1
    )  # halves round either way
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    want = np.rint(rgb.reshape(3, 2, 4, 2, 3).mean((1, 3)))
    np.testing.assert_allclose(transforms.resize_image(rgb, (3, 4)), want, atol=1)


def test_the_whole_at_its_own_size_is_untouched():
    image = np.random.default_rng(0).integers(0, 2**16, (6, 8)).astype(np.uint16)
    view = full_view((6, 8), (6, 8))
    np.testing.assert_array_equal(view.image(image), image)
    np.testing.assert_array_equal(view.intrinsics(K0), K0)


def test_a_point_seen_from_a_neighbour_is_seen_mirrored():
    """Reprojection between two frames commutes with the flip: K, motion and pixels together."""
    rng = np.random.default_rng(0)
    b_from_a = pose(rng)
    points = np.concatenate([rng.normal((0, 0, 5), size=(30, 3)), np.ones((30, 1))], 1)
    u = project(K0, (points @ b_from_a.T)[:, :3])
    mirrored = points * [-1, 1, 1, 1]
    flipped = transforms.flip_transform(b_from_a)
    v = project(transforms.flip_intrinsics(K0, 40), (mirrored @ flipped.T)[:, :3])
    np.testing.assert_allclose(v, np.stack([39 - u[:, 0], u[:, 1]], 1), rtol=1e-4, atol=1e-3)
    assert np.linalg.det(flipped[:3, :3]) == pytest.approx(1, abs=1e-5)


def test_flipping_twice_is_nothing():
    rng = np.random.default_rng(0)
    motion = np.stack([pose(rng), pose(rng)])
    np.testing.assert_array_equal(transforms.flip_transform(transforms.flip_transform(motion)), motion)
    np.testing.assert_allclose(transforms.flip_intrinsics(transforms.flip_intrinsics(K0, 33), 33), K0, 1e-6)


def test_radar_columns_along_x_change_their_sign():
    points = np.arange(12, dtype=np.float32).reshape(2, 6) + 1
    got = transforms.flip_points(points, ["x", "y", "z", "vx", "rcs", "vx_compensated"])
    np.testing.assert_array_equal(got, points * [-1, 1, 1, -1, 1, -1])


@given(
    draw=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4),
    stored=sizes,
    scale=st.floats(1, 4),
)
@RELAXED
def test_drawn_windows_lie_inside_and_are_no_smaller_than_allowed(draw, stored, scale):
    view = draw_view(np.array(draw), stored, (8, 8), scale, False)
    for start, length, whole in ((view.top, view.height, stored[0]), (view.left, view.width, stored[1])):
        assert start >= 0
        assert start + length <= whole
        assert length >= max(1, whole / scale - 0.5)


def test_drawn_windows_reach_every_place():
    rng = np.random.default_rng(0)
    seen = [draw_view(rng.random(4), (20, 20), (8, 8), 1.25, False) for _ in range(500)]
    assert {view.height for view in seen} == {16, 17, 18, 19, 20}
    assert {view.left for view in seen} == {0, 1, 2, 3, 4}
    assert any(view.height != view.width for view in seen)


@pytest.mark.parametrize("scale", [0.9, 5.0, float("nan")])
def test_augment_refuses_scales_that_cannot_be(scale):
    with pytest.raises(ValueError, match="scale_crop"):
        Augment(scale_crop=scale)
