"""Intrinsics that are learnt, where a camera's are not known (Gordon et al. 2019, "Depth from videos in the wild").

The records then hold a guess K, from a field of view, and cropping and resizing have turned it into A K. What is
learnt is a matrix S on its right: the camera's true matrix is taken to be K S, so that A K S is that of the crop.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

KINDS = ("given", "focal", "all")


def start(kind: str, focal: float) -> dict[str, Array]:
    """The parameters of S: "focal" = one factor of both focal lengths, "all" = one for each, and the centre.

    `focal` is the factor to start from, 1 = the guess.
    """
    log = jnp.full((1 if kind == "focal" else 2,), jnp.log(focal), jnp.float32)
    return {"log_focal": log} | ({"centre": jnp.zeros(2)} if kind == "all" else {})


def learnt(K: Float[Array, "b 3 3"], params: Mapping[str, Array]) -> Float[Array, "b 3 3"]:
    """K S; the centre is moved by a share of the focal length (the tangent of an angle)."""
    S = jnp.diag(jnp.append(jnp.broadcast_to(jnp.exp(params["log_focal"]), 2), 1.0))
    if "centre" in params:
        S = S.at[:2, 2].set(params["centre"])
    return K @ S


def focal_tolerance(
    K: Float[np.ndarray, "3 3"], size: tuple[int, int], rotations: Float[np.ndarray, "n 3 3"]
) -> tuple[float, float]:
    """How well (fx, fy) can be known from a video, in pixels: 2 fx^2 / (w^2 r_y) and 2 fy^2 / (h^2 r_x).

    Gordon et al., section 4: an error of the focal length moves pixels at the border by less than one where the
    camera turns by r (radians) between frames, and a camera that never turns does not show its focal length at all
    (infinity). r is that of the most turning hundredth of the `rotations`, of which single ones may be wrong.
    """
    h, w = size
    axes = np.stack([rotations[:, 2, 1] - rotations[:, 1, 2], rotations[:, 0, 2] - rotations[:, 2, 0]]) / 2
    turn = np.quantile(np.abs(np.arcsin(np.clip(axes, -1, 1))), 0.99, axis=1)
    with np.errstate(divide="ignore"):
        fx = 2 * K[0, 0] ** 2 / (w**2 * turn[1])
        fy = 2 * K[1, 1] ** 2 / (h**2 * turn[0])
    return float(fx), float(fy)
