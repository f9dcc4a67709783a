"""FLIR radiometric JPEGs: the sensor's raw counts and its calibration, out of the file's APP1 segments.

The camera splits one FFF container over several APP1 segments, each with the head "FLIR\\0", a version byte, its
number and the number of the last. The container is a directory of 32-byte entries (type, offset, length) and the
records they point at; type 1 is the raw image (16-bit, plain or PNG) and type 32 the camera's constants.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt16

from tdepth_jax.thermal.radiometry import ZERO_CELSIUS, Air, Planck, air_transmission, celsius_from_counts

RAW_DATA, CAMERA_INFO = 1, 32


class BadFlir(ValueError):
    """The container is damaged or of an unknown kind. Whoever knows the file adds its name."""


@dataclasses.dataclass(frozen=True)
class Radiometric:
    """What a radiometric JPEG holds.

    Attributes:
      counts: raw sensor counts.
      planck: the camera's response.
      emissivity, reflected_celsius, air_celsius, metres, relative_humidity, window_transmission: what the
        operator had set when the picture was taken.
      air: coefficients of the air's absorption.
      camera: model name.
    """

    counts: UInt16[np.ndarray, "h w"]
    planck: Planck
    emissivity: float
    reflected_celsius: float
    air_celsius: float
    metres: float
    relative_humidity: float
    window_transmission: float
    air: Air
    camera: str

    def celsius(
        self, *, emissivity: float | None = None, reflected_celsius: float | None = None
    ) -> np.ndarray:
        """Surface temperatures float64 [h, w], with the operator's settings unless others are given."""
        # Camera and object with a window half-way, air before and behind it, as the open readers of these files
        # have it. The fit's sqrt(d) is not additive: one path of full length would give up to 0.5 K less at -68 °C.
        half = air_transmission(
            metres=self.metres / 2,
            celsius=self.air_celsius,
            relative_humidity=self.relative_humidity,
            air=self.air,
        )
        return celsius_from_counts(
            self.counts,
            self.planck,
            emissivity=self.emissivity if emissivity is None else emissivity,
            reflected_celsius=self.reflected_celsius if reflected_celsius is None else reflected_celsius,
            transmission=half**2 * self.window_transmission,
            air_celsius=self.air_celsius,
        )

    def facts(self) -> dict[str, Any]:
        """Everything but the counts, as JSON values."""
        facts = dataclasses.asdict(dataclasses.replace(self, counts=np.zeros((0, 0), np.uint16)))
        del facts["counts"]
        return facts


def radiometric(jpeg: bytes) -> Radiometric | None:
    """The radiometric data of a JPEG, or None when it is a plain picture.

    Raises:
      BadFlir: there is a FLIR container that cannot be read.
    """
    container = _container(jpeg)
    if container is None:
        return None
    found = {kind: data for kind, data in _records(container) if kind in (RAW_DATA, CAMERA_INFO)}
    if RAW_DATA not in found or CAMERA_INFO not in found:
        raise BadFlir("its FLIR data lacks the raw image or the camera's constants")
    try:
        return _join(_raw_counts(found[RAW_DATA]), found[CAMERA_INFO])
    except struct.error:
        raise BadFlir("its FLIR data is cut short") from None


def _container(jpeg: bytes) -> bytes | None:
    """The FFF container, joined from its segments in the order of their numbers."""
    parts: dict[int, bytes] = {}
    last = -1
    for marker, data in _segments(jpeg):
        if marker == 0xE1 and data[:5] == b"FLIR\0" and len(data) > 8:
            parts[data[6]], last = data[8:], data[7]
    if not parts:
        return None
    missing = set(range(last + 1)) - set(parts)
    if missing:
        raise BadFlir(f"{len(missing)} of the {last + 1} segments of its FLIR data are missing")
    return b"".join(parts[number] for number in sorted(parts))


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of every segment ahead of the picture itself."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield jpeg[at + 1], jpeg[at + 4 : at + 2 + length]
        at += 2 + length


def _records(container: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of the container's records. Cameras write the directory in either byte order."""
    if container[:4] not in (b"FFF\0", b"AFF\0") or len(container) < 64:
        raise BadFlir("its FLIR data does not start with the FFF head")
    order = ">" if 0 < int.from_bytes(container[20:24], "big") < 1000 else "<"
    start, count = struct.unpack_from(f"{order}II", container, 24)
    if start + 32 * count > len(container):
        raise BadFlir("its FLIR data is cut short in the directory")
    for number in range(count):
        kind, _, _, _, offset, length = struct.unpack_from(f"{order}HHIIII", container, start + 32 * number)
        if kind and offset + length > len(container):
            raise BadFlir(f"its FLIR data is cut short in record {number} (type {kind})")
        if kind:
            yield kind, container[offset : offset + length]


def _order(record: bytes) -> str:
    """Byte order of a record: its first short is 2 in the right one."""
    return "<" if record[:2] == b"\x02\x00" else ">"


def _raw_counts(record: bytes) -> UInt16[np.ndarray, "h w"]:
    order = _order(record)
    width, height = struct.unpack_from(f"{order}HH", record, 2)
    body = record[32:]
    if body[:8] == b"\x89PNG\r\n\x1a\n":
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype != np.uint16 or image.ndim != 2:
            raise BadFlir("the PNG of its raw image cannot be decoded as 16-bit grey")
        # PNG is big-endian; the cameras put their little-endian words into it as they are.
        image = image.byteswap()
    else:
        if len(body) < 2 * width * height:
            raise BadFlir("its raw image is cut short, or in a form other than plain 16-bit or PNG")
        image = np.frombuffer(body, f"{order}u2", width * height).reshape(height, width).astype(np.uint16)
    if image.shape != (height, width):
        raise BadFlir(f"its raw image is {image.shape}, its head says {(height, width)}")
    return image


def _join(counts: np.ndarray, info: bytes) -> Radiometric:
    order = _order(info)

    def floats(at: int, count: int = 1) -> tuple[float, ...]:
        return struct.unpack_from(f"{order}{count}f", info, at)

    emissivity, metres, reflected, air, _, window, _, humidity = floats(0x20, 8)
    (R1, B, F), (R2,) = floats(0x58, 3), floats(0x30C)
    (offset,) = struct.unpack_from(f"{order}i", info, 0x308)
    if not (R1 > 0 and B > 0 and R2 > 0 and 0 < emissivity <= 1):
        raise BadFlir(f"its constants are no calibration (R1={R1:g}, R2={R2:g}, B={B:g}, e={emissivity:g})")
    return Radiometric(
        counts=counts,
        planck=Planck(R=R1 / R2, B=B, F=F, O=-float(offset)),  # FLIR's own O is taken off, ours added
        emissivity=emissivity,
        reflected_celsius=reflected - ZERO_CELSIUS,
        air_celsius=air - ZERO_CELSIUS,
        metres=metres,
        relative_humidity=humidity if humidity <= 1 else humidity / 100,
        window_transmission=window if 0 < window <= 1 else 1.0,
        air=Air(*floats(0x70, 5)),
        camera=info[0xD4:0xF4].split(b"\0")[0].decode("latin-1").strip(),
    )
