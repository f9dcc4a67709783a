"""The intrinsics that a run learnt, and how well a video shows them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tdepth_jax.data.pipeline import train_iterator
from tdepth_jax.data.transforms import Augment, resize_intrinsics
from tdepth_jax.geometry import intrinsics
from tdepth_jax.systems.base import System

TRUSTED = 0.2  # of a focal length: what is known less well than this is as good as unknown
MOST_PAIRS = 256  # of frames whose rotation is looked at


def learnt(system: System, variables: dict[str, Any], K: Float[np.ndarray, "3 3"]) -> np.ndarray:
    """K of the run's camera, from that of the records, in the same pixels."""
    if system.intrinsics is None:
        return np.asarray(K, np.float64)
    return np.asarray(system.intrinsics(variables, jnp.asarray(K, jnp.float32)[None])[0], np.float64)


def found(
    system: System, variables: dict[str, Any], source: Any, *, image_size: tuple[int, int]
) -> dict[str, Any] | None:
    """What a run says of its camera, in pixels of the stored image, for json; None where it learns no intrinsics.

    "guess" and "found" hold fx, fy, cx, cy and fov_x (degrees); "tolerance" is how far fx and fy could be off without
    the video showing it (`intrinsics.focal_tolerance`, from the motions that the run predicts), None where the camera
    does not turn.
    """
    if system.intrinsics is None or system.motion is None:
        return None
    frame = source.read(0, {"thermal/image", "thermal/K"})
    size = frame["thermal/image"].shape[:2]
    K = learnt(system, variables, frame["thermal/K"])
    rotations = _rotations(system, variables, source, image_size)
    tolerance = [None, None]
    if len(rotations):
        small = resize_intrinsics(K, image_size[1] / size[1], image_size[0] / size[0])
        pixels = intrinsics.focal_tolerance(small, image_size, rotations)
        scale = size[1] / image_size[1], size[0] / image_size[0]
        tolerance = [round(p * s, 2) if np.isfinite(p) else None for p, s in zip(pixels, scale, strict=True)]
    return {
        "size": list(size),
        "guess": _said(frame["thermal/K"], size),
        "found": _said(K, size),
        "tolerance": tolerance,
        "pairs": len(rotations),
    }


def describe(camera: dict[str, Any]) -> str:
    """One sentence of what `found` returns."""
    h, w = camera["size"]
    guess, now = camera["guess"], camera["found"]
    text = (
        f"intrinsics learnt, in pixels of {w}x{h}: fx {now['fx']:.1f}, fy {now['fy']:.1f}, cx {now['cx']:.1f}, "
        f"cy {now['cy']:.1f}, a horizontal field of view of {now['fov_x']:.1f}° (the records say {guess['fx']:.1f}, "
        f"{guess['fy']:.1f}, {guess['cx']:.1f}, {guess['cy']:.1f}, {guess['fov_x']:.1f}°)"
    )
    fx, fy = camera["tolerance"]
    if fx is None or fy is None:
        return text + "; the camera turns so little that this video does not show its focal length"
    text += f"; turns as in this video show fx to about {fx:.0f} and fy to about {fy:.0f} pixels"
    if fx > TRUSTED * now["fx"]:
        text += ", too little to trust what was found: calibrate the camera, or record while it turns"
    return text


def _said(K: np.ndarray, size: tuple[int, int]) -> dict[str, float]:
    fov = float(np.degrees(2 * np.arctan(size[1] / (2 * K[0, 0]))))
    values = {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "fov_x": fov}
    return {name: round(float(value), 3) for name, value in values.items()}


def _rotations(
    system: System, variables: dict[str, Any], source: Any, image_size: tuple[int, int]
) -> Float[np.ndarray, "n 3 3"]:
    """Predicted rotations between neighbouring frames, of snippets drawn from the whole split."""
    assert system.motion is not None
    motion = jax.jit(system.motion)
    count = min(len(source.snippet_centres((0, 1))), MOST_PAIRS)
    if not count:
        return np.zeros((0, 3, 3))
    turns = []
    with train_iterator(
        source,
        keys=frozenset({"thermal/image", "thermal/K"}) | (system.wants & source.features),
        offsets=(0, 1),
        image_size=image_size,
        batch_size=1,
        seed=0,
        augment=Augment(flip=False, scale_crop=1.0),
    ) as batches:
        for _ in range(count):
            turns.append(np.asarray(motion(variables, next(batches)), np.float64)[0, :3, :3])
    return np.stack(turns)
