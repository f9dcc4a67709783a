"""Distances between rigid motions."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

ROTATION_SHARE = 10.0  # a tenth of a radian counts as much as a translation by the whole depth


def motion_distance(
    motion: Float[Array, "n 4 4"], aim: Float[Array, "n 4 4"], depth: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum, count) of the mean absolute difference of translations, in units of `depth`, and of rotation matrices."""
    off = jnp.abs(motion - aim)
    translation, rotation = off[:, :3, 3].mean(axis=1) / depth, off[:, :3, :3].mean(axis=(1, 2))
    return (translation + ROTATION_SHARE * rotation).sum(), jnp.asarray(len(motion), jnp.float32)
