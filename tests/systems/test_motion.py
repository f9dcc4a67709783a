"""The motion that a system offers: rigid, from target to source, and blind to what it should not see."""

import jax
import numpy as np
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems

pytestmark = pytest.mark.usefixtures("quick")

SMALL = {
    "data.image_size": (32, 40), "model.backbone": "custom", "model.vit_dim": 16, "model.vit_depth": 4,
    "model.vit_heads": 2, "model.vit_patch": 8, "model.vit_pos_grid": 4, "model.dpt_channels": (4, 8, 8, 8),
    "model.dpt_features": 8, "model.pose_widths": (8, 8, 8), "model.pose_scale": 1.0,
}  # fmt: skip


def make(**said):
    config = configs.defaults("selfsup", systems.schema)
    for key, value in {**SMALL, **{k.replace("__", "."): v for k, v in said.items()}}.items():
        configs._set(config, key, value, where="test")
    return systems.make(config)


def batch(size=2):
    rng = np.random.default_rng(0)
    return {
        "thermal/image": rng.integers(2000, 6000, (size, 2, 32, 40, 1)).astype(np.uint16),
        "thermal/K": np.tile(np.eye(3, dtype=np.float32), (size, 1, 1)),
    }


@pytest.mark.parametrize("said", [{}, {"system__rotation": "euler"}, {"system__pose_alignment": 2}])
def test_it_is_a_rigid_motion_of_every_pair_by_itself(said):
    system = make(**said)
    variables = system.init(jax.random.key(0))
    motion = jax.jit(system.motion)
    found = np.asarray(motion(variables, batch()))
    assert found.shape == (2, 4, 4)
    turns = found[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (2, 1, 1)), atol=1e-5)
    np.testing.assert_array_equal(found[:, 3], [[0, 0, 0, 1]] * 2)
    assert np.abs(found[0] - found[1]).max() > 1e-6
    alone = np.asarray(motion(variables, {k: v[:1] for k, v in batch().items()}))
    np.testing.assert_allclose(alone[0], found[0], atol=1e-5)


def test_pixels_that_are_not_usable_do_not_set_the_range():
    system = make(system__normalization="snippet")
    variables = system.init(jax.random.key(0))
    usable = np.ones((2, 32, 40, 1), bool)
    usable[:, 28:] = False
    masked = np.asarray(system.motion(variables, batch() | {"thermal/valid": usable}))
    assert np.isfinite(masked).all()
    assert np.abs(masked - np.asarray(system.motion(variables, batch()))).max() > 0
