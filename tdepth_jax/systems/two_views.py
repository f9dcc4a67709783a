"""Two cameras' images as two networks see them, and what their depths and features say of each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from tdepth_jax.geometry import camera, rig, se3, warp
from tdepth_jax.models.resize import bilinear
from tdepth_jax.systems.base import Batch, single
from tdepth_jax.thermal import normalize


def counts(batch: Batch, normalization: str) -> Float[Array, "b h w 1"]:
    """Thermal images as the network sees them."""
    valid = batch.get("thermal/valid")
    unit = normalize.normalize(
        single(batch["thermal/image"])[:, None],
        method=normalization,
        valid=None if valid is None else valid[:, None],
    )
    return normalize.standardize(unit)[:, 0]


def colours(batch: Batch) -> Float[Array, "b h w 3"]:
    return normalize.standardize(single(batch["rgb/image"]).astype(jnp.float32) / 255)


def sound(theirs: dict[str, Array], batch: Batch) -> tuple[dict[str, Array], Bool[Array, "b h w 1"]]:
    """The teacher's targets with numbers everywhere, and where they were any: an RGB frame, and a finite depth."""
    there = (single(batch["rgb/image"]) > 0).any(axis=(1, 2, 3))
    known = jnp.isfinite(theirs["depth"]) & (theirs["depth"] > 0) & there[:, None, None, None]
    features = jnp.nan_to_num(theirs["features"], posinf=0.0, neginf=0.0)
    return {"depth": jnp.where(known, theirs["depth"], 1.0), "features": features}, known


def cues(
    batch: Batch,
    depth: Array,
    features: Array,
    theirs: dict[str, Array],
    *,
    occlusion: bool,
    min_depth: float,
) -> dict[str, Array]:
    """What the confidence is made of, in the teacher's view: its "stack" [b h w 8], which passes no gradient, and
    "depth", the student's as the teacher sees it, "visible", "similarity" and "difference".

    In the published order: likeness of features in the teacher's view, the same in the student's view brought here,
    difference of depths (-1 where one is missing), the student's depth, the teacher's depth, the colour image.
    """
    thermal_K, rgb_K, thermal_from_rgb = _rig(batch)
    features, other = (bilinear(x, depth.shape[1:3]) for x in (features, theirs["features"]))
    seen = rig.seen_by_other(theirs["depth"], rgb_K, depth, thermal_K, thermal_from_rgb)
    ours, distance = jax.lax.stop_gradient((features, depth))
    here = _likeness(other, warp.sample(ours, seen.pixels, padding="zeros")[0])
    points = se3.transform(se3.inverse(thermal_from_rgb), camera.backproject(distance, thermal_K))
    landed, _ = camera.project(points, rgb_K)
    there = _likeness(ours, warp.sample(other, landed, padding="zeros")[0])
    there = jnp.where(seen.visible, warp.nearest(there, seen.pixels), 0.0)
    difference = jnp.abs(theirs["depth"] - seen.depth)
    visible = seen.visible if occlusion else _inside(seen.pixels, depth.shape)
    if "thermal/valid" in batch:
        visible &= warp.nearest(batch["thermal/valid"], seen.pixels)
    shown = jnp.where(visible & (seen.depth > min_depth), difference, -1.0)
    stack = [here, there, shown, jnp.maximum(seen.depth, 0.0), theirs["depth"], colours(batch)]
    return {
        "stack": jax.lax.stop_gradient(jnp.concatenate(stack, axis=-1)),
        "pixels": seen.pixels,
        "depth": seen.depth,
        "visible": visible,
        "similarity": here,
        "difference": difference,
    }


def near(depth: Array) -> Float[Array, "b h w 1"]:
    """Inverse depth, the nearest pixel of each image being 1."""
    near = 1.0 / jnp.maximum(depth, 1e-3)
    return near / near.max(axis=(1, 2, 3), keepdims=True)


def _rig(batch: Batch) -> tuple[Array, Array, Array]:
    """(thermal K, RGB K, thermal_from_rgb), sound also where a frame has no RGB."""
    eye = lambda x: jnp.where(jnp.isfinite(x).all(axis=(1, 2), keepdims=True), x, jnp.eye(x.shape[-1]))  # noqa: E731
    rgb_from_thermal = eye(batch["rgb_from_thermal"])
    return eye(batch["thermal/K"]), eye(batch["rgb/K"]), se3.inverse(rgb_from_thermal)


def _inside(pixels: Array, shape: tuple[int, ...]) -> Bool[Array, "b h w 1"]:
    last = jnp.array([shape[2] - 1, shape[1] - 1])
    return ((pixels >= 0) & (pixels <= last)).all(axis=-1, keepdims=True)


def _likeness(a: Array, b: Array) -> Float[Array, "b h w 1"]:
    """Cosine of the angle between two features at every pixel."""
    norms = jnp.linalg.norm(a, axis=-1, keepdims=True) * jnp.linalg.norm(b, axis=-1, keepdims=True)
    return (a * b).sum(axis=-1, keepdims=True) / jnp.maximum(norms, 1e-8)
