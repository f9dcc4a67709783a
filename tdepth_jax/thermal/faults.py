"""What is wrong with thermal frames: detectors on plain arrays, each fault with its mend.

Nothing here changes a pixel. `frame_faults` looks at one frame, `sequence_faults` at several in order of time,
`time_faults` and `intrinsics_faults` at what comes with them; `recording` at how a camera moves.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt16

LEAST_SIDE = 16  # pixels; below it statistics over an image say nothing
TOPS = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)  # where sensors and files saturate


@dataclasses.dataclass(frozen=True)
class Fault:
    """One finding.

    Attributes:
      name: what kind, e.g. "eight_bit"; stable, for programs.
      where: file, frame or sequence.
      sentence: what was seen, in numbers.
      fix: what to do.
      grave: nothing good can come of going on.
    """

    name: str
    where: str
    sentence: str
    fix: str
    grave: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}; {self.fix}"


Frame = UInt16[np.ndarray, "h w"]
Stack = UInt16[np.ndarray, "t h w"]
Mask = Bool[np.ndarray, "h w"]


def frame_faults(frame: Frame, where: str, *, unit: str = "raw", valid: Mask | None = None) -> list[Fault]:
    """All that can be seen in one frame. A tiny frame, or one of one value, has no other fault than that."""
    if min(frame.shape) < LEAST_SIDE:
        return [_tiny(frame, where)]
    if frame.min() == frame.max():
        return [_constant(frame, where)]
    swapped = _byte_swapped(frame, where)
    if swapped:
        return [swapped]
    values = frame[valid] if valid is not None and valid.any() else frame.reshape(-1)
    found = [
        _eight_bit(values, where, unit),
        _equalised(values, where),
        _saturated(values, where),
        _telemetry(frame, where),
        _low_contrast(frame, values, where),
        _stripes(frame, where),
    ]
    return [fault for fault in found if fault is not None]


def sequence_faults(stack: Stack, where: str, *, valid: Mask | None = None) -> list[Fault]:
    """What shows only over time; at least two frames in order."""
    if len(stack) < 2:
        return []
    found = [
        _repeated(stack, where),
        _stretched(stack, where),
        _dead(stack, where, valid),
    ]
    return [fault for fault in found if fault is not None]


# One frame.


def _tiny(frame: Frame, where: str) -> Fault:
    said = f"it has {frame.shape[1]}x{frame.shape[0]} pixels, too few to predict from"
    return Fault("tiny", where, said, "give whole frames, not crops or thumbnails", grave=True)


def _constant(frame: Frame, where: str) -> Fault:
    return Fault(
        "constant",
        where,
        f"every pixel is {int(frame[0, 0])}",
        "leave the frame out (a closed shutter or a failed recording)",
        grave=True,
    )


def _byte_swapped(frame: Frame, where: str) -> Fault | None:
    """Bytes in the wrong order turn smooth counts into noise; in the right one neighbours are alike."""
    if not (frame & 0xFF).any() or not (frame >> 8).any():
        return None  # one of the two bytes is empty: 8 bits, not an order
    as_is, other = _roughness(frame), _roughness(frame.byteswap())
    if as_is < 8 * max(other, 1e-9):
        return None
    return Fault(
        "byte_swapped",
        where,
        f"neighbouring pixels differ by {as_is:.0f} counts, with the two bytes of each swapped by {other:.0f}",
        "it was written in the other byte order: swap it (numpy.ndarray.byteswap)",
        grave=True,
    )


def _roughness(frame: Frame) -> float:
    return float(np.abs(np.diff(frame.astype(np.int32), axis=1)).mean())


def _eight_bit(values: np.ndarray, where: str, unit: str) -> Fault | None:
    levels, span = _levels(values), int(values.max()) - int(values.min())
    fix = "use the raw 14- or 16-bit recording (turn AGC off); expect poor predictions from this"
    if unit == "agc8" or values.max() <= 255:
        return Fault("eight_bit", where, f"it has 8 bits, {levels} levels: contrast-stretched (AGC)", fix)
    if levels <= 256 and span > 4 * levels and len(values) > 2048:
        said = f"it is a 16-bit file with {levels} levels over {span} counts: 8 bits stretched"
        return Fault("eight_bit", where, said, fix)
    return None


def _levels(values: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(values.reshape(-1))))


def _equalised(values: np.ndarray, where: str) -> Fault | None:
    """Histogram equalisation leaves all levels equally frequent; scenes never are."""
    low, high = int(values.min()), int(values.max())
    if len(values) < 2048 or high - low < 64:
        return None
    counts = np.bincount(((values.astype(np.int64) - low) * 64) // (high - low + 1), minlength=64)
    distance = np.abs(np.cumsum(counts) / len(values) - np.arange(1, 65) / 64).max()
    # A ramp over the image is uniform too, but then one level holds few pixels of many.
    if distance > 0.03:
        return None
    return Fault(
        "equalised",
        where,
        f"its histogram is flat (at most {distance:.3f} from uniform): it was equalised",
        "use the raw recording: equalised grey values follow no temperature",
    )


def _saturated(values: np.ndarray, where: str) -> Fault | None:
    high, low = values.max(), values.min()
    top, bottom = float((values == high).mean()), float((values == low).mean())
    fix = "choose a wider gain mode, or mask what is so hot"
    if top > 0.005 and (int(high) in TOPS or top > 0.02):
        return Fault("saturated", where, f"{top:.1%} of its pixels are at the top, {int(high)}", fix)
    if bottom > 0.02:
        fix = "the range was cut when it was saved: keep all of it"
        return Fault("saturated", where, f"{bottom:.1%} of its pixels are at the bottom, {int(low)}", fix)
    return None


def telemetry_rows(frame: Frame, *, edge: int = 4) -> list[int]:
    """Rows at the top or bottom that hold data instead of an image, from the border inwards."""
    rough = np.abs(np.diff(frame.astype(np.int32), axis=1)).mean(axis=1)
    level = np.median(frame, axis=1).astype(np.float64)
    inner = slice(edge, len(frame) - edge)
    if len(frame) <= 4 * edge:
        return []
    usual = np.median(rough[inner]) + 1.0
    step = np.percentile(np.abs(np.diff(level[inner])), 99) + 4 * usual
    rows = []
    for order in (range(edge), range(len(frame) - 1, len(frame) - 1 - edge, -1)):
        inside = level[edge] if order[0] == 0 else level[-1 - edge]
        border = [row for row in order if rough[row] > 12 * usual or abs(level[row] - inside) > 12 * step]
        if border:  # every row from the border to the last odd one
            last = order.index(border[-1])
            rows += list(order[: last + 1])
    return sorted(rows)


def _telemetry(frame: Frame, where: str) -> Fault | None:
    rows = telemetry_rows(frame)
    if not rows:
        return None
    named = f"row {rows[0]}" if len(rows) == 1 else f"rows {', '.join(map(str, rows))}"
    return Fault(
        "telemetry_rows",
        where,
        f"{named} of {len(frame)} look like telemetry, not image",
        "mask them (--mask) or crop them off, K moved along",
    )


def noise(frame: Frame) -> float:
    """Standard deviation of a frame's pixel noise in counts (Immerkaer's mask, by the median)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(frame.astype(np.float32), -1, kernel)[1:-1, 1:-1]
    return float(np.median(np.abs(response)) / 0.6745 / 6)


def _low_contrast(frame: Frame, values: np.ndarray, where: str) -> Fault | None:
    low, high = np.percentile(values, [1, 99])
    grain = max(noise(frame), 0.3)  # a count's rounding is noise too
    if high - low > 8 * grain:
        return None
    return Fault(
        "low_contrast",
        where,
        f"98% of it lies within {high - low:.0f} counts, {(high - low) / grain:.1f} times its noise",
        "thermal crossover, fog or a fogged lens: do not trust what is read from it",
    )


def _stripes(frame: Frame, where: str) -> Fault | None:
    """Column-wise fixed pattern against what the same measure finds across rows."""
    image = frame.astype(np.float32)
    column = np.median(image - cv2.blur(image, (3, 1)), axis=0)[2:-2]
    row = np.median(image - cv2.blur(image, (1, 3)), axis=1)[2:-2]
    if column.size < 16 or row.size < 16:
        return None
    strong, usual = (float(np.median(np.abs(x)) / 0.6745 * 1.5**0.5) for x in (column, row))
    if strong < max(1.0, 0.5 * noise(frame), 3 * usual):
        return None
    return Fault(
        "column_stripes",
        where,
        f"its columns differ by {strong:.1f} counts (rows by {usual:.1f}): fixed pattern",
        "a flat-field correction (NUC) of the camera takes them away; training goes on with them",
    )


# Several frames.


def repeats(stack: Stack) -> Int[np.ndarray, " n"]:
    """Numbers of frames that are, bit for bit, the one before: noise alone makes that impossible."""
    same = [bool((a == b).all()) for a, b in itertools.pairwise(stack)]
    return np.flatnonzero(same) + 1


def frozen(frame: Frame, before: Frame, where: str) -> Fault | None:
    """A frame that is, bit for bit, the one before it."""
    if frame.shape != before.shape or not np.array_equal(frame, before):
        return None
    said = "it repeats the frame before: the camera froze (shutter correction, FFC)"
    return Fault("repeated", where, said, "its depth is that of the frame before; leave it out")


def _repeated(stack: Stack, where: str) -> Fault | None:
    frames = repeats(stack)
    if not len(frames):
        return None
    return Fault(
        "repeated",
        where,
        f"{len(frames)} of {len(stack)} frames repeat the one before, first frame {frames[0]}: the camera froze "
        "(shutter correction, FFC)",
        "they teach that nothing moves: leave them out",
    )


def _stretched(stack: Stack, where: str) -> Fault | None:
    """Every frame reaching exactly the same two limits was stretched to them, each by its own factor."""
    lows, highs = stack.min(axis=(1, 2)), stack.max(axis=(1, 2))
    if len(stack) < 4 or len(set(lows.tolist())) > 1 or len(set(highs.tolist())) > 1 or lows[0] == highs[0]:
        return None
    if (stack == highs[0]).mean() > 0.02:  # that is saturation
        return None
    return Fault(
        "stretched",
        where,
        f"all {len(stack)} frames span exactly {int(lows[0])} to {int(highs[0])}: each was stretched by itself",
        "use the raw recording: the same thing changes its grey value from frame to frame",
    )


def dead_pixels(stack: Stack, *, sigmas: float = 20.0) -> Mask:
    """Pixels far from their neighbours in every frame, alone or in pairs."""
    residual = np.stack([frame.astype(np.float32) - cv2.medianBlur(frame, 3) for frame in stack])
    typical = np.median(residual, axis=0)
    grain = np.median(np.abs(residual)) / 0.6745 + 0.5
    # An edge that stands still (a horizon, the bonnet) is far from its neighbours too, but along it many are: a
    # dead pixel is so alone, or with one or two others.
    size = np.abs(np.pad(typical, 2, mode="reflect"))
    h, w = typical.shape
    ring = [size[y : y + h, x : x + w] for y in range(5) for x in range(5) if (y, x) != (2, 2)]
    third = np.partition(np.stack(ring), -3, axis=0)[-3]
    steady = (np.sign(residual) == np.sign(typical)).mean(axis=0) > 0.9
    return steady & (np.abs(typical) > sigmas * grain + 4 * third)


def _dead(stack: Stack, where: str, valid: Mask | None) -> Fault | None:
    if len(stack) < 3 or (stack.max(axis=0) == stack.min(axis=0)).all():
        return None
    found = dead_pixels(stack)
    found = found if valid is None else found & valid
    count = int(found.sum())
    if not count:
        return None
    y, x = np.argwhere(found)[0].tolist()
    return Fault(
        "dead_pixels",
        where,
        f"{count} pixels stand apart from their neighbours in every frame, e.g. row {y}, column {x}",
        "they are few and harmless to training, or mask them (--mask)",
    )


# What comes with the frames.


def time_faults(timestamps_ns: Int[np.ndarray, " n"], where: str) -> list[Fault]:
    """Times that stand still or run back (grave), and gaps."""
    steps = np.diff(np.asarray(timestamps_ns, np.int64))
    if not len(steps):
        return []
    back = np.flatnonzero(steps <= 0)
    if len(back):
        said = f"the time does not advance at {len(back)} frames, first frame {back[0] + 1}"
        return [Fault("time_order", where, said, "sort the frames or mend the timestamps", grave=True)]
    long = gaps(timestamps_ns)
    if not len(long):
        return []
    said = (
        f"{len(long)} gaps in time, the first before frame {long[0]} ({steps[long[0] - 1] / 1e9:.2f} s, usual "
        f"{np.median(steps) / 1e9:.3f} s)"
    )
    return [Fault("time_gaps", where, said, "frames across a gap should not be paired")]


def gaps(timestamps_ns: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Numbers of the frames that come more than 2.5 usual intervals after the one before."""
    steps = np.diff(np.asarray(timestamps_ns, np.int64))
    return np.flatnonzero(steps > 2.5 * np.median(steps)) + 1 if len(steps) else np.zeros(0, np.int64)


def intrinsics_faults(K: Float[np.ndarray, "3 3"], size: tuple[int, int], where: str) -> list[Fault]:
    """K that no lens in front of such an image has; `size` is (height, width)."""
    (height, width), found = size, []
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    fix = "give K in pixels of the stored images (fx,fy,cx,cy); was it of another resolution?"
    if not (np.isfinite(K).all() and fx > 0 and fy > 0):
        return [Fault("intrinsics", where, f"fx={fx:g}, fy={fy:g} are no focal lengths", fix, grave=True)]
    if not (0 <= cx < width and 0 <= cy < height):
        said = f"the principal point ({cx:g}, {cy:g}) lies outside the {width}x{height} image"
        found.append(Fault("intrinsics", where, said, fix, grave=True))
    elif abs(cx - width / 2) > 0.2 * width or abs(cy - height / 2) > 0.2 * height:
        said = f"the principal point ({cx:g}, {cy:g}) is far from the middle of the {width}x{height} image"
        found.append(Fault("intrinsics", where, said, fix))
    degrees = 2 * np.degrees(np.arctan(width / (2 * fx)))
    if not 5 < degrees < 140:
        said = f"fx={fx:g} over {width} pixels is a field of view of {degrees:.1f} degrees"
        found.append(Fault("intrinsics", where, said, fix, grave=True))
    if not 0.8 < fx / fy < 1.25:
        found.append(
            Fault("intrinsics", where, f"fx={fx:g} and fy={fy:g}: pixels are seldom that oblong", fix)
        )
    return found


def size_fault(sizes: Sequence[tuple[int, int]], where: str) -> Fault | None:
    """Frames of one camera have one size."""
    kinds = sorted(set(sizes), key=list(sizes).count, reverse=True)
    if len(kinds) < 2:
        return None
    odd = next(i for i, size in enumerate(sizes) if size == kinds[1])
    said = f"frames of different sizes: {kinds[0]} and {kinds[1]} (frame {odd})"
    return Fault("mixed_sizes", where, said, "keep one size, or prepare them as two data sets", grave=True)
