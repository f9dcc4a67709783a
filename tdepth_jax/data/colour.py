"""Colour frames beside thermal ones: which belongs to which, what records keep of them, and what is wrong."""

from __future__ import annotations

import dataclasses
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from tdepth_jax.data import recordings
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, io, rgb_faults
from tdepth_jax.thermal.faults import Fault

TOLERANCE = 0.03  # seconds; about a frame of a 30 Hz camera
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
JPEG_HEAD, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclasses.dataclass(frozen=True)
class Paired:
    """Colour files of thermal frames, by number; frames without one are not in it. `how`: names, order or times."""

    files: Mapping[int, Path]
    how: str


def find(place: Path, thermal: Sequence[str]) -> dict[str, list[Path]]:
    """Colour files of every thermal recording in `thermal`: those of the folder of the same name below `place`.

    One recording and one folder need not share their name.

    Raises:
      UserError: no colour frames, or a recording without a folder.
    """
    below = recordings.folders(place, "--rgb")
    found = {name: [f for f in files if f.suffix.lower() in SUFFIXES] for name, files in below}
    found = {name: files for name, files in found.items() if files}
    if not found:
        raise UserError(f"--rgb={place} holds no colour frames ({', '.join(SUFFIXES)})")
    if len(thermal) == 1 and len(found) == 1:
        return {thermal[0]: next(iter(found.values()))}
    top = (place.parent if "*" in place.name else place).resolve().name
    found = {name or top: files for name, files in found.items()}
    if len(found) == 1 and set(thermal).isdisjoint(found):
        raise UserError(
            f"--rgb={place} is one sequence, --raw holds {len(thermal)}; give a folder with one sub-folder for each"
        )
    lacking = [name for name in thermal if name not in found]
    if lacking:
        raise UserError(
            f"--rgb={place} has no frames for {len(lacking)} of {len(thermal)} sequences, the first is {lacking[0]!r}; "
            "name its sub-folders as those of --raw"
        )
    return {name: found[name] for name in thermal}


def by_name_or_order(
    thermal: Sequence[str], colour: Sequence[str], files: Sequence[Path], where: str
) -> Paired:
    """Pairs of equal names; of equally many frames none of which share a name, pairs of equal place.

    Args:
      thermal, colour: names of the frames, as `recordings.key` makes them; `files` belong to `colour`.

    Raises:
      UserError: some names are shared and some are not, or the numbers of frames differ.
    """
    twice = next((name for i, name in enumerate(colour) if i and name == colour[i - 1]), None)
    by_name = dict(zip(colour, files, strict=True))
    lacking = [name for name in thermal if name not in by_name]
    if not lacking and len(set(thermal)) == len(thermal):
        if twice is not None:
            raise UserError(f"{where}: two colour frames are called {twice!r}; leave one out")
        return Paired({i: by_name[name] for i, name in enumerate(thermal)}, "names")
    if len(lacking) == len(thermal) and len(thermal) == len(files):
        return Paired(dict(enumerate(files)), "order")
    times = "or pair them by time (--timestamps and --rgb-timestamps)"
    if not lacking:
        raise UserError(f"{where}: several thermal frames have one name; name them apart, {times}")
    if len(lacking) < len(thermal):
        raise UserError(
            f"{where}: {len(lacking)} of {len(thermal)} thermal frames have no colour frame of the same name, the "
            f"first is {lacking[0]!r}; name partners alike, {times}"
        )
    raise UserError(
        f"{where}: {len(thermal)} thermal frames, but {len(files)} colour frames, and no name is in both; leave out "
        f"those without a partner, {times}"
    )


def by_time(
    thermal_ns: Int[np.ndarray, " n"],
    colour_ns: Int[np.ndarray, " m"],
    files: Sequence[Path],
    where: str,
    *,
    tolerance: float,
) -> tuple[Paired, list[Fault]]:
    """Every thermal frame with the colour frame nearest in time, if that is at most `tolerance` seconds away.

    A colour frame may serve several thermal ones. Thermal frames without one are left out, and said.

    Raises:
      UserError: the colour times do not advance, or no frame has a partner.
    """
    wrong = [f for f in faults.time_faults(colour_ns, f"{where}, RGB") if f.grave]
    if wrong:
        raise UserError(str(wrong[0]))
    after = np.clip(np.searchsorted(colour_ns, thermal_ns), 1, max(len(colour_ns) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(colour_ns) - 1)
    nearer = np.abs(colour_ns[after] - thermal_ns) < np.abs(colour_ns[before] - thermal_ns)
    nearest = np.where(nearer, after, before)
    away = np.abs(colour_ns[nearest] - thermal_ns) / 1e9
    found = {i: files[int(nearest[i])] for i in np.flatnonzero(away <= tolerance).tolist()}
    if not found:
        raise UserError(
            f"{where}: no thermal frame has a colour frame within {tolerance:g} s, the nearest is {away.min():.3g} s "
            "away; are both on one clock? Else give a larger --rgb-tolerance"
        )
    alone = len(thermal_ns) - len(found)
    said = f"{alone} of {len(thermal_ns)} frames have no colour frame within {tolerance:g} s"
    unpaired = [Fault("rgb_unpaired", where, said, "they are left out")] if alone else []
    return Paired(found, "times"), unpaired


def read(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The decoded frame, red first.

    Raises:
      UserError: missing, damaged, or not of 8 bits.
    """
    data = io.file_bytes(path)
    if data[:2] == JPEG_HEAD and data.rfind(JPEG_END) < len(data) // 2:  # decoders paint the rest grey
        raise UserError(f"{path} is cut short: the JPEG ends after {len(data)} bytes; copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path} cannot be decoded as a colour frame; give PNG or JPEG")
    if image.dtype != np.uint8:
        raise UserError(
            f"{path} holds {image.dtype} values, a colour frame has 8 bits a channel; are --raw and --rgb swapped?"
        )
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def stored(path: Path) -> bytes | UInt8[np.ndarray, "h w 3"]:
    """What a record keeps: the bytes of a PNG or JPEG as they are, else pixels."""
    data = io.file_bytes(path)
    return data if data[:8] == io.PNG_HEAD or data[:2] == JPEG_HEAD else read(path)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What reading a recording's colour frames showed: their one size, and frames of it by thermal number."""

    size: tuple[int, int]
    spread: Mapping[int, np.ndarray]
    repeated: int


def look(paired: Paired, wanted: Sequence[int], where: str) -> Seen:
    """Opens every colour frame once and keeps those of the thermal frames `wanted`.

    Raises:
      UserError: a file that cannot be read, or frames of different sizes.
    """
    from tqdm import tqdm

    sizes, spread, repeated, previous = [], {}, 0, None
    keep = set(wanted)
    for number, path in tqdm(
        paired.files.items(), f"checking RGB of {where}", file=sys.stderr, disable=not sys.stderr.isatty()
    ):
        frame = read(path)
        sizes.append(frame.shape[:2])
        found = (path, zlib.crc32(frame.tobytes()))
        repeated += previous is not None and previous[0] != path and previous[1] == found[1]
        previous = found
        if number in keep:
            spread[number] = frame
    fault = faults.size_fault(sizes, f"{where}, RGB")
    if fault:
        raise UserError(str(fault))
    return Seen(sizes[0], spread, repeated)


def faults_of(seen: Seen, where: str) -> list[Fault]:
    """Grey or blank frames, and a camera that froze."""
    found = rgb_faults.colour_faults(list(seen.spread.values()), f"{where}, RGB")
    if seen.repeated:
        said = f"{seen.repeated} colour frames repeat the one before (the camera froze, or is slower than its files)"
        found.append(
            Fault("rgb_repeated", f"{where}, RGB", said, "they show another moment than their thermal frame")
        )
    return found
