"""The networks that say how far a depth can be trusted."""

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import pytest

from tdepth_jax.models import confidence

pytestmark = pytest.mark.usefixtures("quick")

SMALL = (4, 8, 8, 8, 8)


def test_the_published_size():
    """As PyTorch counts the parameters of the public code's network of eight cues."""
    shapes = jax.eval_shape(confidence.ConfidenceNet().init, jax.random.key(0), jnp.zeros((1, 32, 48, 8)))
    assert sum(np.prod(x.shape) for x in jax.tree.leaves(shapes["params"])) == 13_398_209


def test_any_size_and_a_share_between_0_and_1():
    net = confidence.ConfidenceNet(SMALL)
    cues = jnp.asarray(np.random.RandomState(0).normal(size=(2, 21, 37, 8)), jnp.float32)
    variables = net.init(jax.random.key(0), cues)
    (found, changed) = golden.compiled(lambda v, x: net.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, cues
    )
    assert found.shape == (2, 21, 37, 1)
    assert 0 < float(found.min()) <= float(found.max()) < 1
    old, new = jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(changed["batch_stats"])
    assert any(np.abs(a - b).max() > 0 for a, b in zip(old, new, strict=True))


def test_the_gradient_is_limited_and_a_nan_in_it_is_nothing():
    x = jnp.zeros(4)
    _, back = jax.vjp(lambda x: confidence.limit_gradient(x, 0.01), x)
    (found,) = back(jnp.array([1.0, -0.005, jnp.nan, -jnp.inf]))
    np.testing.assert_allclose(found, [0.01, -0.005, 0.0, -0.01])


def test_the_spread_watches_and_does_not_touch():
    head = confidence.SpreadHead(8, start=0.2)
    features = jnp.asarray(np.random.RandomState(1).normal(size=(1, 6, 7, 5)), jnp.float32)
    params = head.init(jax.random.key(0), features)
    np.testing.assert_allclose(head.apply(params, features), 0.2, rtol=1e-6)
    params = jax.tree.map(lambda x: x + 3.0, params)
    assert float(head.apply(params, features).min()) >= 0.002
    assert float(head.apply(params, features).max()) <= 2.0 + 1e-5
    assert not jax.grad(lambda f: head.apply(params, f).sum())(features).any()
