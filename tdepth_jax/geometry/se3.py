"""Rigid motions as 4x4 matrices named `a_from_b`: x_a = a_from_b @ x_b."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def from_vector(vector: Float[Array, "b 6"], *, rotation: str = "euler") -> Float[Array, "b 4 4"]:
    """(tx, ty, tz, rx, ry, rz), in metres and radians, to a motion; the zero vector is the identity.

    `rotation` is "euler", R = Rx Ry Rz as in SC-SfMLearner, or "axis_angle", Rodrigues' formula as in Monodepth2.
    """
    translation, angles = vector[:, :3], vector[:, 3:]
    R = {"euler": _euler, "axis_angle": _rodrigues}[rotation](angles)
    top = jnp.concatenate([R, translation[:, :, None]], axis=2)
    bottom = jnp.broadcast_to(jnp.asarray([[[0.0, 0.0, 0.0, 1.0]]], vector.dtype), (len(vector), 1, 4))
    return jnp.concatenate([top, bottom], axis=1)


def inverse(a_from_b: Float[Array, "b 4 4"]) -> Float[Array, "b 4 4"]:
    """b_from_a, through the transpose of the rotation."""
    Rt = jnp.swapaxes(a_from_b[:, :3, :3], 1, 2)
    t = -jnp.einsum("bij,bj->bi", Rt, a_from_b[:, :3, 3])
    return jnp.concatenate([jnp.concatenate([Rt, t[:, :, None]], axis=2), a_from_b[:, 3:]], axis=1)


def transform(a_from_b: Float[Array, "b 4 4"], points: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Points of frame b in frame a."""
    # Three multiply-adds per coordinate fuse with the projection; a batched 3x3 matmul would not.
    R, t = a_from_b[:, None, None, :3, :3], a_from_b[:, None, None, :3, 3]
    return R[..., 0] * points[..., 0:1] + R[..., 1] * points[..., 1:2] + R[..., 2] * points[..., 2:3] + t


def _euler(angles: Float[Array, "b 3"]) -> Float[Array, "b 3 3"]:
    cx, cy, cz = jnp.cos(angles).T
    sx, sy, sz = jnp.sin(angles).T
    rows = [
        [cy * cz, -cy * sz, sy],
        [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
        [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _rodrigues(axis_angle: Float[Array, "b 3"]) -> Float[Array, "b 3 3"]:
    square = jnp.sum(axis_angle**2, axis=-1)
    small = square < 1e-8
    safe = jnp.where(small, 1.0, square)  # keeps the branch not taken free of 0/0, also in the gradient
    angle = jnp.sqrt(safe)
    a = jnp.where(small, 1.0 - square / 6.0, jnp.sin(angle) / angle)
    b = jnp.where(small, 0.5 - square / 24.0, (1.0 - jnp.cos(angle)) / safe)
    x, y, z = axis_angle.T
    zero = jnp.zeros_like(x)
    skew = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    return jnp.eye(3) + a[:, None, None] * skew + b[:, None, None] * (skew @ skew)
