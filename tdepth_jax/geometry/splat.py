"""Depth of one camera as another sees it: a forward warp with occlusion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tdepth_jax.geometry import camera, se3

SAME_SURFACE = 1.05  # points up to this much farther than the nearest one at a pixel are averaged with it
LEAST_WEIGHT = 0.25  # of bilinear weights that a pixel must have received to count as covered


def splat_depth(
    depth: Float[Array, "b h w 1"],
    K: Float[Array, "b 3 3"],
    other_from_camera: Float[Array, "b 4 4"],
    other_K: Float[Array, "b 3 3"],
    *,
    size: tuple[int, int],
    valid: Bool[Array, "b h w 1"] | None = None,
) -> tuple[Float[Array, "b u v 1"], Bool[Array, "b u v 1"]]:
    """(depth along the other camera's z axis, where anything landed): each pixel's point, dropped onto four pixels.

    Where several land, the nearest surface is seen and what is behind it is not. Depth is 1 where nothing landed.
    The gradient flows through the points' depths, not through where they land, which changes by whole pixels only.

    Args:
      depth: of the first camera, metres or any unit that the translation shares.
      size: (height, width) of the other camera's image, which `other_K` is for.
      valid: points that may be used; all of them by default.
    """
    pixels, z = camera.project(se3.transform(other_from_camera, camera.backproject(depth, K)), other_K)
    height, width = size
    x, y = jax.lax.stop_gradient(pixels[..., 0]), jax.lax.stop_gradient(pixels[..., 1])
    x0, y0 = jnp.floor(x), jnp.floor(y)
    usable = (z[..., 0] > camera.MIN_DEPTH) & jnp.isfinite(x) & jnp.isfinite(y)
    if valid is not None:
        usable &= valid[..., 0]
    indices, weights = [], []
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = x0 + dx, y0 + dy
        weight = (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row))
        hit = usable & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        indices.append(jnp.where(hit, row * width + column, height * width).astype(jnp.int32))
        weights.append(jnp.where(hit, weight, 0.0))
    index, weight = (jnp.stack(x, axis=1).reshape(len(depth), -1) for x in (indices, weights))
    far = jnp.tile(z[..., 0].reshape(len(depth), -1), (1, 4))
    seen, total = jax.vmap(lambda i, w, z: _nearest_surface(i, w, z, height * width))(index, weight, far)
    covered = total > LEAST_WEIGHT
    seen = jnp.where(covered, seen / jnp.where(covered, total, 1.0), 1.0)
    return seen.reshape(-1, height, width, 1), covered.reshape(-1, height, width, 1)


def _nearest_surface(index: Array, weight: Array, z: Array, count: int) -> tuple[Array, Array]:
    """(sum of weight * z, sum of weight) at each of `count` pixels, over the points of its nearest surface.

    A point that barely touches a pixel (a weight below 0.1) does not decide which surface is nearest there.
    """
    decides = jnp.where(weight > 0.1, jax.lax.stop_gradient(z), jnp.inf)
    nearest = jnp.full(count + 1, jnp.inf).at[index].min(decides)  # the last place takes what lands nowhere
    weight = jnp.where(jax.lax.stop_gradient(z) <= SAME_SURFACE * nearest[index], weight, 0.0)
    add = lambda values: jnp.zeros(count + 1).at[index].add(values)[:-1]  # noqa: E731
    return add(weight * z), add(weight)
