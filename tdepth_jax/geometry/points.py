"""Points with properties, as a sparse picture."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

NEAREST = 0.5  # metres; what is nearer, or behind, is not drawn


def rasterise(
    points: Float[Array, "b n 3"],
    values: Float[Array, "b n c"],
    valid: Bool[Array, "b n"],
    K: Float[Array, "b 3 3"],
    size: tuple[int, int],
) -> Float[Array, "b h w c"]:
    """`values` at the pixels (centres at integers) that `points` in the camera's axes (metres) project to; 0 elsewhere.

    Of several points of one pixel the nearest along z is drawn. Points outside the image, nearer than `NEAREST` or not
    `valid` are left out; with none left the picture is zero.
    """
    return jax.vmap(partial(_one, size=size))(points, values, valid, K)


def _one(points: Array, values: Array, valid: Array, K: Array, size: tuple[int, int]) -> Array:
    h, w = size
    n = len(points)
    z = points[:, 2]
    seen = valid & (z > NEAREST) & jnp.isfinite(points).all(axis=-1)
    u, v, _ = K @ jnp.where(seen[:, None], points / jnp.where(seen, z, 1.0)[:, None], 0.0).T
    column, row = jnp.round(u), jnp.round(v)
    seen &= (column >= 0) & (column < w) & (row >= 0) & (row < h)
    pixel = jnp.where(seen, row * w + column, h * w).astype(
        jnp.int32
    )  # one more pixel takes what is not drawn
    # Scattered values of one pixel have no order; the least rank has: the nearest point's, exactly.
    order = jnp.argsort(jnp.where(seen, z, jnp.inf))
    nearest = jnp.full(h * w + 1, n, jnp.int32).at[pixel[order]].min(jnp.arange(n, dtype=jnp.int32))
    ranked = jnp.concatenate([values[order], jnp.zeros((1, values.shape[1]), values.dtype)])
    return ranked[nearest[: h * w]].reshape(h, w, -1)
