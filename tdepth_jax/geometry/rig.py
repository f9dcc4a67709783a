"""Two cameras of a rig that need not see the same pixels: each other's depth, through depth and the rig's pose."""

from __future__ import annotations

from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, Float

from tdepth_jax.geometry import camera, se3, splat, warp


class Seen(NamedTuple):
    """What one camera says of another's pixels.

    Attributes:
      pixels: where each pixel of the first camera, at its own depth, appears in the second camera's image.
      depth: the second camera's depth of that place, along the first camera's axis: equal to the first camera's own
        where both are right. The gradient flows into the second camera's depth, not through where it is read.
      visible: inside the second image, in front of it, and not hidden there behind something nearer.
    """

    pixels: Float[Array, "b h w 2"]
    depth: Float[Array, "b h w 1"]
    visible: Bool[Array, "b h w 1"]


def seen_by_other(
    depth: Float[Array, "b h w 1"],
    K: Float[Array, "b 3 3"],
    other_depth: Float[Array, "b u v 1"],
    other_K: Float[Array, "b 3 3"],
    other_from_camera: Float[Array, "b 4 4"],
) -> Seen:
    """Reads `other_depth` at the places that this camera's pixels take in the other image, and brings it back.

    Occlusion follows from this camera's depth alone: a point is hidden if, among all points of this camera, a surface
    clearly nearer to the other camera falls onto the same pixel of it.
    """
    depth = jax.lax.stop_gradient(depth)
    points = se3.transform(other_from_camera, camera.backproject(depth, K))
    pixels, there = camera.project(points, other_K)
    read, inside = warp.sample(other_depth, pixels)
    back = se3.transform(se3.inverse(other_from_camera), camera.backproject_at(pixels, read, other_K))
    _, h, w, _ = other_depth.shape
    nearest, covered = splat.splat_depth(depth, K, other_from_camera, other_K, size=(h, w))
    front, met = (warp.nearest(x, pixels) for x in (nearest, covered))
    hidden = met & (there > splat.SAME_SURFACE * front)
    return Seen(pixels, back[..., 2:3], inside & (there > camera.MIN_DEPTH) & ~hidden)
