"""Pairs of a prepared split: thermal and RGB pictures with the depth of the RGB camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int

from tdepth_jax.calibration import stereo
from tdepth_jax.calibration.levels import Pair, Rig
from tdepth_jax.data import extrinsics, records
from tdepth_jax.data.sources import FrameSource
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import rgb_faults

LEAST = 8  # pairs; fewer say little, and nothing about how far they can be trusted
FARTHEST = 200.0  # metres; measured depth beyond is as good as none
INFINITY = "infinity"
SAME_RIG = 1e-5


@dataclasses.dataclass(frozen=True)
class Taken:
    """Pairs of one rig, and what is to be known of them."""

    pairs: tuple[Pair, ...]
    rig: Rig
    depth: str
    notes: tuple[str, ...] = ()

    @property
    def drives(self) -> list[str]:
        return [pair.drive for pair in self.pairs]


def of_split(source: FrameSource, numbers: Int[np.ndarray, " n"], *, depth: str | None = None) -> Taken:
    """Frames `numbers` of a prepared split, but for those without an RGB picture or without depth.

    Args:
      depth: None for that of the records or, where they have none, of their rectified RGB stereo pair; `INFINITY` or
        metres for a scene that is taken to be so far away everywhere.

    Raises:
      UserError: no RGB, no depth, several rigs, or too few pairs.
    """
    source.require({"thermal/image", "thermal/K", "rgb/image", "rgb/K", "rgb_from_thermal"})
    measured = "rgb/depth" in source.features
    if depth is None and not measured and "rgb_right/image" not in source.features:
        raise UserError(
            f"the data set {source.name} has no depth of the RGB camera (rgb/depth) and no RGB stereo pair "
            "(rgb_right/...), which give the calibration its scale; --depth=infinity estimates the rotation alone"
        )
    keys = {"sequence", "index", "thermal/image", "thermal/K", "rgb/image", "rgb/K", "rgb_from_thermal"}
    keys |= {"thermal/valid"} & source.features
    if depth is None:
        keys |= {"rgb/depth"} if measured else {"rgb_right/image", "rgb_right_from_rgb"}
    rig: Rig | None = None
    found: list[Pair] = []
    lacking = 0
    for number in numbers:
        frame = source.read(int(number), keys)
        if any(key not in frame for key in ("rgb/image", "rgb/K", "rgb_from_thermal")):
            lacking += 1
            continue
        own = _rig(frame)
        rig = rig or own
        if not _same(rig, own):
            raise UserError(
                f"{source.name}: {frame['sequence']} has another rig (K, rgb_from_thermal or size) than the frames "
                "before it; calibrate each rig by itself"
            )
        inverse, known = _depth(frame, depth)
        if not known.any():
            lacking += 1
            continue
        name = f"{frame['sequence']} {frame['index']}"
        valid = frame.get("thermal/valid")
        found.append(
            Pair(
                frame["thermal/image"], frame["rgb/image"], inverse, known, name, frame["sequence"],
                None if valid is None else valid > 0,
            )
        )  # fmt: skip
    notes = [f"{lacking} of {len(numbers)} frames have no RGB picture or no depth"] if lacking else []
    where = f"{source.name}, split {source.split}"
    if lacking and len(found) < LEAST:
        raise UserError(
            f"{where}: {notes[0]}; take a split that has both, or with --depth=infinity estimate the rotation alone"
        )
    kept, more = usable(found, where)
    assert rig is not None
    way = "measured" if measured else "stereo"
    return Taken(kept, rig, depth or way, (*notes, *more))


def usable(pairs: Sequence[Pair], where: str) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """(the pairs that show something, notes).

    Raises:
      UserError: fewer than `LEAST` are left.
    """
    kept = tuple(pair for pair in pairs if _shows(pair.thermal) and _shows(pair.rgb))
    blank = len(pairs) - len(kept)
    said = f" ({blank} more are of one value throughout)" if blank else ""
    if len(kept) < LEAST:
        raise UserError(
            f"{where}: {len(kept)} usable pairs{said}, at least {LEAST} are needed and 50 or more are better; give "
            "more frames"
        )
    return kept, ((f"{blank} pairs with a picture of one value are left out",) if blank else ())


def of_condition(source: FrameSource, condition: str | None) -> Int[np.ndarray, " n"]:
    """Numbers of the split's frames of a condition, or of all.

    Raises:
      UserError: no such condition.
    """
    known = source.table["condition"]
    chosen = np.arange(len(source)) if condition is None else np.flatnonzero(known == condition)
    if not len(chosen):
        said = f"no frames of the condition {condition!r}; it has {', '.join(sorted(set(known.tolist())))}"
        raise UserError(f"{source.name}, split {source.split}: {said if condition else 'no frames'}")
    return chosen


def started(taken: Taken, where: str) -> Taken:
    """The same pairs from another rgb_from_thermal (what --rgb-from-thermal takes)."""
    motion = extrinsics.motion(where)
    if fault := rgb_faults.baseline_fault(motion, extrinsics.OPTION):
        raise UserError(str(fault))
    return dataclasses.replace(taken, rig=dataclasses.replace(taken.rig, rgb_from_thermal=motion))


def spread(count: int, wanted: int) -> Int[np.ndarray, " n"]:
    """Numbers of `wanted` frames of `count`, evenly spaced; all of them when there are fewer."""
    if wanted >= count:
        return np.arange(count)
    return np.floor((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)


def inverse_of(
    depth: Float32[np.ndarray, "h w"],
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """(1 / metres, where it is known) of measured depth, 0 = none."""
    known = (depth > 0) & (depth < FARTHEST)
    return np.where(known, 1 / np.maximum(depth, 1e-3), 0).astype(np.float32), known


def assumed(depth: str, size: tuple[int, int]) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """The same for a scene taken to be `depth` metres away, or `INFINITY`."""
    try:
        inverse = 0.0 if depth == INFINITY else 1 / float(depth)
    except (ValueError, ZeroDivisionError):
        inverse = -1.0
    if not 0 <= inverse < np.inf:
        raise UserError(f"--depth={depth}: give {INFINITY}, or metres more than 0")
    return np.full(size, inverse, np.float32), np.ones(size, bool)


def _depth(
    frame: records.Frame, depth: str | None
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    image = frame["rgb/image"]
    if depth is not None:
        return assumed(depth, image.shape[:2])
    if "rgb_right/image" in frame:
        baseline = float(np.linalg.norm(frame["rgb_right_from_rgb"][:3, 3]))
        return stereo.inverse_depth(image, frame["rgb_right/image"], float(frame["rgb/K"][0, 0]) * baseline)
    if "rgb/depth" not in frame:
        return np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], bool)
    return inverse_of(frame["rgb/depth"])


def _rig(frame: records.Frame) -> Rig:
    motion = np.asarray(frame["rgb_from_thermal"], np.float64)
    u, _, vt = np.linalg.svd(motion[:3, :3])  # stored as float32: a rotation to seven digits only
    motion[:3, :3] = u @ vt
    thermal_K, rgb_K = (np.asarray(frame[key], np.float64) for key in ("thermal/K", "rgb/K"))
    return Rig(thermal_K, rgb_K, motion, frame["thermal/image"].shape, frame["rgb/image"].shape[:2])


def _same(one: Rig, other: Rig) -> bool:
    return (one.thermal_size, one.rgb_size) == (other.thermal_size, other.rgb_size) and all(
        np.allclose(getattr(one, name), getattr(other, name), rtol=SAME_RIG, atol=SAME_RIG)
        for name in ("thermal_K", "rgb_K", "rgb_from_thermal")
    )


def _shows(image: np.ndarray) -> bool:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    return bool(grey.min() != grey.max())
