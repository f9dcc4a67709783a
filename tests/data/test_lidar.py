"""LiDAR to depth against scenes whose depth is known in closed form."""

import numpy as np
import pytest
from rig_scene import K, motion, turn
from scipy.spatial.transform import Rotation, Slerp

from tdepth_jax.data import lidar

SIZE = (256, 320)
CAMERA = K(220.0, 160.0, 128.0)
# The LiDAR sits half a metre above and 0.4 m beside the camera; its axes are the camera's here.
CAMERA_FROM_LIDAR = motion(t=(0.4, -0.5, 0.1))


def track(count=20, step=0.5):
    rng = np.random.default_rng(0)
    poses = [np.eye(4)]
    for _ in range(count - 1):
        wiggle = Rotation.from_rotvec(rng.normal(0, 0.05, 3)).as_matrix()
        poses.append(poses[-1] @ motion(wiggle, (0.01, 0, step)))
    return lidar.Track(np.arange(count) * 10**8, np.stack(poses))


def test_poses_between_poses_are_scipys_slerp():
    found = track()
    times = np.sort(np.random.default_rng(1).integers(0, 19 * 10**8, 50))
    poses, known = found.at(times)
    assert known.all()
    slerp = Slerp(found.times / 1e9, Rotation.from_matrix(found.poses[:, :3, :3]))
    np.testing.assert_allclose(poses[:, :3, :3], slerp(times / 1e9).as_matrix(), atol=1e-9)
    for axis in range(3):
        want = np.interp(times, found.times, found.poses[:, axis, 3])
        np.testing.assert_allclose(poses[:, axis, 3], want, atol=1e-9)
    np.testing.assert_allclose(found.at(found.times)[0], found.poses, atol=1e-9)


def test_poses_are_not_guessed():
    """Neither outside the track nor across a hole in it."""
    poses = np.stack([motion(t=(0, 0, z)) for z in (0, 1, 9, 10)])
    found = lidar.Track(np.array([0, 10, 20, 30]), poses)
    times = np.array([-1, 0, 5, 15, 20, 25, 30, 31])
    got, known = found.at(times)
    assert known.tolist() == [False, True, True, False, False, True, True, False]
    np.testing.assert_array_equal(got[0], np.eye(4))
    assert not lidar.Track(times[:1], poses[:1]).at(times)[1].any()


def test_a_scan_is_put_right_for_its_own_motion():
    """The vehicle drives 10 m/s at a wall: a scan of 0.1 s would smear it over a metre."""
    poses = np.stack([motion(turn("y", 3 * i), (0, 0, 1.0 * i)) for i in range(4)])
    found = lidar.Track(np.arange(4) * 10**8, poses)
    times = np.linspace(0, 3 * 10**8, 500).astype(np.int64)
    wall = np.stack([np.linspace(-3, 3, 500), np.zeros(500), np.full(500, 20.0)], 1)
    at, _ = found.at(times)
    seen = np.stack([np.linalg.inv(pose) @ np.append(p, 1) for pose, p in zip(at, wall, strict=True)])[:, :3]
    np.testing.assert_allclose(lidar.scan_in_world(seen, times, found), wall, atol=1e-9)
    late = times + 10**9  # after the last pose: no guess
    assert len(lidar.scan_in_world(seen, late, found)) == 0


# A street: ground 1.5 m below the camera, a wall across at 30 m, a box at 8 m before it. y points down.


def cast(origin, directions):
    """Distance along each direction to the scene, and what was hit (0 none, 1 ground, 2 wall, 3 box front)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = (1.5 - origin[1]) / directions[:, 1]
        wall = (30 - origin[2]) / directions[:, 2]
        front = (8 - origin[2]) / directions[:, 2]
    at = origin + front[:, None] * directions
    on_box = (front > 0) & (np.abs(at[:, 0] - 0.5) < 1.0) & (at[:, 1] > -0.5) & (at[:, 1] < 1.5)
    reach = np.stack([
        np.where((ground > 0) & (directions[:, 1] > 1e-9), ground, np.inf),
        np.where(wall > 0, wall, np.inf),
        np.where(on_box, front, np.inf),
    ])  # fmt: skip
    return reach.min(axis=0), reach.argmin(axis=0) + 1


@pytest.fixture(scope="module")
def street():
    """(LiDAR points in the camera, the camera's true depth, what each pixel shows)."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].reshape(2, -1)
    rays = np.stack([(u - 160) / 220, (v - 128) / 220, np.ones(u.size)], 1)
    depth, what = cast(np.zeros(3), rays)
    # 64 beams over 33 degrees, a point every 0.35 degrees: the density of an Ouster OS2-64 at 1024 columns.
    up, side = np.meshgrid(np.radians(np.linspace(-16, 16, 64)), np.radians(np.arange(-50, 50, 0.35)))
    beams = np.stack([np.cos(up) * np.sin(side), np.sin(up), np.cos(up) * np.cos(side)], -1).reshape(-1, 3)
    origin = CAMERA_FROM_LIDAR[:3, 3]
    reach, _ = cast(origin, beams)
    points = (origin + reach[:, None] * beams)[np.isfinite(reach) & (reach < 60)]
    return points, depth.reshape(SIZE), what.reshape(SIZE)


def test_projected_depth_is_the_cameras_depth(street):
    points, truth, _ = street
    depth = lidar.without_hidden(lidar.project(points, np.eye(4), CAMERA, SIZE))
    there = depth > 0
    assert there.sum() > 5000
    error = np.abs(depth - truth)[there] / truth[there]
    assert np.median(error) < 0.005
    # A pixel off a silhouette belongs to the other side of it; elsewhere half a pixel of the road's slope remains.
    assert (error > 0.1).mean() < 0.02


def test_what_shows_through_is_taken_out_and_what_stands_free_stays(street):
    points, truth, what = street
    before = lidar.project(points, np.eye(4), CAMERA, SIZE)
    after = lidar.without_hidden(before)
    through = (what == 3) & (before > 1.2 * truth)  # the wall and road behind the box, inside its outline
    assert through.sum() > 30
    assert (after[through] > 0).mean() < 0.3
    free = (before > 0) & (np.abs(before - truth) < 0.05 * truth)
    for kind in (1, 2, 3):  # road, wall, box
        assert (after[free & (what == kind)] > 0).mean() > 0.99
    assert ((before == after) | (after == 0)).all()


def test_the_nearest_point_of_a_pixel_wins_and_the_vehicle_itself_is_left_out():
    world = np.array([[0, 0, 9.0], [0, 0, 5.0], [0.01, 0, 7.0], [0, 0, 0.3], [0, 0, -4], [90, 0, 5]])
    depth = lidar.project(world, np.eye(4), CAMERA, SIZE)
    assert np.argwhere(depth).tolist() == [[128, 160]]
    assert depth[128, 160] == 5
    moved = lidar.project(world, motion(t=(5 / 220, 0, 0)), CAMERA, SIZE)  # one pixel to the right at 5 m
    assert moved[128, 161] == 5


def test_a_corridor_keeps_its_end():
    """Nearer on all sides, but steadily: 3 m wide, 2.6 m high, 40 m long."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    with np.errstate(divide="ignore"):
        side, floor = 1.5 * 220 / np.abs(u - 160.5), 1.3 * 220 / np.abs(v - 128.5)
    depth = np.minimum(np.minimum(side, floor), 40).astype(np.float32)
    assert (lidar.without_hidden(depth) > 0).mean() > 0.995
