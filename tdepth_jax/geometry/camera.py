"""The pinhole camera: pixels to points and back. Pixels have their centres at integer coordinates."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

MIN_DEPTH = 1e-3  # metres; a point nearer than this, or behind the camera, has no pixel


def pixel_grid(height: int, width: int) -> Float[Array, "h w 2"]:
    """The (x, y) coordinates of every pixel centre."""
    y, x = jnp.meshgrid(
        jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32), indexing="ij"
    )
    return jnp.stack([x, y], axis=-1)


def backproject(depth: Float[Array, "b h w 1"], K: Float[Array, "b 3 3"]) -> Float[Array, "b h w 3"]:
    """Points (metres, camera frame: x right, y down, z forward) seen at z-depth `depth` (metres)."""
    _, h, w, _ = depth.shape
    return backproject_at(pixel_grid(h, w)[None], depth, K)


def backproject_at(
    pixels: Float[Array, "b h w 2"], depth: Float[Array, "b h w 1"], K: Float[Array, "b 3 3"]
) -> Float[Array, "b h w 3"]:
    """Points (metres, camera frame) at z-depth `depth` seen at the given (x, y) `pixels`."""
    # K has five free numbers, so its inverse is written out: exact, and no batched solve on the device.
    fx, s, cx = (K[:, 0, i, None, None] for i in range(3))
    fy, cy = (K[:, 1, i, None, None] for i in (1, 2))
    x, y = jnp.moveaxis(pixels, -1, 0)
    ray_y = (y - cy) / fy
    ray_x = (x - cx - s * ray_y) / fx
    return jnp.stack([ray_x, ray_y, jnp.ones_like(ray_x)], axis=-1) * depth


def project(
    points: Float[Array, "b h w 3"], K: Float[Array, "b 3 3"]
) -> tuple[Float[Array, "b h w 2"], Float[Array, "b h w 1"]]:
    """Pixels where points appear, and their z-depth in metres, which is not clamped.

    Points at z < 1e-3 m are divided by 1e-3 instead: their pixels mean nothing, and their depth tells.
    """
    z = points[..., 2:3]
    x, y = jnp.moveaxis(points[..., :2] / jnp.maximum(z, MIN_DEPTH), -1, 0)
    fx, s, cx = (K[:, 0, i, None, None] for i in range(3))
    fy, cy = (K[:, 1, i, None, None] for i in (1, 2))
    return jnp.stack([fx * x + s * y + cx, fy * y + cy], axis=-1), z
