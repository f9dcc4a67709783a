"""The distance between motions, by hand."""

import jax.numpy as jnp
import pytest

from tdepth_jax.geometry import se3
from tdepth_jax.losses.motion import motion_distance


def test_translation_counts_in_units_of_depth_and_rotation_ten_times():
    still = jnp.tile(jnp.eye(4), (2, 1, 1))
    moved = se3.from_vector(jnp.asarray([[0.0, 0.0, 0.6, 0, 0, 0], [0, 0, 0, 0.0, 0.0, 0.01]]))
    total, count = motion_distance(moved, still, jnp.asarray(4.0))
    # 0.6 / 3 axes / 4 m; two of nine entries are sin(0.01), two are 1 - cos(0.01)
    assert float(total) == pytest.approx(0.05 + 10 * 2 * (0.01 + 5e-5) / 9, rel=1e-3)
    assert float(count) == 2
