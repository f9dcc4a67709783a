"""Single frames on their way to a network: from a file or an array, with what is known and wrong about them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, intrinsics, io
from tdepth_jax.thermal.faults import Fault

ASSUMED_FOV = 60.0  # degrees; thermal cameras on vehicles and robots have 45 to 90


@dataclasses.dataclass(frozen=True)
class Shot:
    """One frame to predict.

    Attributes:
      counts: as the sensor gave them.
      K: intrinsics in pixels of `counts`, or None when unknown.
      valid: usable pixels, or None for all.
      name: for messages.
      unit: as of `thermal.io.Thermal`.
      warnings: what was already found.
      limits: counts that map to 0 and 1 (`Predictor.limits`), or None for those of the frame itself.
      colour: of a run whose camera is RGB what it sees; `counts` are then their mean, for pictures.
      more: further batch keys that the run's method reads, e.g. radar's.
    """

    counts: UInt16[np.ndarray, "h w"]
    K: Float[np.ndarray, "3 3"] | None = None
    valid: Bool[np.ndarray, "h w"] | None = None
    name: str = "frame"
    unit: str = "raw"
    warnings: tuple[Fault, ...] = ()
    limits: tuple[float, float] | None = None
    colour: UInt8[np.ndarray, "h w 3"] | None = None
    more: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def shots_of(
    thermal: io.Thermal,
    *,
    K: np.ndarray | None = None,
    valid: np.ndarray | None = None,
    known: Sequence[tuple[Fault, ...]] | None = None,
) -> list[Shot]:
    """The frames of a file, each looked at for faults unless those are `known` from an earlier look."""
    counts = thermal.counts()
    several = len(counts) > 1
    shots = []
    for number, frame in enumerate(counts):
        called = str(thermal.source) + (f", frame {number}" if several else "")
        if known is None:
            found = [Fault("assumed", called, note, "check it") for note in thermal.notes]
            found += faults.frame_faults(frame, called, unit=thermal.unit, valid=valid)
        shots.append(Shot(frame, K, valid, called, thermal.unit, known[number] if known else tuple(found)))
    return shots


def shot_of(
    image: str | os.PathLike | np.ndarray | Shot, K: np.ndarray | None, valid: np.ndarray | None
) -> Shot:
    """One frame: a file, an array of raw counts, or a shot as it is.

    Raises:
      UserError: a file that cannot be read or holds several frames; an array that is no thermal frame; a wrong K.
    """
    if isinstance(image, Shot):
        return image
    if isinstance(image, np.ndarray):
        array = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        if array.ndim != 2 or array.dtype not in (np.uint8, np.uint16) or 0 in array.shape:
            raise UserError(
                f"the array is {image.dtype} {image.shape}; give raw counts uint16 [h, w], or the file"
            )
        unit = "agc8" if array.dtype == np.uint8 else "raw"
        frames = shots_of(io.Thermal(array.astype(np.uint16)[None], unit, Path("array")))
    else:
        frames = shots_of(io.read(image))
    if len(frames) != 1:
        raise UserError(f"{image} holds {len(frames)} frames; give them to infer_many")
    if K is not None:
        K = np.asarray(K, np.float32)
        size = (frames[0].counts.shape[0], frames[0].counts.shape[1])
        grave = [fault for fault in faults.intrinsics_faults(K, size, "K") if fault.grave]
        if grave:
            raise UserError(str(grave[0]))
    return dataclasses.replace(frames[0], K=K, valid=valid)


def intrinsics_of(shot: Shot) -> tuple[np.ndarray, str]:
    """(K in pixels of the frame, where it comes from); assumed where the frame has none."""
    if shot.K is not None:
        return np.asarray(shot.K, np.float32), "given"
    given = intrinsics.from_fov(ASSUMED_FOV, shot.counts.shape)
    return given.K, given.origin
