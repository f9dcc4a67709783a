"""Losses that know how far a depth can be trusted (MonoTher-Depth, Zuo et al., RA-L 2025).

All return (sum, count); a mask may be empty, and then both are 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Scalar = Float[Array, ""]


def between(
    values: Float[Array, "b h w 1"], mask: Bool[Array, "b h w 1"], *, low: float = 0.0, high: float = 1.0
) -> Bool[Array, "b h w 1"]:
    """`mask` without what lies below the `low` and above the `high` share of its values, image by image.

    As published for the top 20 % of errors, but that the share is of the pixels in `mask`; the public code counts those
    without a value, too, and looks at a hundredth of them.
    """
    known = jnp.where(mask, values, jnp.nan).reshape(len(values), -1)
    least, most = jnp.nanquantile(known, jnp.array([low, high]), axis=1)[:, :, None, None, None]
    # In an image without a pixel both are NaN, and nothing is between them.
    return jax.lax.stop_gradient(mask & (values >= least) & (values <= most))


def confident_distance(
    depth: Float[Array, "b h w 1"],
    teacher: Float[Array, "b h w 1"],
    confidence: Float[Array, "b h w 1"],
    mask: Bool[Array, "b h w 1"],
) -> tuple[Scalar, Scalar]:
    """c |depth - teacher| over `mask`, of depths in metres or of their logarithms; confidence and teacher pass no
    gradient."""
    confidence, teacher = jax.lax.stop_gradient((confidence, teacher))
    distance = confidence * jnp.abs(jnp.where(mask, depth - teacher, 0.0))
    return jnp.where(mask, distance, 0.0).sum(), mask.sum(dtype=jnp.float32)


def confidence_likelihood(
    error: Float[Array, "b h w 1"],
    confidence: Float[Array, "b h w 1"],
    mask: Bool[Array, "b h w 1"],
    *,
    log_weight: float = 0.002,
) -> tuple[Scalar, Scalar]:
    """c |error| - log_weight · ln c over `mask`: least where c = log_weight / |error|, up to c's end at 1.

    The likelihood of a Laplace distribution whose scale is proportional to 1/c. The error passes no gradient.
    """
    error = jax.lax.stop_gradient(jnp.abs(jnp.where(mask, error, 0.0)))
    known = jnp.where(mask, confidence, 1.0)
    loss = known * error - log_weight * jnp.log(jnp.maximum(known, 1e-7))
    return jnp.where(mask, loss, 0.0).sum(), mask.sum(dtype=jnp.float32)


def spread_likelihood(
    log_error: Float[Array, "b h w 1"],
    spread: Float[Array, "b h w 1"],
    weight: Float[Array, "b h w 1"],
) -> tuple[Scalar, Scalar]:
    """|ln d - ln d*| / b + ln b, weighted: the likelihood of a Laplace distribution with the scale b.

    The error passes no gradient; pixels of weight 0 do not count.
    """
    used = weight > 0
    error = jax.lax.stop_gradient(jnp.abs(jnp.where(used, log_error, 0.0)))
    loss = weight * (error / spread + jnp.log(spread))
    return jnp.where(used, loss, 0.0).sum(), weight.sum()


def guided_smoothness(
    value: Float[Array, "b h w 1"], guide: Float[Array, "b h w c"], *, kept: float = 0.8
) -> tuple[Scalar, Scalar]:
    """|d value| exp(-|d guide|) along both axes, without the share 1 - `kept` of pixels where the guide changes most.

    The value as it is, not divided by its mean. Of each axis its mean over all images, the two summed.
    """

    def along(axis: int) -> Array:
        edge = jnp.abs(jnp.diff(guide, axis=axis)).mean(axis=-1, keepdims=True)
        flat = between(edge, jnp.ones_like(edge, bool), high=kept)
        slope = jnp.abs(jnp.diff(value, axis=axis)) * jnp.exp(-edge)
        return jnp.where(flat, slope, 0.0).sum() / jnp.maximum(flat.sum(), 1)

    count = jnp.asarray(value.size, jnp.float32)
    return (along(1) + along(2)) * count, count
