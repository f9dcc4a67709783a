"""Rays against solids, against truths worked out by hand and a brute-force marcher."""

import numpy as np
import pytest

from tdepth_jax.data.world import raycast, texture
from tdepth_jax.data.world.scene import Builder

K = np.array([[40.0, 0, 31.5], [0, 40.0, 23.5], [0, 0, 1]])
# Looks along +x from 1.5 m up: camera x is -y, camera y is -z.
POSE = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], np.float64)


def _builder():
    return Builder(np.random.default_rng(0), np.full((1, 2), 1e6))


def _cast(builder):
    solids, _ = builder.solids()
    return raycast.cast(solids, K, POSE, 48, 64), solids


def test_wall_ahead_has_one_depth_and_faces_the_camera():
    b = _builder()
    b.box("brick", "wall", 11.0, 0.0, 0.0, (2.0, 6.0, 5.0))
    hits, _ = _cast(b)
    wall = hits.solid == 0
    np.testing.assert_allclose(hits.depth[wall], 10.0, rtol=1e-6)
    np.testing.assert_allclose(hits.normal[wall], np.tile([-1, 0, 0], (wall.sum(), 1)), atol=1e-6)
    # 6 m wide at 10 m: 24 columns; from 3.5 m above to 1.5 m below the camera: 14 rows up, 6 down.
    rows, columns = np.nonzero(wall.reshape(48, 64))
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == (24, 20)


def test_ball_is_nearest_at_its_middle():
    b = _builder()
    b.ball("foliage", "vegetation", 8.0, 0.0, 1.5, (1.0, 2.0, 1.5))
    hits, _ = _cast(b)
    depth = hits.depth.reshape(48, 64)
    assert depth[23:25, 31:33] == pytest.approx(7.0, abs=0.01)
    assert (hits.solid == raycast.SKY).any()
    assert (hits.solid == raycast.GROUND).any()


@pytest.mark.parametrize("shape", [raycast.FRUSTUM, raycast.BALL, raycast.CYLINDER])
def test_hits_agree_with_marching_along_the_rays(shape):
    rng = np.random.default_rng(shape)
    b = _builder()
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    taper = (0.2, 0.4) if shape == raycast.FRUSTUM else (0.0, 0.0)
    b.solid(shape, "brick", "wall", (7.0, 0.4, 1.9), (1.5, 1.0, 1.2), yaw=0.7, lean=turn, taper=taper)
    hits, solids = _cast(b)
    t = np.arange(4, 10, 0.004)
    local = lambda p: (p - solids.centre[0]) @ solids.local[0].T  # noqa: E731
    for pixel in range(5, 48 * 64, 61):
        x, y, z = local(POSE[:3, 3] + t[:, None] * hits.ray[pixel]).T
        inside = {
            raycast.FRUSTUM: (abs(x) + taper[0] * z <= 1) & (abs(y) + taper[1] * z <= 1) & (abs(z) <= 1),
            raycast.BALL: x * x + y * y + z * z <= 1,
            raycast.CYLINDER: (x * x + y * y <= 1) & (abs(z) <= 1),
        }[shape]
        if inside.sum() > 3:
            if hits.solid[pixel] == 0:
                assert hits.depth[pixel] == pytest.approx(t[inside.argmax()], abs=0.01)
            else:  # only the ground may hide it
                assert hits.depth[pixel] < t[inside.argmax()]
        elif not inside.any() and hits.solid[pixel] == 0:
            gap = np.minimum(abs(t - hits.depth[pixel]).min(), 1)
            assert gap < 0.01  # a graze between two steps of the march


def test_solids_beside_and_behind_the_camera():
    b = _builder()
    b.box("brick", "wall", 0.0, 3.0, 0.0, (60.0, 1.0, 4.0))  # runs past the camera on its left
    b.box("brick", "wall", -10.0, 0.0, 0.0, (2.0, 40.0, 9.0))  # behind
    hits, _ = _cast(b)
    assert not (hits.solid == 1).any()
    picture = (hits.solid == 0).reshape(48, 64)
    assert picture[23, 0]
    # Its face lies at y = 2.5: in column u the z-depth is 2.5 * f / (cx - u).
    assert hits.depth.reshape(48, 64)[23, 0] == pytest.approx(2.5 * 40 / 31.5, rel=1e-4)
    assert not picture[:, 32:].any()


def test_texture_is_the_same_from_near_and_far_up_to_averaging():
    """Reading at a coarse footprint gives the mean of fine readings over it: no shimmer."""
    atlas = texture.atlas(texture.patterns(np.random.default_rng(0)))
    g = np.linspace(-0.3, 0.3, 25, dtype=np.float32)
    u, v = (q.ravel() for q in np.meshgrid(g, g))
    style = np.full(1, texture.BRICK)
    for centre in ((3.0, 4.0), (-7.3, 11.1), (0.05, 0.02)):
        one = lambda x: np.array([x], np.float32)  # noqa: E731
        coarse = texture.sample(
            atlas, style, one(centre[0]), one(centre[1]), one(0.6), np.zeros((1, 2), np.float32)
        )
        fine = texture.sample(
            atlas, np.full(u.size, texture.BRICK), u + np.float32(centre[0]), v + np.float32(centre[1]),
            np.full(u.size, 0.01, np.float32), np.zeros((u.size, 2), np.float32),
        )  # fmt: skip
        assert coarse[0] == pytest.approx(fine.mean(), abs=0.35)
        assert fine.std() > 0.3


def test_texture_repeats_without_seams():
    tile = texture.patterns(np.random.default_rng(1))
    assert tile.shape == (texture.STYLES, texture.SIZE, texture.SIZE)
    np.testing.assert_allclose(tile.mean((1, 2)), 0, atol=0.1)
    atlas = texture.atlas(tile)
    level = np.zeros(2, np.int32)
    style = np.full(2, texture.STAINS)
    edge = texture._read(
        atlas, style, np.array([-1e-4, 1e-4], np.float32), np.array([0.3, 0.3], np.float32), level
    )
    assert abs(edge[0] - edge[1]) < 0.1


def test_a_frame_without_any_ground_has_no_ground_to_paint():
    """A lorry in front of a low camera hides all of it."""
    none = np.zeros(0, np.float32)
    assert texture.remap(np.zeros((4, 4, 3), np.float32), none, none).shape == (0, 3)
    assert texture.remap(np.zeros((4, 4), np.float32), none, none).shape == (0,)
