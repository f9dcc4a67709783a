"""The TFRecord file format: length, masked CRC-32C of the length, data, masked CRC-32C of the data.

Reading is by offset (`os.pread`: any number of threads on one file descriptor); the offsets come from one
pass over the 12-byte headers. TensorFlow is not needed to read or to write.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from pathlib import Path

import google_crc32c
import numpy as np

HEADER_BYTES = 12
FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8


class BadFraming(ValueError):
    """Bytes that are no whole TFRecord. `offset` is where the record begins."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated right by 15 bits plus a constant: TFRecord's way."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def frame_bytes(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data)))
    )


class TFRecordWriter:
    """Appends records to a new file; `write` returns the byte offset at which the record begins."""

    def __init__(self, path: str | os.PathLike) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 (closed in close)
        self._offset = 0

    def write(self, data: bytes) -> int:
        at = self._offset
        framed = frame_bytes(data)
        self._file.write(framed)
        self._offset += len(framed)
        return at

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> TFRecordWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class Scan:
    """What one pass over a file found: up to the first broken header, if there is one."""

    offsets: np.ndarray  # int64 [n], where each record begins
    lengths: np.ndarray  # int64 [n], bytes of data
    crcs: np.ndarray  # uint32 [n], masked, as stored
    problem: BadFraming | None


def scan(path: str | os.PathLike) -> Scan:
    """The offset index of a file. Data is not read, so only headers are checked here."""
    size = Path(path).stat().st_size
    offsets: list[int] = []
    lengths: list[int] = []
    crcs: list[int] = []
    problem = None
    at = 0
    with open(path, "rb") as file:
        while at < size:
            try:
                length = _header(os.pread(file.fileno(), HEADER_BYTES, at), at)
                end = at + HEADER_BYTES + length
                footer = os.pread(file.fileno(), FOOTER_BYTES, end)
                if len(footer) < FOOTER_BYTES:
                    raise BadFraming(
                        at, f"is cut short: it needs {length + 16} bytes, the file has {size - at}"
                    )
            except BadFraming as error:
                problem = error
                break
            offsets.append(at)
            lengths.append(length)
            crcs.append(struct.unpack("<I", footer)[0])
            at = end + FOOTER_BYTES
    return Scan(np.array(offsets, np.int64), np.array(lengths, np.int64), np.array(crcs, np.uint32), problem)


def read_at(fd: int, offset: int, length: int) -> bytes:
    """The data of the record at `offset`, both checksums verified.

    Raises:
      BadFraming: a checksum is wrong, the length is another, or the file ends.
    """
    framed = os.pread(fd, HEADER_BYTES + length + FOOTER_BYTES, offset)
    stored = _header(framed[:HEADER_BYTES], offset)
    if stored != length:
        raise BadFraming(offset, f"is {stored} bytes long, but the index says {length}")
    if len(framed) < HEADER_BYTES + length + FOOTER_BYTES:
        raise BadFraming(offset, "is cut short")
    data = framed[HEADER_BYTES : HEADER_BYTES + length]
    if struct.unpack("<I", framed[-FOOTER_BYTES:])[0] != masked_crc(data):
        raise BadFraming(offset, "is corrupt: the CRC of its data does not match")
    return data


def _header(header: bytes, offset: int) -> int:
    if len(header) < HEADER_BYTES:
        raise BadFraming(offset, "is cut short inside its header")
    length, crc = struct.unpack("<QI", header)
    if masked_crc(header[:8]) != crc:
        raise BadFraming(
            offset, "is corrupt: the CRC of its length does not match (or this is no TFRecord file)"
        )
    return length
