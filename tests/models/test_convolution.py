"""Convolutions as products: the values and gradients of XLA's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdepth_jax.models import convolution


def drawn(*shape):
    return jax.random.normal(jax.random.key(sum(shape)), shape)


def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def both(function, x, kernel):
    """A value, and the gradients of a sum that weighs every number of it differently."""
    weight = jnp.cos(jnp.arange(x[..., 0].size * kernel.shape[-1], dtype=jnp.float32))

    def loss(x, kernel):
        return (function(x, kernel).ravel() * weight).sum()

    return function(x, kernel), *jax.grad(loss, argnums=(0, 1))(x, kernel)


@pytest.mark.parametrize("channels", [(8, 2), (2, 8), (3, 3)])
def test_narrow_convolutions_are_convolutions(channels):
    x, kernel = drawn(2, 5, 7, channels[0]), drawn(3, 3, *channels)
    for ours, theirs in zip(both(convolution.narrow, x, kernel), both(plain, x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 1, 1, 7)])
def test_a_convolution_of_few_pixels(shape):
    """A product with every pixel's neighbours: of the convolution nothing is left."""
    x, kernel = drawn(*shape), drawn(3, 3, shape[-1], 12)

    def ours(x, kernel):
        return nn.Conv(12, (3, 3), padding=1, use_bias=False, conv_general_dilated=convolution.conv).apply(
            {"params": {"kernel": kernel}}, x
        )

    for a, b in zip(both(ours, x, kernel), both(plain, x, kernel), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    compiled = jax.jit(ours).lower(x, kernel).compile().as_text()
    assert "convolution(" not in compiled


# Bytes of a strip: one row, some rows that do not divide the height, more than the image.
@pytest.mark.parametrize("strip", [1, 4 * 4 * 9 * 2 * 6 * 3, 2**21])
def test_a_large_convolutions_gradients(strip, monkeypatch):
    monkeypatch.setattr(convolution, "STRIP", strip)
    x, kernel = drawn(2, 11, 6, 3), drawn(3, 3, 3, 4)
    for ours, theirs in zip(both(convolution._large, x, kernel), both(plain, x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_large_convolutions_gradients(monkeypatch):
    monkeypatch.setattr(convolution, "STRIP", 1)
    x, kernel = drawn(1, 5, 4, 2), drawn(3, 3, 2, 3)

    def slope(function, kernel):
        return (jax.grad(lambda k: (function(x, k) ** 3).sum())(kernel) ** 2).sum()

    ours, theirs = (jax.grad(lambda k, f=f: slope(f, k))(kernel) for f in (convolution._large, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_only_what_is_large_takes_the_other_way(monkeypatch):
    """By what a network's convolutions are, their gradient has a loop over strips or none."""

    def loops(layer, x):
        params = layer.init(jax.random.key(0), x)
        gradient = jax.grad(lambda p: layer.apply(p, x).sum())
        return "scan" in str(jax.make_jaxpr(gradient)(params))

    monkeypatch.setattr(convolution, "LARGE", 4 * 2 * 8 * 8 * 3)
    x = drawn(2, 8, 8, 3)
    conv = {"features": 2, "kernel_size": (3, 3), "padding": 1, "conv_general_dilated": convolution.conv}
    assert loops(nn.Conv(**conv), x)
    assert not loops(nn.Conv(**conv), x[:1])
    assert not loops(nn.Conv(**conv, strides=2), x)
    assert not loops(nn.Conv(**conv, kernel_dilation=2), x)
    assert not loops(nn.Conv(**{**conv, "kernel_size": (1, 1), "padding": 0}), x)
