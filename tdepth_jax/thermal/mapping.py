"""Temporal mapping: loss images with contrast everywhere, and one grey value for one temperature in a snippet.

Shin et al. (RA-L 2022, section III-B): counts are clipped to a range shared by the snippet, rearranged by a histogram
shared by the snippet, and given local contrast by CLAHE. Only the losses see the result; networks see the counts.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, UInt8

BINS = 30  # of the shared histogram
TILES = 8  # of CLAHE, along each axis
LEVELS = 256


def temporal_mapping(
    counts: Num[Array, "b t h w 1"],
    *,
    valid: Num[Array, "b #t h w 1"] | None = None,
    clip_limit: float = 2.0,
    as_published: bool = False,
) -> Float[Array, "b t h w 1"]:
    """Counts of snippets to loss images in [0, 1], in steps of 1/255.

    Args:
      valid: 1 where a pixel counts for range and histogram.
      clip_limit: CLAHE's; the public code uses 2 outdoors and 3 indoors. 0 leaves CLAHE out.
      as_published: the public code's rearrangement, which skips bins that a frame has no pixel in, so that frames of
        a snippet are not mapped alike.
    """
    x = counts.astype(jnp.float32)
    usable = jnp.ones_like(x, bool) if valid is None else jnp.broadcast_to(valid > 0, x.shape)
    unit = jax.vmap(_shared_range)(x, usable)
    mapped = jax.vmap(lambda x, ok: rearrange_by_histogram(x, ok, as_published=as_published))(unit, usable)
    grey = jnp.clip(mapped * (LEVELS - 1), 0, LEVELS - 1).astype(jnp.uint8)
    if clip_limit:
        b, t, h, w, _ = grey.shape
        grey = clahe(grey.reshape(b * t, h, w), clip_limit=clip_limit).reshape(grey.shape)
    return grey.astype(jnp.float32) / (LEVELS - 1)


def _shared_range(x: Float[Array, "t h w 1"], usable: Array) -> Float[Array, "t h w 1"]:
    """To [0, 1] from the mean of the frames' minima and of their maxima, clipped."""
    low = jnp.where(usable, x, jnp.inf).min(axis=(1, 2, 3))
    high = jnp.where(usable, x, -jnp.inf).max(axis=(1, 2, 3))
    low, high = (jnp.where(jnp.isfinite(v), v, 0.0).mean() for v in (low, high))
    return jnp.clip((x - low) / jnp.maximum(high - low, 1.0), 0.0, 1.0)  # a flat snippet is 0


def rearrange_by_histogram(
    unit: Float[Array, "t h w 1"], usable: Array, *, as_published: bool = False
) -> Float[Array, "t h w 1"]:
    """Histogram equalisation of [0, 1], linear within each of 30 bins, by the counts of all frames together."""
    which = jnp.clip((unit * BINS).astype(jnp.int32), 0, BINS - 1)
    per_frame = jax.vmap(lambda k, ok: jnp.zeros(BINS).at[k.ravel()].add(ok.ravel()))(
        which, usable.astype(jnp.float32)
    )
    share = per_frame.sum(0) / jnp.maximum(per_frame.sum(), 1.0)
    edges = jnp.linspace(0.0, 1.0, BINS + 1)
    if not as_published:
        heights = jnp.concatenate([jnp.zeros(1), jnp.cumsum(share)])
        return jnp.interp(unit, edges, heights)
    # Bins are (low, high] there; the running offset moves only at bins that this frame has a pixel in.
    which = jnp.clip(jnp.ceil(unit * BINS).astype(jnp.int32) - 1, -1, BINS - 1)
    has = jax.vmap(lambda k: jnp.zeros(BINS).at[jnp.maximum(k, 0).ravel()].max((k >= 0).ravel() * 1.0))(which)
    moved = share * has
    offset = jnp.cumsum(moved, axis=1) - moved
    inside = unit * BINS - which
    k = jnp.maximum(which, 0)
    start = jax.vmap(lambda table, k: table[k])(offset, k)
    return jnp.where(which < 0, 0.0, start + share[k] * inside)


def clahe(images: UInt8[Array, "n h w"], *, clip_limit: float, tiles: int = TILES) -> UInt8[Array, "n h w"]:
    """Contrast-limited adaptive histogram equalisation, as OpenCV's createCLAHE(clip_limit, (tiles, tiles)) does it."""
    _, h, w = images.shape
    padded = images
    if h % tiles or w % tiles:  # OpenCV pads both axes as soon as one does not divide
        padded = jnp.pad(images, ((0, 0), (0, tiles - h % tiles), (0, tiles - w % tiles)), mode="reflect")
    tall, wide = padded.shape[1] // tiles, padded.shape[2] // tiles
    tables = _tables(padded, tiles, tall, wide, clip_limit)
    (y0, y1, fy), (x0, x1, fx) = _neighbours(h, tall, tiles), _neighbours(w, wide, tiles)

    def look(rows: Array, columns: Array) -> Array:
        index = (rows[:, None] * tiles + columns[None]) * LEVELS + images.astype(jnp.int32)
        flat = tables.reshape(len(images), -1)
        return jnp.take_along_axis(flat, index.reshape(len(images), -1), axis=1).reshape(images.shape)

    fy, fx = fy[:, None], fx[None]
    top = look(y0, x0) * (1 - fx) + look(y0, x1) * fx
    bottom = look(y1, x0) * (1 - fx) + look(y1, x1) * fx
    return jnp.clip(jnp.round(top * (1 - fy) + bottom * fy), 0, LEVELS - 1).astype(jnp.uint8)


def _tables(
    padded: UInt8[Array, "n u v"], tiles: int, tall: int, wide: int, clip_limit: float
) -> Float[Array, "n tiles levels"]:
    """The grey value that each tile gives to each grey value."""
    n, area = len(padded), tall * wide
    pieces = padded.reshape(n, tiles, tall, tiles, wide).swapaxes(2, 3).reshape(n * tiles * tiles, area)
    histogram = jax.vmap(lambda p: jnp.zeros(LEVELS, jnp.int32).at[p].add(1))(pieces.astype(jnp.int32))
    limit = max(int(clip_limit * area / LEVELS), 1)
    excess = jnp.maximum(histogram - limit, 0).sum(axis=1, keepdims=True)
    histogram = jnp.minimum(histogram, limit) + excess // LEVELS
    left = excess % LEVELS  # goes to every (256 // left)-th level, from the first on
    stride = jnp.maximum(LEVELS // jnp.maximum(left, 1), 1)
    level = jnp.arange(LEVELS)[None]
    histogram = histogram + ((level % stride == 0) & (level // stride < left))
    scale = jnp.float32((LEVELS - 1) / area)
    table = jnp.round(jnp.cumsum(histogram, axis=1).astype(jnp.float32) * scale)
    return jnp.clip(table, 0, LEVELS - 1).reshape(n, tiles * tiles, LEVELS)


def _neighbours(
    length: int, tile: int, tiles: int
) -> tuple[Int[Array, " n"], Int[Array, " n"], Float[Array, " n"]]:
    """The two tiles whose centres a pixel lies between, and how far it is on the way to the second."""
    place = jnp.arange(length, dtype=jnp.float32) * jnp.float32(1 / tile) - 0.5
    first = jnp.floor(place)
    fraction = place - first
    first = first.astype(jnp.int32)
    return jnp.maximum(first, 0), jnp.minimum(first + 1, tiles - 1), fraction
