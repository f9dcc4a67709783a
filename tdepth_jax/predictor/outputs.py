"""Results as files: depth PNG, npz, picture and points. Each is whole or not there."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from tdepth_jax.errors import UserError
from tdepth_jax.predictor.model import Prediction
from tdepth_jax.reports import frames
from tdepth_jax.thermal.io import write_depth_png

SUFFIXES = {"vis": "_vis.png", "png16": "_depth.png", "npz": ".npz", "ply": ".ply"}
PNG_STEP = 1 / 256  # metres
PNG_TOP = 65535 * PNG_STEP  # metres that still fit the depth PNG


def paths(output: Path, key: str, save: Collection[str]) -> dict[str, Path]:
    return {name: output / f"{key}{SUFFIXES[name]}" for name in sorted(save)}


def write(
    files: dict[str, Path],
    counts: UInt16[np.ndarray, "h w"],
    found: Prediction,
    *,
    depth_range: tuple[float, float],
    colormap: int,
) -> None:
    """Writes what `files` names of one frame."""
    made = {
        "vis": lambda: png(picture(counts, found, depth_range, colormap)),
        "png16": lambda: _depth_png(found),
        "npz": lambda: _npz(found),
        "ply": lambda: ply(counts, found),
    }
    for name, path in files.items():
        write_whole(path, made[name]())


def write_whole(path: Path, data: bytes) -> None:
    """Under another name first: a killed run leaves no half a file that looks whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another -o") from error


def picture(
    counts: UInt16[np.ndarray, "h w"], found: Prediction, depth_range: tuple[float, float], colormap: int
) -> UInt8[np.ndarray, "h w2 3"]:
    """Thermal, as the network saw it, beside depth and, where there is one, confidence (0 dark blue, 1 yellow); where
    depth is not known they are dark."""
    maps = [frames.depth_colours(found.depth, *depth_range, colour_map=colormap)]
    if found.confidence is not None:
        level = np.round(255 * found.confidence).astype(np.uint8)
        maps.append(cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[..., ::-1])
    maps = [np.where(found.mask[..., None], one, np.uint8(48)) for one in maps]
    return np.concatenate([_grey(counts, found), *maps], axis=1)


def _grey(counts: UInt16[np.ndarray, "h w"], found: Prediction) -> UInt8[np.ndarray, "h w 3"]:
    """Counts between the limits of the normaliser; where it has none, between those of the usable pixels."""
    if "low_counts" in found.normalizer:
        low, high = found.normalizer["low_counts"], found.normalizer["high_counts"]
    else:
        low, high = np.percentile(counts[found.mask] if found.mask.any() else counts, [1, 99])
    return frames.stretch(counts, (low, high))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()


def _depth_png(found: Prediction) -> bytes:
    file = io.BytesIO()
    write_depth_png(file, found.depth, mask=found.mask, text={"scale_type": found.scale_type})
    return file.getvalue()


def _npz(found: Prediction) -> bytes:
    file = io.BytesIO()
    arrays: dict[str, Any] = {"depth": found.depth, "mask": found.mask, "K": found.K}
    arrays["scale_type"] = np.array(found.scale_type)
    if found.confidence is not None and found.spread is not None:
        arrays |= {"confidence": found.confidence, "spread": found.spread}
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def ply(counts: UInt16[np.ndarray, "h w"], found: Prediction) -> bytes:
    """Binary little-endian points in the camera (x right, y down, z forward), grey as the picture is."""
    v, u = np.nonzero(found.mask)
    z = found.depth[v, u]
    rays = np.stack([u, v, np.ones_like(u)], axis=1) @ np.linalg.inv(found.K.astype(np.float64)).T
    points = np.empty(len(z), [(axis, "<f4") for axis in "xyz"] + [("grey", "u1", 3)])
    for i, axis in enumerate("xyz"):
        points[axis] = rays[:, i] * z
    points["grey"] = _grey(counts, found)[v, u]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(z)}"]
    head += [f"property float {axis}" for axis in "xyz"]
    head += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    return "\n".join([*head, "end_header", ""]).encode() + points.tobytes()
