"""Direct image alignment: the motion between two frames of which one's depth is known.

Gauss-Newton on the photometric error, in the inverse compositional form (Baker and Matthews 2004): the Jacobian
belongs to the target and is computed once. Wang et al. (2018, "Learning depth from monocular videos using direct
methods") put it after a pose network in self-supervised training, and so do we.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from tdepth_jax.geometry import camera, se3, warp

HUBER = 0.1  # of the images' range: a larger difference is an occlusion or something that moves
# How hard the start holds on, per squared change of the motion (translations in units of the harmonic mean depth),
# against squared grey levels per pixel. Without it a depth still flat turns "forwards" into "pitch".
HOLD_TRANSLATION, HOLD_ROTATION, HOLD_BRIGHTNESS = 1e-3, 1e-2, 1e-4
DAMPING = 1e-3  # Levenberg-Marquardt, relative to the diagonal
LEAST_PIXELS = 50.0


def align(
    target: Float[Array, "b h w 1"],
    source: Float[Array, "b h w 1"],
    depth: Float[Array, "b h w 1"],
    source_from_target: Float[Array, "b 4 4"],
    K: Float[Array, "b 3 3"],
    valid: Float[Array, "b h w 1"] | None = None,
    *,
    steps: int = 3,
) -> Float[Array, "b 4 4"]:
    """`source_from_target` moved towards the motion at which `source` looks like `target`.

    Args:
      target, source: images in about [0, 1]; they may differ by a constant.
      depth: of the target, metres or any unit that the motion shares.
      valid: 1 where the target may be used.
      steps: of Gauss-Newton. Each needs the motion to be within about a pixel or two of the truth.
    """
    scale = 1.0 / jnp.mean(1.0 / depth, axis=(1, 2, 3))
    jacobian = _jacobian(target, depth, K, scale)
    hold = jnp.asarray([HOLD_TRANSLATION] * 3 + [HOLD_ROTATION] * 3 + [HOLD_BRIGHTNESS])
    moved = jnp.zeros((len(target), 7))
    motion = source_from_target
    for _ in range(steps):
        pixels, z = warp.reproject(depth, motion, K)
        seen, inside = warp.sample(source, pixels)
        usable = inside & (z > camera.MIN_DEPTH)
        weight = usable if valid is None else usable * valid
        residual = (seen - target)[..., 0]
        weight = weight[..., 0] * HUBER / jnp.maximum(jnp.abs(residual), HUBER)
        pixels_used = jnp.maximum(weight.sum(axis=(1, 2)), LEAST_PIXELS)[:, None]
        H = jnp.einsum("bhwi,bhwj,bhw->bij", jacobian, jacobian, weight) / pixels_used[..., None]
        g = jnp.einsum("bhwi,bhw->bi", jacobian, weight * residual) / pixels_used - hold * moved
        H = H + jnp.diag(hold) + DAMPING * H * jnp.eye(7)
        change = jnp.linalg.solve(H, g[..., None])[..., 0]
        change = change.at[:, 6].set(0.0)  # the brightness is found anew each time
        moved = moved + change
        metric = jnp.concatenate([change[:, :3] * scale[:, None], change[:, 3:6]], axis=1)
        motion = motion @ se3.inverse(se3.from_vector(metric, rotation="axis_angle"))
    return motion


def _jacobian(target: Array, depth: Array, K: Array, scale: Array) -> Float[Array, "b h w 7"]:
    """Of the target's grey value by a motion of the points it sees: translation / scale, rotation; and brightness."""
    padded = jnp.pad(target[..., 0], ((0, 0), (1, 1), (1, 1)), mode="edge")
    dx = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2 * K[:, 0, 0, None, None]
    dy = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2 * K[:, 1, 1, None, None]
    points = camera.backproject(depth, K)
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    near = scale[:, None, None] / depth[..., 0]
    turn = dx * x + dy * y
    columns = [
        dx * near, dy * near, -turn * near,
        -(y * turn + dy), x * turn + dx, dy * x - dx * y,
        jnp.ones_like(x),
    ]  # fmt: skip
    return jnp.stack(columns, axis=-1)
