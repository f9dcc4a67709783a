"""Calibration against a scene whose geometry is known, against hand-worked numbers and against finite differences."""

import dataclasses

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import two_cameras as scene

from tdepth_jax.calibration import chain, edges, job, levels, objective, pairs, search, stereo, uncertainty
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import intrinsics


@pytest.fixture(scope="module")
def some():
    return scene.pairs()


def taken(some, rgb_from_thermal=scene.TRUE, depth="measured"):
    return pairs.Taken(some, scene.rig(rgb_from_thermal), depth)


# Edges.


def step(low, high, size=(20, 30), at=15):
    image = np.full(size, low, np.float32)
    image[:, at:] = high
    return image


def test_tensors_know_the_line_and_not_the_sign():
    image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    np.testing.assert_allclose(edges.tensors(image), edges.tensors(5 - image), atol=1e-3)
    np.testing.assert_allclose(edges.tensors(image), edges.tensors(300 * image), rtol=1e-3, atol=1e-5)
    xx, xy, yy = edges.tensors(step(10, 20))[10, 14]
    assert xx > 0.8
    assert abs(xy) < 1e-6 > abs(yy)
    assert not edges.tensors(step(7, 7)).any()


def test_an_outline_has_the_nearer_depth_and_the_sky_none():
    inverse = step(1 / 20, 1 / 4)
    known = np.ones(inverse.shape, bool)
    found = edges.points(step(10, 20), inverse, inverse, known, count=40, reach=0.0)
    strong = found.weight > 0.5
    assert strong.any()
    np.testing.assert_allclose(found.inverse_depth[strong], 1 / 4)  # on both sides of the line
    np.testing.assert_allclose(found.pixels[strong][:, 0], 14.5, atol=0.01)  # between the two
    sky = edges.points(step(10, 20), inverse, inverse, step(0, 1) > 0, count=40, reach=0.0)
    assert not sky.weight.any()


def test_background_that_may_be_covered_is_left_out():
    # 50 px m * (1/4 - 1/20) = 10 px: background as near as that to the outline may be hidden from the other camera.
    inverse = step(1 / 20, 1 / 4, size=(40, 60), at=40)
    stripes = np.zeros((40, 60), np.float32)
    stripes[:, [10, 34]] = 100
    known = np.ones(inverse.shape, bool)
    columns = {}
    for reach in (0.0, 50.0):
        found = edges.points(stripes, inverse, inverse, known, count=400, reach=reach)
        columns[reach] = set(np.round(found.pixels[found.weight > 0.5][:, 0]))
    assert columns[0.0] >= {9, 11, 33, 35}
    assert columns[50.0] >= {9, 11}
    assert not columns[50.0] & {33, 34, 35}


def test_a_plane_is_halved_exactly():
    plane = 0.02 + 0.001 * np.arange(12)[:, None] + np.zeros((12, 9))
    np.testing.assert_allclose(levels.shrunk(plane, 2)[:, 0], 0.0205 + 0.002 * np.arange(6), atol=1e-12)
    assert levels.shrunk(plane, 2).shape == (6, 4)
    assert [levels.factors(width) for width in (160, 128, 640, 500, 30)] == [
        [4, 2, 1], [2, 1], [16, 8, 4, 2], [8, 4, 2], [1],
    ]  # fmt: skip


# The objective.


def freedom(level, **more):
    given = {"shift": 0.15, "turn": np.radians(4), **more}
    return objective.freedom(
        np.asarray(level.K), level.field.shape[1:3], search.typical_inverse_depth(level), **given
    )


def test_points_land_where_the_formula_says(some):
    (*_, level) = levels.build(some, scene.rig(), margin=0.0)
    motion = np.linalg.inv(scene.TRUE)
    u, v, _ = objective.project(level, jnp.asarray(motion, jnp.float32), level.K)
    x, y = np.asarray(level.rays[3, 5])
    z = 1 / float(level.inverse_depth[3, 5])
    point = motion @ np.array([x * z, y * z, z, 1])
    pixel = scene.K @ (point[:3] / point[2])
    np.testing.assert_allclose([u[3, 5], v[3, 5]], pixel[:2], atol=1e-3)
    far = level._replace(inverse_depth=jnp.zeros_like(level.inverse_depth))
    shifted = motion.copy()
    shifted[:3, 3] += 7.0
    for one, other in zip(
        *(objective.project(far, jnp.asarray(m, jnp.float32), level.K) for m in (motion, shifted)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)  # at infinity no shift is seen


@pytest.mark.parametrize("kind", ["given", "all"])
def test_slopes_are_those_of_finite_differences(some, kind):
    rig = scene.rig(scene.wrong(0.3, 0.02))
    (*_, level) = levels.build(some, rig, margin=0.0)
    free = freedom(level, intrinsics=kind)
    base, directions, _ = search.arrays(rig, free)
    value = jax.jit(objective.agreement)
    slope = np.asarray(
        jax.jit(jax.grad(objective.agreement))(jnp.zeros(len(free.names)), level, base, directions)
    )
    # Wide enough for float32, narrow enough to cross few pixel borders, where a bilinear slope jumps.
    h = 0.05
    for k in range(len(free.names)):
        e = np.zeros(len(free.names), np.float32)
        e[k] = h
        measured = (value(e, level, base, directions) - value(-e, level, base, directions)) / (2 * h)
        np.testing.assert_allclose(slope[k], measured, atol=0.08 * np.abs(slope).max())


def test_a_step_along_a_direction_is_about_a_pixel(some):
    (*_, level) = levels.build(some, scene.rig(), margin=0.0)
    free = freedom(level, intrinsics="all")
    for k in range(len(free.names)):
        moved = search.shift_in_pixels(level, scene.rig(), free, np.eye(len(free.names))[k])
        assert 0.4 < moved < 2.5, free.names[k]


def test_the_change_between_rigs_is_what_is_applied(some):
    (*_, level) = levels.build(some, scene.rig(), margin=0.0)
    free, start = freedom(level), scene.rig(scene.wrong(2, 0.05))
    x = search.between(start, scene.rig(), free)
    assert levels.apart(search.applied(start, free, x), scene.rig()) == pytest.approx((0, 0), abs=1e-5)
    assert levels.apart(start, scene.rig()) == pytest.approx(
        (2, 5), abs=0.35
    )  # the turn moves the shift a little


# The search.


@pytest.mark.parametrize("seed", [0, 1])
def test_the_true_pose_is_found_again(some, seed):
    given = taken(some, scene.wrong(2.5, 0.08, seed))
    pyramid, free = job.prepared(given, job.Search())
    found = search.solve(pyramid, given.rig, free)
    truth = search.between(given.rig, scene.rig(), free)
    assert search.shift_in_pixels(pyramid[-1], given.rig, free, np.zeros(6), truth) > 2
    assert search.shift_in_pixels(pyramid[-1], given.rig, free, found.x, truth) < 0.15
    degrees, centimetres = levels.apart(search.applied(given.rig, free, found.x), scene.rig())
    assert degrees < 0.1
    assert centimetres < 1.5
    assert found.agreement > 2 * found.before
    assert not found.at_bound


def test_images_that_almost_share_their_pixels_are_no_trap():
    """Sampling at whole pixels blurs least; that must not hold the search where it starts."""
    turned = np.eye(4)
    turned[:3, :3] = scene.rotation([0, np.radians(0.2), 0])
    some = scene.pairs(thermal_K=scene.RGB_K, rgb_from_thermal=turned)
    start = dataclasses.replace(scene.rig(np.eye(4)), thermal_K=scene.RGB_K)
    pyramid, free = job.prepared(pairs.Taken(some, start, "measured"), job.Search())
    found = search.solve(pyramid, start, free)
    truth = search.between(start, dataclasses.replace(start, rgb_from_thermal=turned), free)
    assert search.shift_in_pixels(pyramid[-1], start, free, np.zeros(6), truth) == pytest.approx(
        0.45, abs=0.03
    )
    assert search.shift_in_pixels(pyramid[-1], start, free, found.x, truth) < 0.2


def test_a_wrong_focal_length_is_found_too(some):
    rig = dataclasses.replace(scene.rig(scene.wrong(1, 0.03)), thermal_K=scene.K * [[1.03], [1.03], [1]] + 0)
    given = pairs.Taken(some, rig, "measured")
    pyramid, free = job.prepared(given, job.Search(intrinsics="focal"))
    found = search.applied(rig, free, search.solve(pyramid, rig, free).x)
    assert found.thermal_K[0, 0] == pytest.approx(110, rel=0.008)
    assert found.thermal_K[0, 0] / found.thermal_K[1, 1] == pytest.approx(110 / 110.5)


def test_without_depth_only_the_turn_is_searched(some):
    far = tuple(dataclasses.replace(one, inverse_depth=np.zeros_like(one.inverse_depth)) for one in some)
    _, free = job.prepared(taken(far, depth="infinity"), job.Search())
    assert free.names == ("rx", "ry", "rz")


# How sure it is.


def test_sigma_is_that_of_the_normal_distribution():
    # Of one direction the square is that of a normal number; of six, 20.06 is exceeded by chance in 2.7 of 1000.
    assert uncertainty.as_sigma(4.0, 1) == pytest.approx(2, abs=1e-3)
    assert uncertainty.as_sigma(9.0, 1) == pytest.approx(3, abs=1e-3)
    assert uncertainty.as_sigma(20.062, 6) == pytest.approx(3, abs=1e-2)
    assert uncertainty.as_sigma(4000.0, 6) > 50


def test_the_bootstrap_tells_how_far_other_pairs_lead(some):
    """Its spread is that of calibrations by other scenes, within what ten of them can tell."""
    ends, said = [], []
    for seed in range(4):
        given = taken(scene.pairs(seed=seed) if seed else some)
        pyramid, free = job.prepared(given, job.Search())
        x = search.solve(pyramid, given.rig, free, starts=False).x
        spread = uncertainty.bootstrap(pyramid[-1], given.rig, free, x, given.drives)
        scale = [uncertainty.unit_of(free, k)[0] for k in range(6)]
        ends.append(x * scale)
        said.append(spread.draws.std(0) * scale)
    assert spread.drawn == "drives"
    seen = np.std(ends, axis=0, ddof=1)
    ratio = np.mean(said, axis=0) / seen
    assert 0.4 < np.exp(np.log(ratio).mean()) < 2.5
    # Adding nothing new makes nothing surer: twins of one drive are drawn together.
    twice = pairs.Taken(given.pairs + given.pairs, given.rig, "measured")
    level, free = job.prepared(twice, job.Search())
    again = uncertainty.bootstrap(level[-1], given.rig, free, x, twice.drives)
    np.testing.assert_allclose(again.draws.std(0), spread.draws.std(0), rtol=0.15)


def test_drift_is_seen_and_no_drift_is_not(some):
    want = job.Search(degrees=2, metres=0.1)
    still = job.check(taken(some), want)
    assert still.pixels < 0.3
    assert not still.has_drifted(sigma=4, pixels=0.5)
    given = taken(some, scene.wrong(1.0, 0.0))
    moved = job.check(given, want)
    assert moved.has_drifted(sigma=4, pixels=0.5)
    assert not moved.has_drifted(sigma=4, pixels=5)
    pyramid, free = job.prepared(given, want)
    truth = search.between(given.rig, scene.rig(), free)
    off = search.shift_in_pixels(pyramid[-1], given.rig, free, np.zeros(6), truth)
    assert moved.pixels == pytest.approx(off, rel=0.2)
    assert moved.best > moved.current


# Stereo, and the chain.


def test_stereo_measures_a_known_disparity():
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.integers(0, 255, (80, 200, 3)).astype(np.uint8), (0, 0), 1)
    inverse, known = stereo.inverse_depth(wide[:, 20:180], wide[:, 29:189], 400 * 0.3)
    inner = np.zeros(known.shape, bool)
    inner[10:-10, 40:-10] = True
    assert known[inner].mean() > 0.9
    np.testing.assert_allclose(np.median(inverse[inner & known]), 9 / 120, rtol=0.02)


def test_the_chain_comes_back_to_the_last_digit(tmp_path):
    path = tmp_path / "camchain.yaml"
    path.write_text(chain.text(scene.rig(), ["made by a test"]))
    for number, K, size in ((0, scene.K, scene.SIZE), (1, scene.RGB_K, scene.RGB_SIZE)):
        camera = intrinsics.kalibr_camera(path, number)
        assert camera.fx_fy_cx_cy == (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        assert camera.size == size
        assert (camera.cameras, camera.distortion, set(camera.coefficients)) == (2, "radtan", {0.0})
    np.testing.assert_allclose(intrinsics.kalibr_motion(path, to=1, of=0), scene.TRUE, atol=1e-15)


def test_pictures_that_show_nothing_are_counted_and_too_few_refused(some):
    kept, notes = pairs.usable([*some, scene.as_constant(some[0])], "here")
    assert len(kept) == len(some)
    assert notes == ("1 pairs with a picture of one value are left out",)
    with pytest.raises(
        UserError, match=r"0 usable pairs \(12 more are of one value throughout\), at least 8"
    ):
        pairs.usable([scene.as_constant(one) for one in some], "here")
