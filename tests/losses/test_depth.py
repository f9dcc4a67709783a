"""SILog against numbers worked by hand, and what it ignores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdepth_jax.losses.depth import silog


def value(depth, truth, mask, share):
    total, count = silog(*(jnp.asarray(x, jnp.float32).reshape(1, 1, -1, 1) for x in (depth, truth)),
                         jnp.asarray(mask, bool).reshape(1, 1, -1, 1), share=share)  # fmt: skip
    return float(total), float(count)


def test_by_hand():
    e = np.e
    # g = (1, 0, -): mean 1/2, mean square 1/2
    assert value([e, 1, 9], [1, 1, 0], [1, 1, 0], 0.0)[0] == pytest.approx(np.sqrt(0.5), rel=1e-4)
    assert value([e, 1, 9], [1, 1, 0], [1, 1, 0], 1.0)[0] == pytest.approx(0.5, rel=1e-4)


def test_a_common_factor_is_free_when_asked():
    assert value([2, 4, 6], [1, 2, 3], [1, 1, 1], 1.0)[0] < 1e-3
    assert value([2, 4, 6], [1, 2, 3], [1, 1, 1], 0.0)[0] == pytest.approx(np.log(2), rel=1e-4)


def test_an_image_without_labels_does_not_count_and_all_gradients_are_finite():
    assert value([2, 4, 6], [0, 0, 0], [0, 0, 0], 0.5) == (0.0, 0.0)
    truth = jnp.zeros((2, 4, 4, 1)).at[0, 0, 0].set(3.0)
    grad = jax.grad(lambda d: silog(d, truth, truth > 0, share=0.85)[0])(jnp.full((2, 4, 4, 1), 3.0))
    assert bool(jnp.isfinite(grad).all())
