"""The supervised system learns what it is told."""

import jax
import numpy as np
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.training import state, step

pytestmark = pytest.mark.usefixtures("unoptimised")

SMALL = {
    "data.image_size": (32, 40), "model.backbone": "custom", "model.vit_dim": 16, "model.vit_depth": 4,
    "model.vit_heads": 2, "model.vit_patch": 8, "model.vit_pos_grid": 5, "model.dpt_channels": (4, 8, 8, 8),
    "model.dpt_features": 8, "optimizer.learning_rate": 3e-3, "system.scale_share": 0.0,
}  # fmt: skip


def test_a_ramp_is_learnt_in_metres():
    config = configs.defaults("supervised", systems.schema)
    for key, value in SMALL.items():
        configs._set(config, key, value, where="test")
    system = systems.make(config)
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(30, 3, 32, dtype="f")[None, :, None, None], (4, 32, 40, 1))
    batch = {
        "thermal/image": rng.integers(2800, 3400, (4, 1, 32, 40, 1)).astype(np.uint16),
        "thermal/depth": np.where(rng.random(ramp.shape) < 0.5, ramp, 0).astype("f"),  # half has no label
    }
    trainable, frozen, mutable = state.divide(system, system.init(jax.random.key(0)))
    now = state.create(system, trainable, mutable, ema=False)
    advance = jax.jit(step.make_step(system, seed=0))
    for _ in range(60):
        now, logs = advance(now, frozen, batch)
    assert float(logs["silog"]) < 0.2
    depth = system.predict(state.variables(now, frozen), {"thermal/image": batch["thermal/image"][:, 0]})[
        "depth"
    ]
    assert np.median(np.abs(depth - ramp) / ramp) < 0.2
