"""Sensor counts to the numbers a network and a loss see. Pure functions, usable under jit."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from tdepth_jax.errors import UserError

METHODS = ("full_scale", "eight_bit", "frame", "snippet", "fixed")
FULL_SCALE = 2.0**14  # counts of a 14-bit sensor
EIGHT_BIT = 255.0  # of contrast-stretched images
MEAN, STD = 0.45, 0.225  # of the self-supervised lineage, one channel
LOW, HIGH = 1.0, 99.0  # percentiles that map to 0 and 1 (Shin et al., MS2 benchmark)


def normalize(
    counts: Num[Array, "b t h w 1"],
    *,
    method: str,
    valid: Num[Array, "b #t h w 1"] | None = None,
    limits: tuple[Array, Array] | None = None,
) -> Float[Array, "b t h w 1"]:
    """Counts to [0, 1], clipped.

    Args:
      method: "full_scale" divides by 2**14 (no clipping at the top of a 16-bit sensor), "eight_bit" by 255; "frame"
        maps each frame's 1st and 99th percentile to 0 and 1; "snippet" does so with percentiles shared over t, so that
        one temperature is one grey value in all frames that are compared; "fixed" uses `limits`.
      valid: 1 where a pixel counts for the percentiles; a bonnet or a vignette should not set the range.
      limits: (low, high) counts for "fixed".
    """
    x = counts.astype(jnp.float32)
    if method == "full_scale":
        return jnp.clip(x / FULL_SCALE, 0.0, 1.0)
    if method == "eight_bit":
        return jnp.clip(x / EIGHT_BIT, 0.0, 1.0)
    if method == "fixed":
        if limits is None:
            raise UserError("normalisation 'fixed' needs its limits (low, high) in counts")
        low, high = limits
    elif method in ("frame", "snippet"):
        low, high = percentile_limits(x, shared=method == "snippet", valid=valid)
    else:
        raise UserError(f"there is no normalisation {method!r}; choose one of {', '.join(METHODS)}")
    # A flat image has no range: it becomes 0 everywhere instead of 0/0.
    return jnp.clip((x - low) / jnp.maximum(high - low, 1.0), 0.0, 1.0)


def percentile_limits(
    x: Float[Array, "b t h w 1"], *, shared: bool, valid: Num[Array, "b #t h w 1"] | None = None
) -> tuple[Float[Array, "b #t 1 1 1"], Float[Array, "b #t 1 1 1"]]:
    """The counts at the 1st and 99th percentile of each frame, or of all frames of each snippet."""
    axes = (1, 2, 3, 4) if shared else (2, 3, 4)
    if valid is not None:
        x = jnp.where(jnp.broadcast_to(valid, x.shape) > 0, x, jnp.nan)
    percentile = jnp.percentile if valid is None else jnp.nanpercentile
    low, high = percentile(x, jnp.array([LOW, HIGH]), axis=axes, keepdims=True)
    return jnp.nan_to_num(low), jnp.nan_to_num(high)


def standardize(unit: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(x - 0.45) / 0.225: what the networks take, and by default what the losses compare."""
    return (unit - MEAN) / STD
