"""Thermal images from files with every level kept, and depth maps as 16-bit PNG.

`read` takes 16-bit PNG, TIFF (one image or a stack; 16-bit counts or float temperatures), `.npy`, FLIR radiometric
JPEG, PGM, and 8-bit pictures, which it marks as such. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tdepth_jax.errors import UserError
from tdepth_jax.thermal import flir, radiometry

SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".jpg", ".jpeg", ".pgm", ".bmp")
UNITS = ("raw", "centikelvin", "celsius", "agc8")
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
DEPTH_SCALE_KEY, DEPTH_UNITS_KEY = "depth_scale", "depth_units"


@dataclasses.dataclass(frozen=True)
class Thermal:
    """The frames of one file.

    Attributes:
      pixels: uint16 counts [t, h, w], bit for bit those of the file; or float32 °C when unit is "celsius".
      unit: "raw" counts, "centikelvin" (counts of 0.01 K), "celsius", or "agc8": 8 bits, temperatures lost.
      source: the file.
      facts: what the file says of the camera ("camera", "planck", "emissivity", ...).
      notes: one sentence for everything that had to be assumed.
    """

    pixels: Shaped[np.ndarray, "t h w"]
    unit: str
    source: Path
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def counts(self) -> UInt16[np.ndarray, "t h w"]:
        """Counts as records and networks take them.

        Counts of the file are passed on as they are. Temperatures become the counts of a FLIR A65 (about 70
        counts per kelvin at 20 °C, fine enough for any camera's noise).
        """
        if self.unit != "celsius":
            return self.pixels
        return np.clip(np.rint(radiometry.counts_from_celsius(self.pixels)), 0, 65535).astype(np.uint16)

    def celsius(self, planck: radiometry.Planck | None = None) -> Float[np.ndarray, "t h w"]:
        """Temperatures in °C; raw counts need the camera's constants, from the file or given here.

        Raises:
          UserError: raw counts without constants, or an 8-bit picture.
        """
        if self.unit == "celsius":
            return self.pixels.astype(np.float64)
        if self.unit == "centikelvin":
            return radiometry.celsius_from_centikelvin(self.pixels)
        if self.unit == "agc8":
            raise UserError(
                f"{self.source} has 8 bits only; its temperatures are lost, use the raw recording"
            )
        if planck is None and "radiometric" in self.facts:
            return self.facts["radiometric"].celsius()[None]
        if planck is None:
            raise UserError(f"{self.source} has raw counts; give the camera's Planck constants for °C")
        return radiometry.celsius_from_counts(self.pixels, planck)


def read(path: str | os.PathLike, *, unit: str | None = None) -> Thermal:
    """Reads one image or stack.

    Args:
      path: the file.
      unit: what 16-bit values are, "raw" (the default) or "centikelvin"; what floats are, "celsius",
        "kelvin" or "raw" (told apart by their range when None).

    Raises:
      UserError: the file is missing, damaged, of an unknown kind, or has no single thermal channel.
    """
    path = Path(path)
    data = file_bytes(path)
    facts: dict[str, Any] = {}
    if data[:8] == PNG_HEAD:
        array = _opencv(path, data, "PNG")
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        array = _tiff(path, data)
    elif data[:6] == b"\x93NUMPY":
        array = _npy(path, data)
    elif data[:2] == b"\xff\xd8":
        array, facts = _jpeg(path, data)
    elif data[:2] in (b"P5", b"P2", b"BM"):
        array = _opencv(path, data, "PGM or BMP")
    else:
        raise UserError(
            f"{path} is no image that can be read (its first bytes are {data[:8]!r}); give 16-bit PNG or TIFF, "
            ".npy, or FLIR radiometric JPEG"
        )
    stack, notes = _one_channel(path, array)
    return _as_thermal(path, stack, unit, facts, notes)


def file_bytes(path: Path) -> bytes:
    """A file's bytes; of a PNG every chunk is checked.

    Raises:
      UserError: missing, empty, or a PNG that is cut short or damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if not data:
        raise UserError(f"{path} is empty (0 bytes); copy it again")
    if data[:8] == PNG_HEAD:
        _check_png(path, data)
    return data


def _check_png(path: Path, data: bytes) -> None:
    """Every chunk whole and right: decoders fill what is missing with zeros and say nothing."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise UserError(f"{path} is damaged: a PNG chunk at byte {at} fails its checksum; copy it again")
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end
    raise UserError(f"{path} is cut short: the PNG ends after {len(data)} bytes; copy it again")


def png_bytes(path: Path) -> bytes:
    """The bytes of a PNG file as they are, every chunk checked: for records, which keep them unchanged.

    Raises:
      UserError: missing, empty, cut short, damaged, or no PNG.
    """
    data = file_bytes(path)
    if data[:8] != PNG_HEAD:
        raise UserError(f"{path} is no PNG (its first bytes are {data[:8]!r}); copy or unpack it again")
    return data


def _opencv(path: Path, data: bytes, kind: str) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path} cannot be decoded as {kind}; copy it again")
    return image


def _tiff(path: Path, data: bytes) -> np.ndarray:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong, the error says
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if not file.series:
                raise ValueError("it holds no page")
            if len(file.series) > 1:
                shapes = sorted({series.shape for series in file.series})
                if len(shapes) > 1:
                    raise UserError(
                        f"{path} has pages of different sizes, {shapes}; split it into one file each"
                    )
                return np.stack([series.asarray() for series in file.series])
            return file.asarray()
    except UserError:
        raise
    except Exception as error:
        if "imagecodecs" in str(error):  # LZW and the like, which OpenCV unpacks
            done, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if done and len({page.shape for page in pages}) == 1:
                return np.stack(pages) if len(pages) > 1 else pages[0]
        raise UserError(
            f"{path} cannot be decoded as TIFF ({error}); copy it again or save it anew"
        ) from error


def _npy(path: Path, data: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as .npy ({error}); save it with numpy.save") from error


def _jpeg(path: Path, data: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        found = flir.radiometric(data)
    except flir.BadFlir as error:
        raise UserError(f"{path}: {error}; export it again from the camera") from error
    if found is None:
        return _opencv(path, data, "JPEG"), {}
    return found.counts, {"radiometric": found, **found.facts()}


def _one_channel(path: Path, array: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """[t, h, w] of what a reader gave; colours, alpha and a last axis of 1 are dealt with here."""
    notes: tuple[str, ...] = ()
    if array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim in (3, 4) and array.shape[-1] in (3, 4) and min(array.shape[-3:-1]) > 4:
        colours = array[..., :3]
        if (colours == colours[..., :1]).all():
            array = colours[..., 0]
        elif array.dtype == np.uint8:
            array = np.rint(colours.mean(-1)).astype(np.uint8)
            notes = (f"{path} is a colour picture: its brightness is used, which follows no temperature",)
        else:
            raise UserError(f"{path} has {array.shape[-1]} different channels; give the one thermal channel")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UserError(f"{path} has the shape {array.shape}; wanted one image (h, w) or a stack (t, h, w)")
    return (array if array.ndim == 3 else array[None]), notes


def _as_thermal(
    path: Path, stack: np.ndarray, unit: str | None, facts: dict[str, Any], notes: tuple[str, ...]
) -> Thermal:
    if stack.dtype == np.bool_ or not np.issubdtype(stack.dtype, np.number) or np.iscomplexobj(stack):
        raise UserError(f"{path} holds {stack.dtype} values; wanted 16-bit counts or float temperatures")
    if np.issubdtype(stack.dtype, np.floating):
        return _of_floats(path, stack, unit, facts, notes)
    if stack.dtype == np.uint8:
        return Thermal(stack.astype(np.uint16), "agc8", path, facts, notes)
    low, high = int(stack.min()), int(stack.max())
    if low < 0 or high > 65535:
        raise UserError(f"{path} holds values from {low} to {high}; counts lie in 0..65535")
    if unit not in (None, "raw", "centikelvin"):
        raise UserError(f"{path} holds whole numbers; their unit is raw or centikelvin, not {unit}")
    # astype also brings big-endian files into this machine's order; the values stay.
    return Thermal(np.ascontiguousarray(stack.astype(np.uint16)), unit or "raw", path, facts, notes)


def _of_floats(
    path: Path, stack: np.ndarray, unit: str | None, facts: dict[str, Any], notes: tuple[str, ...]
) -> Thermal:
    bad = ~np.isfinite(stack)
    if bad.any():
        t, y, x = np.argwhere(bad)[0].tolist()
        raise UserError(
            f"{path} holds NaN or infinity in {int(bad.sum())} pixels (first: frame {t}, row {y}, column {x}); "
            "fill them, or save the raw counts instead"
        )
    low, middle, high = float(stack.min()), float(np.median(stack)), float(stack.max())
    if unit is None:
        if (stack == np.rint(stack)).all() and low >= 0 and 400 < high <= 65535:
            unit = "raw"
        elif low >= -150 and high <= 2000 and middle < 150:
            unit = "celsius"
        elif low >= 120 and high <= 2300:
            unit = "kelvin"
        else:
            raise UserError(
                f"{path} holds floats from {low:g} to {high:g}, which are neither °C nor kelvin nor counts; "
                "name their unit"
            )
        if unit != "raw":
            notes = (*notes, f"{path} holds floats from {low:.1f} to {high:.1f}: read as {unit}")
    if unit in ("raw", "centikelvin"):
        if low < 0 or high > 65535 or (stack != np.rint(stack)).any():
            raise UserError(f"{path} holds floats from {low:g} to {high:g}, which are no whole counts")
        return Thermal(stack.astype(np.uint16), unit, path, facts, notes)
    if unit not in ("celsius", "kelvin"):
        raise UserError(f"{path} holds floats; their unit is celsius, kelvin or raw, not {unit}")
    celsius = stack.astype(np.float64) - (radiometry.ZERO_CELSIUS if unit == "kelvin" else 0.0)
    return Thermal(celsius.astype(np.float32), "celsius", path, facts, notes)


# Folders of frames.


def natural_key(path: str | os.PathLike) -> list[tuple[int, int, str]]:
    """Sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order; hidden files are not looked at."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    return sorted((p for p in files if p.is_file()), key=lambda p: natural_key(p.name))


def usable(
    size: tuple[int, int], *, mask: Path | None = None, bottom: float | None = None
) -> Bool[np.ndarray, "h w"] | None:
    """Where a camera's pixels are usable, or None for everywhere.

    Args:
      size: (height, width) of the frames.
      mask: an image of that size, white (not 0) = usable.
      bottom: share of the height, at the bottom, that is the vehicle itself.

    Raises:
      UserError: a mask of another size or all black; a share that is none.
    """
    if bottom is not None:
        if not 0 < bottom < 1:
            raise UserError(f"--mask-bottom={bottom:g}: it is a share of the height, between 0 and 1")
        valid = np.ones(size, bool)
        valid[size[0] - round(bottom * size[0]) :] = False
        return valid
    if mask is None:
        return None
    image = read(mask).pixels[0]
    if image.shape != size:
        raise UserError(f"{mask} is {image.shape[1]}x{image.shape[0]}, the frames are {size[1]}x{size[0]}")
    if not image.any():
        raise UserError(f"{mask} is black all over: nothing would be usable; usable pixels are white")
    return image > 0


# Depth maps.


def write_depth_png(
    file: str | os.PathLike | io.BytesIO,
    depth: Float[np.ndarray, "h w"],
    *,
    mask: Bool[np.ndarray, "h w"] | None = None,
    per_metre: float = 256.0,
    text: Mapping[str, str] | None = None,
) -> None:
    """uint16 PNG of metres * `per_metre`, 0 = none; the scale stands in a text chunk.

    What is not finite, masked, or beyond 65535 / per_metre metres is 0: a clipped depth would be false. Depth
    that would round to 0 is stored as 1.
    """
    with np.errstate(invalid="ignore"):
        known = np.isfinite(depth) & (depth > 0)
        units = np.rint(np.where(known, depth, 0).astype(np.float64) * per_metre)
    known &= units <= 65535
    if mask is not None:
        known &= np.asarray(mask, bool)
    values = np.where(known, np.maximum(units, 1), 0).astype(np.uint16)
    info = PngInfo()
    info.add_text(DEPTH_SCALE_KEY, repr(1.0 / per_metre))
    info.add_text(DEPTH_UNITS_KEY, "metres = value * depth_scale; 0 = none")
    for key, value in (text or {}).items():
        info.add_text(key, value)
    Image.fromarray(values).save(file, format="PNG", pnginfo=info)


def read_depth_png(
    path: str | os.PathLike, *, scale: float | None = None
) -> tuple[Float[np.ndarray, "h w"], float]:
    """(metres float32 [h, w] with 0 = none, metres per unit) of a 16-bit depth PNG.

    Args:
      scale: metres per unit for files that do not say it. It is never guessed.

    Raises:
      UserError: no 16-bit PNG, or a file without its scale and none given.
    """
    path = Path(path)
    data = file_bytes(path)
    if data[:8] != PNG_HEAD:
        raise UserError(f"{path} is no PNG; depth is read from 16-bit PNG")
    values = _opencv(path, data, "PNG")
    if values.dtype != np.uint16 or values.ndim != 2:
        raise UserError(f"{path} is {values.dtype} {values.shape}; depth is a 16-bit PNG of one channel")
    if scale is None:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            written = image.info.get(DEPTH_SCALE_KEY)
        if written is None:
            raise UserError(f"{path} does not say its scale; give it (1/256 for metres * 256, 0.001 for mm)")
        scale = float(written)
    return values.astype(np.float32) * np.float32(scale), scale
