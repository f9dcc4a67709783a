"""How well RGB edges, carried into the thermal image by a rig's calibration, lie on edges there; and its slope.

The calibration is written as a small change of a given one: thermal_from_rgb = exp(change) base, K = K S. What may
change are `directions` in the space of `AXES`, scaled so that a step of 1 along any of them moves edges by about a
pixel of the finest level.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tdepth_jax.geometry import camera, se3

# Shift (metres) and turn (radians, axis-angle) in the thermal camera's axes: x right, y down, z forward; logarithms of
# the factors of fx, fy; shift of the principal point as a share of the focal length.
AXES = ("tx", "ty", "tz", "rx", "ry", "rz", "log fx", "log fy", "cx", "cy")
INTRINSICS = ("given", "focal", "all")


class Level(NamedTuple):
    """Pairs at one resolution: n edge points of the RGB image and the field of the thermal image, for p pairs.

    Attributes:
      rays: x/z and y/z of each point in the RGB camera.
      inverse_depth: 1 / metres, 0 at infinity.
      tensor, weight: of the edge (`edges.EdgePoints`).
      field: of the thermal image (`edges.field`).
      K: of that image.
    """

    rays: Float[Array, "p n 2"]
    inverse_depth: Float[Array, "p n"]
    tensor: Float[Array, "p n 3"]
    weight: Float[Array, "p n"]
    field: Float[Array, "p h w 3"]
    K: Float[Array, "3 3"]


@dataclasses.dataclass(frozen=True)
class Freedom:
    """What may change: `directions` (k of them, in the space of AXES), and how far along each (`bounds`)."""

    names: tuple[str, ...]
    directions: Float[np.ndarray, "k 10"]
    bounds: Float[np.ndarray, " k"]


def freedom(
    K: Float[np.ndarray, "3 3"],
    size: tuple[int, int],
    inverse_depth: float,
    *,
    shift: float,
    turn: float,
    intrinsics: str = "given",
) -> Freedom:
    """Shift (only where depth tells: `inverse_depth` > 0), turn and, if asked for, the thermal camera's intrinsics.

    Args:
      K, size: of the thermal image at the finest level.
      inverse_depth: a typical one of the points, 1 / metres.
      shift, turn: bounds, metres and radians; `shift` 0 holds it.
      intrinsics: "given", "focal" (one factor) or "all" (fx, fy, cx, cy; within 10 % of the focal length).
    """
    focal, radius = float(K[0, 0]), np.hypot(*size) / 4
    unit = dict(zip(AXES, np.eye(len(AXES)), strict=True))
    rows: list[tuple[str, np.ndarray, float]] = []
    if shift > 0 and inverse_depth > 0:
        metres = 1 / (focal * inverse_depth)
        rows += [
            (name, unit[name] * metres * by, shift)
            for name, by in (("tx", 1), ("ty", 1), ("tz", focal / radius))
        ]
    rows += [(name, unit[name] / over, turn) for name, over in (("rx", focal), ("ry", focal), ("rz", radius))]
    if intrinsics == "focal":
        rows.append(("focal", (unit["log fx"] + unit["log fy"]) / radius, 0.1))
    elif intrinsics == "all":
        rows += [(name, unit[name] / radius, 0.1) for name in ("log fx", "log fy")]
        rows += [(name, unit[name] / focal, 0.1) for name in ("cx", "cy")]
    names, directions, bounds = zip(*rows, strict=True)
    along = np.stack(directions)
    return Freedom(names, along, np.array(bounds) / np.abs(along).max(axis=1))


def moved(
    x: Float[Array, " k"],
    directions: Float[Array, "k 10"],
    base: Float[Array, "4 4"],
    K: Float[Array, "3 3"],
) -> tuple[Float[Array, "4 4"], Float[Array, "3 3"]]:
    """(thermal_from_rgb, thermal K) after the change `x`."""
    change = x @ directions
    motion = se3.from_vector(change[None, :6], rotation="axis_angle")[0] @ base
    S = jnp.diag(jnp.append(jnp.exp(change[6:8]), 1.0)).at[:2, 2].set(change[8:])
    return motion, K @ S


def project(
    level: Level, motion: Float[Array, "4 4"], K: Float[Array, "3 3"]
) -> tuple[Float[Array, "p n"], Float[Array, "p n"], Float[Array, "p n"]]:
    """Thermal pixels x, y of the points, and their depth there as a multiple of that in the RGB camera."""
    ones = jnp.ones_like(level.inverse_depth)[..., None]
    homogeneous = jnp.concatenate([level.rays, ones, level.inverse_depth[..., None]], axis=-1)
    there = homogeneous @ motion[:3].T  # times 1 / depth: infinity needs no special case
    z = jnp.maximum(there[..., 2], camera.MIN_DEPTH)
    x, y = there[..., 0] / z, there[..., 1] / z
    return K[0, 0] * x + K[0, 1] * y + K[0, 2], K[1, 1] * y + K[1, 2], there[..., 2]


def per_pair(
    x: Float[Array, " k"], level: Level, base: Float[Array, "4 4"], directions: Float[Array, "k 10"]
) -> Float[Array, " p"]:
    """The agreement of each pair: mean inner product of tensors over its points inside the thermal image.

    It is bounded by each point's share: what moves, is hidden or is seen by one camera alone costs no more than its
    absence.
    """
    u, v, z = project(level, *moved(x, directions, base, level.K))
    _, h, w, _ = level.field.shape
    inside = (u >= 0) & (u <= w - 1) & (v >= 0) & (v <= h - 1) & (z > camera.MIN_DEPTH)
    weight = jnp.where(inside, level.weight, 0.0)
    u, v = jnp.clip(u, 0, w - 1), jnp.clip(v, 0, h - 1)
    left, top = jnp.clip(jnp.floor(u), 0, w - 2), jnp.clip(jnp.floor(v), 0, h - 2)
    fu, fv = u - left, v - top
    corner = (top * w + left).astype(jnp.int32)
    flat = level.field.reshape(len(level.field), h * w, 3)
    wanted = level.tensor * jnp.array([1.0, 2.0, 1.0])  # xy counts for yx too

    def at(step: int) -> Array:
        found = jnp.take_along_axis(flat, (corner + step)[..., None], axis=1, mode="clip")
        return (found * wanted).sum(-1)

    upper = at(0) * (1 - fu) + at(1) * fu
    lower = at(w) * (1 - fu) + at(w + 1) * fu
    agreement = upper * (1 - fv) + lower * fv
    return (weight * agreement).sum(-1) / jnp.maximum(weight.sum(-1), 1e-3 * level.weight.shape[1])


def agreement(
    x: Float[Array, " k"], level: Level, base: Float[Array, "4 4"], directions: Float[Array, "k 10"]
) -> Float[Array, ""]:
    """The mean over pairs: what is maximised."""
    return per_pair(x, level, base, directions).mean()


def curvature(
    x: Float[Array, " k"],
    level: Level,
    base: Float[Array, "4 4"],
    directions: Float[Array, "k 10"],
    step: float | Array,
) -> Float[Array, "k k"]:
    """The Hessian as differences of exact slopes `step` apart: bilinear sampling has no second derivative."""
    slope = jax.grad(agreement)
    rows = jax.lax.map(
        lambda e: (
            (slope(x + e, level, base, directions) - slope(x - e, level, base, directions)) / (2 * step)
        ),
        step * jnp.eye(len(x)),
    )
    return (rows + rows.T) / 2
