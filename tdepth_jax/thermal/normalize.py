"""Sensor counts to the numbers a network and a loss see. Pure functions, usable under jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

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
    b, t = x.shape[:2]
    rows = 1 if shared else t
    known = None if valid is None else (jnp.broadcast_to(valid, x.shape) > 0).reshape(b * rows, -1)
    limits = percentiles(x.reshape(b * rows, -1), (LOW, HIGH), known)
    low, high = limits.reshape(2, b, rows, 1, 1, 1)
    return low, high


def percentiles(
    x: Float[Array, "r n"], wanted: tuple[float, ...], known: Bool[Array, "r n"] | None = None
) -> Float[Array, "q r"]:
    """NumPy's percentiles (between 0 and 100) of the `known` values of each row, exactly; 0 of a row without any.

    The order statistics are found by halving the range of float32's bit patterns 32 times and counting what lies below,
    which takes a tenth of a sort's time on a CPU.
    """
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
    key = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the numbers
    most = jnp.iinfo(jnp.int32).max
    key = key if known is None else jnp.where(known, key, most)
    count = jnp.full(len(x), x.shape[1]) if known is None else known.sum(axis=1)
    rank = jnp.array(wanted, jnp.float32)[:, None] / 100 * jnp.maximum(count - 1, 0)
    below = jnp.floor(rank).astype(jnp.int32)  # how many values are before the one that is sought

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, rounded down, without overflow
        enough = (key <= middle[..., None]).sum(axis=-1) > below
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    ends = jnp.full(rank.shape, -most - 1), jnp.full(rank.shape, most)
    first, _ = jax.lax.fori_loop(0, 32, halve, ends)
    above = key > first[..., None]
    again = (~above).sum(axis=-1) > below + 1  # the next value is the same
    second = jnp.where(again, first, jnp.where(above, key, most).min(axis=-1))
    second = jnp.where(below + 1 < count, second, first)  # of the last there is no next
    value, following = (
        jax.lax.bitcast_convert_type(found ^ ((found >> 31) & 0x7FFFFFFF), jnp.float32)
        for found in (first, second)
    )
    share = rank - below
    return jnp.where(count > 0, value * (1 - share) + following * share, 0.0)


def standardize(unit: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(x - 0.45) / 0.225: what the networks take, and by default what the losses compare."""
    return (unit - MEAN) / STD
