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


def test_rmsprop_is_pytorchs():
    """v <- 0.99 v + 0.01 g^2 from 0, then x -= rate g / (sqrt(v) + eps)."""
    tx = optimizers.make(Optimizer(name="rmsprop", learning_rate=0.1, b2=0.99), steps=10)
    x, v = np.float64(1.0), 0.0
    params = {"a/kernel": jnp.ones(1)}
    now = tx.init(params)
    for g in (0.5, -2.0, 0.25):
        changes, now = tx.update({"a/kernel": jnp.full(1, g)}, now, params)
        params = optax.apply_updates(params, changes)
        v = 0.99 * v + 0.01 * g**2
        x -= 0.1 * g / (np.sqrt(v) + 1e-8)
        assert float(params["a/kernel"][0]) == pytest.approx(x, abs=1e-6)


def test_who_is_not_at_turn_stands_still():
    """Every third step: what Adam does in them is what it does in as many steps of its own."""
    own = optimizers.make(Optimizer(learning_rate=0.1), steps=10)
    tx = optimizers.turned(own, lambda count: count % 3 == 1)
    params = mirror = {"kernel": jnp.ones(2)}
    now, alone = tx.init(params), own.init(mirror)
    for step in range(7):
        grads = {"kernel": jnp.array([0.5, -step - 1.0])}
        before = params["kernel"]
        changes, now = tx.update(grads, now, params)
        params = optax.apply_updates(params, changes)
        if step % 3 == 1:
            changes, alone = own.update(grads, alone, mirror)
            mirror = optax.apply_updates(mirror, changes)
            np.testing.assert_array_equal(params["kernel"], mirror["kernel"])
            assert (params["kernel"] != before).all()
        else:
            np.testing.assert_array_equal(params["kernel"], before)
