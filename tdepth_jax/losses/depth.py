"""Losses against measured depth, where there is any."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def silog(
    depth: Float[Array, "b h w 1"],
    truth: Float[Array, "b h w 1"],
    mask: Bool[Array, "b h w 1"],
    *,
    share: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum, count) over images of sqrt(mean(g²) - share · mean(g)²), g = ln depth - ln truth (Eigen et al. 2014).

    `share` 0 asks for the scale, 1 leaves it free; 0.5 is Depth Anything V2's, 0.85 that of AdaBins and its heirs.
    Images without a pixel in `mask` do not count.
    """
    g = jnp.where(mask, jnp.log(depth) - jnp.log(jnp.where(mask, truth, 1.0)), 0.0)
    count = mask.sum(axis=(1, 2, 3))
    pixels = jnp.maximum(count, 1)
    mean, square = g.sum(axis=(1, 2, 3)) / pixels, (g**2).sum(axis=(1, 2, 3)) / pixels
    error = jnp.sqrt(jnp.maximum(square - share * mean**2, 0.0) + 1e-8)  # the root has no slope at 0
    seen = (count > 0).astype(jnp.float32)
    return (error * seen).sum(), seen.sum()


def absolute(
    depth: Float[Array, "b h w 1"], truth: Float[Array, "b h w 1"], mask: Bool[Array, "b h w 1"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum, count) of |depth - truth| in metres over the pixels in `mask`."""
    return jnp.where(mask, jnp.abs(depth - truth), 0.0).sum(), mask.sum().astype(jnp.float32)
