"""Pairs of a user's own folders, before anything is prepared: calibration comes first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from tdepth_jax.calibration import pairs, stereo
from tdepth_jax.calibration.levels import Pair, Rig
from tdepth_jax.calibration.pairs import Taken
from tdepth_jax.data import colour, extrinsics, raw, recordings
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import intrinsics, io

DEPTH_UNIT = 1 / 256  # metres per unit of 16-bit PNG

Place = tuple[Path, Path]  # thermal and RGB picture of a pair


@dataclasses.dataclass(frozen=True)
class Cameras:
    """What is known of the two cameras, as `prepare own` takes it."""

    intrinsics: str | None
    fov_x: float | None
    rgb_intrinsics: str | None
    rgb_fov_x: float | None
    rgb_from_thermal: str


@dataclasses.dataclass(frozen=True)
class Scale:
    """Where depth comes from: one of a folder of depth maps, the right pictures of a rectified RGB stereo pair with
    their baseline, and an assumption (`pairs.INFINITY` or metres)."""

    maps: Path | None = None
    unit: float = DEPTH_UNIT
    right: Path | None = None
    baseline: float | None = None
    assumed: str | None = None


def of_folders(thermal: Path, rgb: Path, cameras: Cameras, scale: Scale, *, most: int) -> Taken:
    """At most `most` pairs, evenly spaced over each recording and shared out among recordings.

    Raises:
      UserError: no depth, pictures that cannot be read or paired, K or pose missing or wrong, too few pairs.
    """
    if scale.maps is None and scale.right is None and scale.assumed is None:
        raise UserError(
            "there is no depth, which gives the calibration its scale: add --rgb-depth DIR, or --rgb-right DIR with "
            "--rgb-baseline; --depth=infinity estimates the rotation alone"
        )
    if scale.right is not None and not (scale.baseline and scale.baseline > 0):
        raise UserError("--rgb-right needs --rgb-baseline: metres between the two RGB cameras, more than 0")
    chosen = _pairs(thermal, rgb, most)
    counts = _thermal(chosen[0][1][0])
    first = colour.read(chosen[0][1][1])
    rig = _rig(cameras, counts.shape, first.shape[:2])
    found = []
    for drive, (one, other) in chosen:
        grey, picture = _thermal(one), colour.read(other)
        for path, got, want in ((one, grey.shape, counts.shape), (other, picture.shape, first.shape)):
            if got != want:
                raise UserError(
                    f"{path} is {got[1]}x{got[0]}, the first is {want[1]}x{want[0]}: give one camera's"
                )
        inverse, known = _depth(scale, other, rgb, picture, float(rig.rgb_K[0, 0]))
        found.append(Pair(grey, picture, inverse, known, one.stem, drive))
    kept, notes = pairs.usable(found, f"{thermal} and {rgb}")
    way = scale.assumed or ("stereo" if scale.right is not None else "measured")
    return Taken(kept, rig, way, notes)


def _pairs(thermal: Path, rgb: Path, most: int) -> list[tuple[str, Place]]:
    found = recordings.find(thermal)
    colours = colour.find(rgb, [name for name, _ in found])
    every = []
    for name, files in found:
        paired = colour.by_name_or_order(
            [recordings.key(file, thermal) for file in files],
            [recordings.key(file, rgb) for file in colours[name]],
            colours[name],
            name,
        )
        every += [(name, (files[number], path)) for number, path in paired.files.items()]
    return [every[number] for number in pairs.spread(len(every), most)]


def _thermal(path: Path) -> np.ndarray:
    counts = io.read(path).counts()
    if len(counts) != 1:
        raise UserError(f"{path} holds {len(counts)} frames; calibrate from files of one frame each")
    return counts[0]


def _rig(cameras: Cameras, thermal: tuple[int, int], rgb: tuple[int, int]) -> Rig:
    if cameras.intrinsics is None and cameras.fov_x is None:
        raise UserError("the thermal camera's K is not given: add --intrinsics or --fov-x")
    given = (
        intrinsics.parse(cameras.intrinsics, thermal)
        if cameras.intrinsics
        else intrinsics.from_fov(cameras.fov_x or 0.0, thermal)
    )
    second = extrinsics.given(
        rgb_intrinsics=cameras.rgb_intrinsics,
        rgb_fov_x=cameras.rgb_fov_x,
        rgb_from_thermal=cameras.rgb_from_thermal,
        thermal_intrinsics=cameras.intrinsics,
        thermal_K=given.K,
        thermal_size=thermal,
        size=rgb,
    )
    for fault in second.faults():
        if fault.grave:
            raise UserError(str(fault))
    raw.warn([*given.notes, *second.notes])
    thermal_K, rgb_K = (np.asarray(k, np.float64) for k in (given.K, second.K))
    return Rig(thermal_K, rgb_K, second.rgb_from_thermal, thermal, rgb)


def _depth(
    scale: Scale, path: Path, rgb: Path, picture: np.ndarray, focal: float
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    size = picture.shape[:2]
    if scale.assumed is not None:
        return pairs.assumed(scale.assumed, size)
    top = rgb.parent if "*" in rgb.name else rgb
    below = path.relative_to(top)
    if scale.right is not None:
        right = colour.read(_partner(scale.right, below, recordings.key(path, rgb), (path.suffix,)))
        if right.shape != picture.shape:
            raise UserError(f"{path} and its right picture differ in size: they are not rectified")
        return stereo.inverse_depth(picture, right, focal * float(scale.baseline or 0))
    assert scale.maps is not None
    depth = _depth_map(_partner(scale.maps, below, recordings.key(path, rgb), (".npy", ".png")), scale.unit)
    if depth.shape != size:
        raise UserError(
            f"depth of {path} is {depth.shape[1]}x{depth.shape[0]}, the picture {size[1]}x{size[0]}"
        )
    return pairs.inverse_of(depth)


def _partner(folder: Path, below: Path, key: str, suffixes: Sequence[str]) -> Path:
    """The file of another folder that has this one's name, or what the pattern's stars stand for."""
    for stem in dict.fromkeys((below.stem, key)):
        for suffix in suffixes:
            path = folder / below.parent / f"{stem}{suffix}"
            if path.is_file():
                return path
    raise UserError(
        f"{folder} has no {below.parent / below.stem} ({', '.join(suffixes)}); name its files as the RGB pictures"
    )


def _depth_map(path: Path, unit: float) -> Float32[np.ndarray, "h w"]:
    if path.suffix == ".npy":
        return raw.depth_npy(path)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 2:
        raise UserError(f"{path} is no 16-bit PNG of one channel, which a depth map is (or .npy, metres)")
    return image.astype(np.float32) * np.float32(unit)
