"""What is wrong with a recording as a whole: does the camera move, what moves with it, units, rates, doubles.

As `faults`, detectors on plain arrays, each fault with its mend; nothing changes a pixel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Int

from tdepth_jax.thermal import faults
from tdepth_jax.thermal.faults import Fault, Frame, Mask, Stack

BLUR = 7  # pixels; noise between neighbours is gone after it, things are not
STILL = 0.25  # a pair of frames in which fewer of the blocks with detail move: the camera stands
ZERO_CELSIUS = 27315  # in counts of 0.01 K


def _blocks(image: np.ndarray, side: int) -> np.ndarray:
    """[rows, columns, side * side]: whole blocks, aligned to the bottom, where a vehicle would be."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    part = image[image.shape[0] - rows * side :, : columns * side]
    return part.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, -1)


def block_side(shape: tuple[int, int]) -> int:
    return max(12, min(shape) // 12)


def moved(
    before: Frame, after: Frame, *, valid: Mask | None = None
) -> tuple[Bool[np.ndarray, "r c"], Bool[np.ndarray, "r c"]]:
    """(detail, moved) of the blocks of an image: which show something, and in which it has moved.

    Where nothing moves, two frames differ by noise, which a blur takes away; where something does, the difference is
    as wide as the thing. Blocks without detail (sky, a wall) say nothing. Blocks that `valid` hides have no detail.
    """
    side = block_side(before.shape)
    change = after.astype(np.float32) - before
    change -= np.median(change)  # the sensor's offset drifts as a whole
    smooth = cv2.blur(change, (BLUR, BLUR))
    picture = cv2.blur(before.astype(np.float32), (BLUR, BLUR))
    grain = max(faults.noise(before), 0.3)
    detail = _blocks(picture, side).std(-1) > 3 * grain
    if valid is not None:
        detail &= _blocks(valid.astype(np.float32), side).min(-1) > 0
    spread = _blocks(change, side).std(-1)
    return detail, detail & (_blocks(smooth, side).std(-1) > 0.3 * np.maximum(spread, 1e-6))


def standing(stack: Stack, *, valid: Mask | None = None) -> Bool[np.ndarray, " n"]:
    """Of every pair of neighbours in `stack`, whether the camera stood, whatever passed before it."""
    out = np.zeros(max(len(stack) - 1, 0), bool)
    for i in range(len(out)):
        detail, moving = moved(stack[i], stack[i + 1], valid=valid)
        out[i] = detail.any() and moving.sum() < STILL * detail.sum()
    return out


def motion_faults(stack: Stack, where: str, *, valid: Mask | None = None) -> list[Fault]:
    """Of frames spread over a recording: a camera that stands, always or at times, and what moves along with it."""
    if len(stack) < 2:
        said = "it is a single still picture" if len(stack) else "it has no usable frame"
        return [
            Fault("still", where, said, "self-supervision needs video from a moving camera (else: --stills)")
        ]
    stood = standing(stack, valid=valid)
    if stood.mean() > 0.8:
        said = (
            "nothing moves but noise"
            if not _anything(stack, valid)
            else "the camera stands, only things move"
        )
        return [
            Fault(
                "static",
                where,
                f"in {stood.mean():.0%} of the recording {said}",
                "self-supervision needs a moving camera: drive, or leave the stop out (else: --stills)",
            )
        ]
    found = []
    if stood.mean() > 0.15:
        said = f"the camera stands for {stood.mean():.0%} of the recording"
        found.append(Fault("stops", where, said, "standing frames teach that nothing moves: leave stops out"))
    vehicle = _own_vehicle(stack[:-1][~stood], stack[1:][~stood], where, valid)
    return found if vehicle is None else [*found, vehicle]


def _anything(stack: Stack, valid: Mask | None) -> bool:
    return any(moved(a, b, valid=valid)[1].any() for a, b in itertools.pairwise(stack))


def _own_vehicle(befores: Stack, afters: Stack, where: str, valid: Mask | None) -> Fault | None:
    """Rows of blocks at the bottom that have detail and keep it in place while the rest moves."""
    if len(befores) < 5:
        return None
    pairs = [moved(a, b, valid=valid) for a, b in zip(befores, afters, strict=True)]
    seen = np.mean([detail for detail, _ in pairs], axis=0)
    still = np.mean([detail & ~moving for detail, moving in pairs], axis=0)
    fixed = (seen > 0.5) & (still > 0.8 * seen)
    rows = 0
    for row in range(len(fixed) - 1, -1, -1):
        if fixed[row].mean() < 0.5:
            break
        rows += 1
    if not 0 < rows < len(fixed) / 2:
        return None
    share = rows * block_side(befores.shape[1:]) / befores.shape[1]
    return Fault(
        "own_vehicle",
        where,
        f"the lowest {share:.0%} of the image keep their place while the rest moves: the vehicle itself?",
        f"mask it, a little more than it covers (--mask-bottom {share + 0.02:.2f})",
    )


def level_jumps(stack: Stack, where: str) -> Fault | None:
    """The whole picture brighter or darker from one frame to the next: gain or offset changed."""
    if len(stack) < 4:
        return None
    levels = np.percentile(stack.reshape(len(stack), -1), [10, 30, 50, 70, 90], axis=1).T
    steps = np.diff(levels, axis=0)
    alike = (np.sign(steps) == np.sign(steps[:, :1])).all(axis=1)
    size = np.where(alike, np.abs(steps).min(axis=1), 0)
    grain = max(faults.noise(stack[0]), 0.3)
    jumps = np.flatnonzero(size > 8 * np.median(np.abs(steps)) + 8 * grain)
    if not len(jumps):
        return None
    return Fault(
        "level_jumps",
        where,
        f"the whole picture jumps by {size[jumps[0]]:.0f} counts at frame {jumps[0] + 1}"
        + (f" and {len(jumps) - 1} more times" if len(jumps) > 1 else ""),
        "the gain mode or offset changed (FFC, auto gain): fix the gain, or cut there",
    )


def blank_border(frame: Frame, where: str, *, valid: Mask | None = None) -> Fault | None:
    """Rows or columns at the border that have one value throughout, and that `valid` does not hide: padding."""
    shown = np.ones(frame.shape, bool) if valid is None else valid
    sides = {}
    for side, lines, open_ in (
        ("top", frame, shown),
        ("bottom", frame[::-1], shown[::-1]),
        ("left", frame.T, shown.T),
        ("right", frame.T[::-1], shown.T[::-1]),
    ):
        blank = lines.min(axis=1) == lines.max(axis=1)
        until = 0 if blank.all() else int(np.argmin(blank))
        count = int(open_[:until].any(axis=1).sum())
        if count:
            sides[side] = count
    if not sides:
        return None
    said = ", ".join(f"{count} at the {side}" for side, count in sides.items())
    return Fault(
        "blank_border",
        where,
        f"whole rows or columns have one value ({said}): padding, not image",
        "crop it off, K's principal point moved along, or mask it (--mask)",
    )


def unit_fault(median: float, unit: str, where: str) -> Fault | None:
    """Counts whose size belongs to the other unit; `median` of a frame."""
    celsius = (median - ZERO_CELSIUS) / 100
    if unit == "centikelvin" and not -60 < celsius < 200:
        said = f"in counts of 0.01 K its middle level, {median:.0f}, would be {celsius:.0f} °C"
        return Fault(
            "unit", where, said, "leave --unit=centikelvin away, or give the TLinear recording", grave=True
        )
    if unit == "raw" and -20 < celsius < 50:
        said = f"its middle level, {median:.0f}, would be {celsius:.0f} °C in counts of 0.01 K (TLinear)"
        return Fault("unit", where, said, "if that is what it is, give --unit=centikelvin")
    return None


def rate_fault(timestamps_ns: Int[np.ndarray, " n"], where: str) -> Fault | None:
    """Usual intervals that no thermal camera records video at."""
    if len(timestamps_ns) < 2:
        return None
    usual = float(np.median(np.diff(np.asarray(timestamps_ns, np.int64)))) / 1e9
    if usual <= 0 or 0.004 <= usual <= 1.0:
        return None
    said = f"a frame comes every {usual:.3g} s"
    fix = (
        "record faster, for neighbours must overlap; or are the times in another unit?"
        if usual > 1
        else "are the times in another unit?"
    )
    return Fault("frame_rate", where, said, fix)


def double_faults(sums: Sequence[tuple[str, frozenset[int]]]) -> list[Fault]:
    """Recordings that share frames; `sums` are (name, checksums of its frames)."""
    found = []
    for number, (name, own) in enumerate(sums):
        for other, theirs in sums[:number]:
            shared = len(own & theirs)
            if shared > max(2, 0.05 * min(len(own), len(theirs))):
                said = f"{shared} of its frames are also in {other}"
                fix = "leave one out: what is trained on must not be tested on"
                found.append(Fault("double", name, said, fix))
    return found
