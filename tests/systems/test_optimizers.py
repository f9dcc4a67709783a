"""Learning rates: by step, and by part of a network."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tdepth_jax.config import Optimizer
from tdepth_jax.systems import optimizers


def test_the_slow_part_is_slow():
    params = {"rgb/vit/kernel": jnp.ones(3), "rgb/head/kernel": jnp.ones(3), "bins/kernel": jnp.ones(3)}
    tx = optimizers.slowed(
        optimizers.make(Optimizer(learning_rate=0.1), steps=10), r"rgb/(vit|head)/.*", 0.02
    )
    changes, _ = tx.update(params, tx.init(params), params)
    after = optax.apply_updates(params, changes)
    # Adam's first step is the learning rate itself.
    np.testing.assert_allclose(after["bins/kernel"], 0.9, rtol=1e-5)
    for key in ("rgb/vit/kernel", "rgb/head/kernel"):
        np.testing.assert_allclose(after[key], 1 - 0.1 * 0.02, rtol=1e-5)


def test_one_cycle_as_monother_depth_has_it():
    """At its peak from the start, for 70 % of the steps; then down a cosine to 1/10000."""
    said = Optimizer(
        learning_rate=8.5e-5, schedule="onecycle", start_factor=1.0, peak_at=0.7, end_factor=1e-4
    )
    rate = optimizers.schedule(said, steps=1000)
    for step in (0, 350, 700):
        assert float(rate(step)) == pytest.approx(8.5e-5, rel=1e-5)
    assert float(rate(850)) == pytest.approx(8.5e-5 * (1 + 1e-4) / 2, rel=1e-3)
    assert float(rate(1000)) == pytest.approx(8.5e-9, rel=1e-3)


def test_one_cycle_by_default_is_pytorchs():
    """OneCycleLR(max_lr=1, pct_start=0.3, div_factor=25, final_div_factor=…): 1/25, up to 1, and down."""
    rate = optimizers.schedule(Optimizer(learning_rate=1.0, schedule="onecycle", end_factor=1e-3), steps=100)
    assert [round(float(rate(s)), 4) for s in (0, 15, 30, 65, 100)] == [0.04, 0.52, 1.0, 0.5005, 0.001]
