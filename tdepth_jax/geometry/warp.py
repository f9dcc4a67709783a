"""Bilinear sampling, and the warp of one view into another through depth and motion.

The identity motion is the identity warp: coordinates are pixels with centres at integers throughout (the
`align_corners=True` reading), unlike the public self-supervised code, which normalises by width - 1 and
samples with `align_corners=False`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from tdepth_jax.geometry import camera, se3

# Rounding of a projection may leave the border by this much (pixels) and still count as inside.
BORDER_TOLERANCE = 1e-3


def sample(
    image: Float[Array, "b h w c"], pixels: Float[Array, "b u v 2"], *, padding: str = "border"
) -> tuple[Float[Array, "b u v c"], Bool[Array, "b u v 1"]]:
    """Bilinear values of `image` at (x, y) `pixels`, and whether each lies inside the image.

    Outside, `padding="border"` repeats the nearest edge value and `padding="zeros"` gives zero.
    Differentiable in the image and in the coordinates (zero outside, where the value does not move).
    """
    b, h, w, c = image.shape
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (
        (x >= -BORDER_TOLERANCE)
        & (x <= w - 1 + BORDER_TOLERANCE)
        & (y >= -BORDER_TOLERANCE)
        & (y <= h - 1 + BORDER_TOLERANCE)
    )
    x, y = jnp.clip(x, 0, w - 1), jnp.clip(y, 0, h - 1)
    x0, y0 = jnp.clip(jnp.floor(x), 0, max(w - 2, 0)), jnp.clip(jnp.floor(y), 0, max(h - 2, 0))
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    column, row = x0.astype(jnp.int32), y0.astype(jnp.int32)
    right, below = min(1, w - 1), w * min(1, h - 1)  # steps in the flat image; none in a one-pixel axis
    flat = image.reshape(b, h * w, c)

    def at(step: int) -> Array:
        index = (row * w + column + step).reshape(b, -1, 1)
        # "clip", not "promise_in_bounds": a NaN coordinate must give a wrong value, not a wild read.
        return jnp.take_along_axis(flat, index, axis=1, mode="clip").reshape(*x.shape, c)

    top = at(0) * (1 - fx) + at(right) * fx
    bottom = at(below) * (1 - fx) + at(below + right) * fx
    value = top * (1 - fy) + bottom * fy
    if padding == "zeros":
        value = jnp.where(inside[..., None], value, 0.0)
    return value, inside[..., None]


def nearest(image: Shaped[Array, "b h w c"], pixels: Float[Array, "b u v 2"]) -> Shaped[Array, "b u v c"]:
    """Values of `image` at the pixels nearest to (x, y); outside the image, and at NaN, those of some edge pixel."""
    b, h, w, c = image.shape
    last = jnp.array([w - 1, h - 1], pixels.dtype)
    column, row = jnp.moveaxis(jnp.nan_to_num(jnp.clip(jnp.round(pixels), 0, last)).astype(jnp.int32), -1, 0)
    index = (row * w + column).reshape(b, -1, 1)
    values = jnp.take_along_axis(image.reshape(b, h * w, c), index, axis=1, mode="clip")
    return values.reshape(*pixels.shape[:3], c)


def reproject(
    depth: Float[Array, "b h w 1"], source_from_target: Float[Array, "b 4 4"], K: Float[Array, "b 3 3"]
) -> tuple[Float[Array, "b h w 2"], Float[Array, "b h w 1"]]:
    """Where each target pixel, at `depth` (metres), appears in the source view: pixels and z-depth there."""
    return camera.project(se3.transform(source_from_target, camera.backproject(depth, K)), K)
