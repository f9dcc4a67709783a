"""Points with properties, drawn."""

import jax.numpy as jnp
import numpy as np

from tdepth_jax.geometry import points

K = np.array([[10.0, 0, 4], [0, 10.0, 3], [0, 0, 1]], np.float32)


def drawn(xyz, values, valid=None, size=(6, 8)):
    xyz, values = np.asarray(xyz, np.float32)[None], np.asarray(values, np.float32)[None]
    valid = np.ones(xyz.shape[:2], bool) if valid is None else np.asarray(valid)[None]
    return np.asarray(points.rasterise(*map(jnp.asarray, (xyz, values, valid, K[None])), size))[0]


def test_a_point_is_drawn_where_it_projects():
    """u = 10 x/z + 4, v = 10 y/z + 3, rounded: (0.5, -0.4, 2) is at (6.5 -> 6, even; 1)."""
    got = drawn([(0.5, -0.4, 2.0), (-0.8, 0.4, 4.0)], [(7.0, 1.0), (8.0, 2.0)])
    want = np.zeros((6, 8, 2))
    want[1, 6], want[4, 2] = (7, 1), (8, 2)
    np.testing.assert_array_equal(got, want)


def test_the_nearest_point_of_a_pixel_is_seen_whatever_the_order():
    far, near = (0.0, 0.0, 9.0), (0.001, 0.0, 3.0)
    for order in ([far, near], [near, far]):
        got = drawn(order, [[p[2]] for p in order])
        assert got[3, 4, 0] == 3
        assert (got != 0).sum() == 1


def test_what_is_behind_outside_or_not_valid_is_left_out():
    some = [(0, 0, -2.0), (0, 0, 0.1), (50.0, 0, 2.0), (0, -50.0, 2.0), (0, 0, 5.0), (np.nan, 0, 5.0)]
    valid = [True, True, True, True, False, True]
    assert not drawn(some, np.ones((6, 3)), valid).any()


def test_without_points_the_picture_is_zero():
    assert drawn(np.zeros((4, 3)), np.ones((4, 2)), np.zeros(4, bool)).shape == (6, 8, 2)
    assert not drawn(np.zeros((4, 3)), np.ones((4, 2)), np.zeros(4, bool)).any()


def test_many_points_agree_with_a_loop():
    rng = np.random.default_rng(0)
    xyz = rng.uniform((-4, -3, -1), (4, 3, 12), (300, 3)).astype(np.float32)
    values = rng.normal(size=(300, 2)).astype(np.float32)
    want, depth = np.zeros((6, 8, 2), np.float32), np.full((6, 8), np.inf)
    for (x, y, z), value in zip(xyz, values, strict=True):
        if z <= points.NEAREST:
            continue
        u, v = (int(np.rint(np.float32(10) * (a / z) + c)) for a, c in ((x, 4), (y, 3)))
        if 0 <= u < 8 and 0 <= v < 6 and z < depth[v, u]:
            depth[v, u], want[v, u] = z, value
    np.testing.assert_array_equal(drawn(xyz, values), want)
