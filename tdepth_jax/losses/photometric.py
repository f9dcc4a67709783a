"""Losses of self-supervision from video: a warped neighbour should look like the target.

Maps are returned unreduced; `masked_sum` and the callers reduce them to (sum, count).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

C1, C2 = 0.01**2, 0.03**2  # SSIM's constants for values in [0, 1] (Wang et al. 2004)


def ssim_distance(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """(1 - SSIM) / 2 in [0, 1]: 3x3 mean windows, reflected border, no Bessel correction (Monodepth2)."""
    mean_a, mean_b = _mean3(a), _mean3(b)
    var_a = _mean3(a * a) - mean_a**2
    var_b = _mean3(b * b) - mean_b**2
    cov = _mean3(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + C1) * (2 * cov + C2)
    denominator = (mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2)
    return jnp.clip((1 - numerator / denominator) / 2, 0.0, 1.0)


def photometric_distance(
    a: Float[Array, "b h w c"], b: Float[Array, "b h w c"], *, alpha: float = 0.85
) -> Float[Array, "b h w 1"]:
    """(1 - alpha) |a - b| + alpha (1 - SSIM)/2, the mean over channels (Fan et al. eq. 1); |a - b| clipped to 1."""
    l1 = jnp.clip(jnp.abs(a - b), 0.0, 1.0)
    distance = (1 - alpha) * l1 + alpha * ssim_distance(a, b) if alpha else l1
    return distance.mean(axis=-1, keepdims=True)


def depth_inconsistency(
    computed: Float[Array, "b h w 1"], sampled: Float[Array, "b h w 1"]
) -> Float[Array, "b h w 1"]:
    """|a - b| / (a + b) in [0, 1]: a point's depth seen from the source, and the source's own (Bian et al. 2019)."""
    return jnp.clip(jnp.abs(computed - sampled) / jnp.maximum(computed + sampled, 1e-6), 0.0, 1.0)


def smoothness(
    value: Float[Array, "b h w 1"], image: Float[Array, "b h w c"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Edge-aware first-order smoothness as (sum, count): |d v*| exp(-|d I|), v* = v / mean(v), both axes.

    Fan et al. eq. 2 prints exp(+|d I|) on the raw depth; the whole lineage uses the negative exponent, on the
    mean-normalised value, and so do we.
    """
    value = value / (value.mean(axis=(1, 2), keepdims=True) + 1e-7)

    def along(axis: int) -> Array:
        edge = jnp.abs(jnp.diff(image, axis=axis)).mean(axis=-1, keepdims=True)
        return jnp.abs(jnp.diff(value, axis=axis)) * jnp.exp(-edge)

    mean = along(1).mean() + along(2).mean()
    count = jnp.asarray(value.size, jnp.float32)
    return mean * count, count


def masked_sum(
    value: Float[Array, "b h w 1"], mask: Bool[Array, "b h w 1"], *, least: float = 0.0
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum, count) of `value` where `mask`. With fewer than the fraction `least` of pixels left the sum is zero:
    a handful of lucky pixels must not steer a step (SC-SfMLearner's mean_on_mask: 10,000 of 327,680)."""
    count = mask.sum(dtype=jnp.float32)
    total = jnp.where(mask, value, 0.0).sum()
    return jnp.where(count > least * mask.size, total, 0.0), count


def _mean3(x: Array) -> Array:
    """3x3 box mean with a reflected border, separably: shifts and adds fuse, a window reduction does not."""
    x = jnp.concatenate([x[:, 1:2], x, x[:, -2:-1]], axis=1)
    x = (x[:, :-2] + x[:, 1:-1] + x[:, 2:]) / 3.0
    x = jnp.concatenate([x[:, :, 1:2], x, x[:, :, -2:-1]], axis=2)
    return (x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]) / 3.0
