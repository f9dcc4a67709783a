"""From pairs of pictures to what the objective reads, from coarse to fine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from tdepth_jax.calibration import edges
from tdepth_jax.calibration.objective import Level
from tdepth_jax.data.transforms import resize_intrinsics

WIDTH = 320  # pixels; thermal images that are wider are halved until they are not
COARSEST = 40  # pixels; the coarsest level is not narrower
POINTS = 1200  # of a pair at a level


@dataclasses.dataclass(frozen=True)
class Rig:
    """A calibration: `rgb_from_thermal` is the pose of the thermal camera in the RGB one, metres."""

    thermal_K: Float[np.ndarray, "3 3"]
    rgb_K: Float[np.ndarray, "3 3"]
    rgb_from_thermal: Float[np.ndarray, "4 4"]
    thermal_size: tuple[int, int]
    rgb_size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A thermal and an RGB picture of one moment, undistorted.

    Attributes:
      thermal: counts, or any grey values.
      rgb: colours, 8 bits.
      inverse_depth: of the RGB camera, 1 / metres along z.
      known: where it is known; at infinity it is 0 and known.
      name: of the pair; `drive`: of the recording that it is from.
      valid: usable thermal pixels; None = all.
    """

    thermal: np.ndarray
    rgb: np.ndarray
    inverse_depth: Float[np.ndarray, "h w"]
    known: Bool[np.ndarray, "h w"]
    name: str
    drive: str
    valid: Bool[np.ndarray, "u v"] | None = None


def apart(one: Rig, other: Rig) -> tuple[float, float]:
    """(degrees, centimetres) between two calibrations: the turn from one to the other, the distance of their shifts."""
    turn = one.rgb_from_thermal[:3, :3] @ other.rgb_from_thermal[:3, :3].T
    sine = np.linalg.norm(turn - turn.T) / 8**0.5
    angle = np.arctan2(sine, (np.trace(turn) - 1) / 2)
    shift = one.rgb_from_thermal[:3, 3] - other.rgb_from_thermal[:3, 3]
    return float(np.degrees(angle)), float(100 * np.linalg.norm(shift))


def factors(width: int) -> list[int]:
    """By how much the thermal image is made smaller, from coarse to fine: powers of 2."""
    finest = max(0, int(np.ceil(np.log2(width / WIDTH))))
    coarsest = max(finest, int(np.log2(width / COARSEST)))
    return [2**k for k in range(coarsest, finest - 1, -1)]


def build(pairs: Sequence[Pair], rig: Rig, *, margin: float) -> list[Level]:
    """The levels from coarse to fine.

    Args:
      rig: as it is known so far; of its shift only the length is used, for what may be hidden.
      margin: metres by which the shift may be wrong.
    """
    baseline = float(np.linalg.norm(rig.rgb_from_thermal[:3, 3])) + margin
    return [_level(pairs, rig, factor, baseline) for factor in factors(rig.thermal_size[1])]


def _level(pairs: Sequence[Pair], rig: Rig, factor: int, baseline: float) -> Level:
    K = resize_intrinsics(rig.thermal_K, 1 / factor, 1 / factor)
    # RGB at about the same pixels an angle, so that its edges are about as wide as the thermal ones. Only by powers of
    # 2, which mix whole pixels: at any other size pixels are mixed by turns, and edges move by parts of a pixel.
    rgb_factor = 2 ** max(0, round(np.log2(rig.rgb_K[0, 0] / K[0, 0])))
    rgb_K = resize_intrinsics(rig.rgb_K, 1 / rgb_factor, 1 / rgb_factor)
    count = min(POINTS, rig.rgb_size[0] * rig.rgb_size[1] // rgb_factor**2 // 4)
    found = []
    fields = []
    for pair in pairs:
        valid = None if pair.valid is None else shrunk(pair.valid, factor, np.all)
        fields.append(edges.field(shrunk(pair.thermal, factor), valid))
        found.append(
            edges.points(
                shrunk(cv2.cvtColor(pair.rgb, cv2.COLOR_RGB2GRAY), rgb_factor),
                shrunk(pair.inverse_depth, rgb_factor),  # exact on planes
                shrunk(pair.inverse_depth, rgb_factor, np.max),
                shrunk(pair.known, rgb_factor, np.all),
                count=count,
                reach=float(rgb_K[0, 0]) * baseline,
            )
        )
    pixels = np.stack([one.pixels for one in found])
    y = (pixels[..., 1] - rgb_K[1, 2]) / rgb_K[1, 1]
    x = (pixels[..., 0] - rgb_K[0, 2] - rgb_K[0, 1] * y) / rgb_K[0, 0]
    return Level(
        rays=jnp.asarray(np.stack([x, y], -1), jnp.float32),
        inverse_depth=jnp.asarray(np.stack([one.inverse_depth for one in found]), jnp.float32),
        tensor=jnp.asarray(np.stack([one.tensor for one in found]), jnp.float32),
        weight=jnp.asarray(np.stack([one.weight for one in found]), jnp.float32),
        field=jnp.asarray(np.stack(fields), jnp.float32),
        K=jnp.asarray(K, jnp.float32),
    )


def shrunk(image: np.ndarray, factor: int, how: Callable[..., Any] = np.mean) -> np.ndarray:
    """One pixel for each factor x factor; what does not fill a block at the right and the bottom is cut off."""
    h, w = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: h * factor, : w * factor].reshape(h, factor, w, factor)
    return np.asarray(how(blocks, axis=(1, 3)))
