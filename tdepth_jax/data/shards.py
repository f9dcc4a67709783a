"""Shards of records in TFRecord and ArrayRecord files: one writer, one reader, either format."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdepth_jax.data import tfrecord
from tdepth_jax.errors import UserError

FORMATS = ("array_record", "tfrecord")
SHARD_BYTES = 256 * 2**20
OTHER_FILES = 1024  # that a process may have open besides its shards: the usual limit
MEND = "copy the file again, or prepare the data set again with --overwrite"


class BadShard(UserError):
    """A record, or the rest of a file, cannot be read; `skip_corrupt` may leave it out."""


def shard_name(dataset: str, split: str, suffix: str, shard: int, shards: int) -> str:
    """TFDS' file name, e.g. `world-train.array_record-00000-of-00002`."""
    return f"{dataset}-{split}.{suffix}-{shard:05d}-of-{shards:05d}"


class ShardWriter:
    """Writes the records of one split, in order, to as many shards as `shard_bytes` asks.

    A split without a record still gets one empty shard.
    """

    def __init__(
        self, folder: Path, dataset: str, split: str, suffix: str, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.folder, self.dataset, self.split, self.suffix = folder, dataset, split, suffix
        self.lengths: list[int] = []  # of the shards, in records
        self.bytes = 0
        self._shard_bytes = shard_bytes
        self._in_shard = 0
        self._file = self._open()

    def _part(self, shard: int) -> Path:
        return self.folder / f"{self.split}.part-{shard:05d}"

    def _open(self) -> Any:
        path = self._part(len(self.lengths))
        self.lengths.append(0)
        self._in_shard = 0
        if self.suffix == "tfrecord":
            return tfrecord.TFRecordWriter(path)
        from array_record.python import array_record_module

        return array_record_module.ArrayRecordWriter(str(path), "group_size:1,zstd:1")

    def write(self, data: bytes) -> dict[str, int]:
        """Returns where the record is: its shard, its number in that, and its offset (see `index.Index`)."""
        if self._in_shard and self._in_shard + len(data) > self._shard_bytes:
            self._file.close()
            self._file = self._open()
        offset, number = self._file.write(data), self.lengths[-1]
        self.lengths[-1] += 1
        self._in_shard += len(data)
        self.bytes += len(data)
        return {
            "shard": len(self.lengths) - 1,
            "number": number,
            "offset": number if offset is None else offset,
        }

    def finish(self) -> list[Path]:
        """Closes the files and gives them the names that their number decides."""
        self._file.close()
        n = len(self.lengths)
        paths = [self.folder / shard_name(self.dataset, self.split, self.suffix, i, n) for i in range(n)]
        for i, path in enumerate(paths):
            os.replace(self._part(i), path)
        return paths


class ShardReader:
    """Random access to records by (shard, offset, length). Picklable; opens files once per process, and keeps them
    open."""

    def __init__(self, paths: Sequence[Path], suffix: str) -> None:
        self.paths, self.suffix = tuple(paths), suffix
        _allow_open_files(len(self.paths))
        self._open: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "suffix": self.suffix}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["paths"], state["suffix"])  # type: ignore[misc]

    def __del__(self) -> None:
        for file in getattr(self, "_open", {}).values():
            if isinstance(file, int):
                os.close(file)

    def _file(self, shard: int) -> Any:
        file = self._open.get(shard)
        if file is None:
            with self._lock:
                if shard not in self._open:
                    self._open[shard] = open_shard(self.paths[shard], self.suffix)
                file = self._open[shard]
        return file

    def read(self, shard: int, offset: int, length: int, record: int) -> bytes:
        """The bytes of a record, checksums verified.

        Raises:
          BadShard: naming the file, the record's number in it and its byte offset.
        """
        file, path = self._file(shard), self.paths[shard]
        try:
            if self.suffix == "tfrecord":
                return tfrecord.read_at(file, offset, length)
            return file.read([offset])[0]
        except tfrecord.BadFraming as error:
            raise BadShard(f"{path}: record {record} (byte offset {error.offset}) {error}; {MEND}") from error
        except (RuntimeError, IndexError, ValueError) as error:
            raise BadShard(_riegeli_sentence(path, record, error)) from error


def _allow_open_files(count: int) -> None:
    """Raises this process's own limit to what `count` files more need, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES if hard == resource.RLIM_INFINITY else min(count + OTHER_FILES, hard)
    if soft not in (resource.RLIM_INFINITY, hard) and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS says "unlimited" of a limit that it has
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_shard(path: Path, suffix: str) -> Any:
    """A file descriptor (TFRecord) or a reader (ArrayRecord) of an existing file."""
    try:
        if suffix == "tfrecord":
            return os.open(path, os.O_RDONLY)
        from array_record.python import array_record_module

        os.stat(path)  # the reader itself says nothing of a missing file until it reads
        return array_record_module.ArrayRecordReader(
            str(path), "readahead_buffer_size:0", file_reader_buffer_size=32768
        )
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise UserError(
                f"{path}: cannot be opened, for this process may open no more files; raise its limit (ulimit -n) above "
                "the number of the data set's files"
            ) from error
        raise UserError(f"{path}: cannot be opened ({error.strerror}); {MEND}") from error


def _riegeli_sentence(path: Path, record: int, error: Exception) -> str:
    chunk = re.search(r"chunk at (\d+)", str(error)) or re.search(r"at byte (\d+)", str(error))
    where = f" (byte offset {chunk[1]})" if chunk else ""
    return f"{path}: record {record}{where} is corrupt: its checksum does not match; {MEND}"


def locate(
    paths: Sequence[Path], suffix: str, expected: Sequence[int], on_bad: Callable[[BadShard], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(shard, offset, length, number in its file) of every record, by looking into the files.

    `expected` are the shards' lengths that dataset_info.json states. Whatever is wrong goes to `on_bad`; when
    that returns, the records that can be found are kept. Lengths are 0 for ArrayRecord, which needs none.
    """
    found: list[np.ndarray] = []
    for shard, (path, wanted) in enumerate(zip(paths, expected, strict=True)):
        size = path.stat().st_size
        if suffix == "tfrecord":
            seen = tfrecord.scan(path)
            count = len(seen.offsets)
            found.append(np.stack([np.full(count, shard), seen.offsets, seen.lengths, np.arange(count)]))
            if seen.problem is not None:
                what = f"record {count} (byte offset {seen.problem.offset}) {seen.problem}"
                on_bad(BadShard(f"{path}: {what}; {MEND}"))
                continue
        else:
            count = open_shard(path, suffix).num_records()
            numbers = np.arange(count)
            found.append(np.stack([np.full(count, shard), numbers, np.zeros_like(numbers), numbers]))
        if count != wanted:
            if size == 0:
                what = f"is an empty file (0 bytes) where {wanted} records should be"
            elif suffix == "array_record" and count == 0:
                what = (
                    f"is no whole ArrayRecord file: of its {wanted} records none can be found, from record 0 "
                    f"(byte offset 0) to the end at byte {size}"
                )
            else:
                end = f" from record {count} (byte offset {size})" if suffix == "tfrecord" else ""
                what = (
                    f"holds {count} records where dataset_info.json says {wanted}; the rest{end} is missing"
                )
            on_bad(BadShard(f"{path}: {what}; {MEND}"))
    columns = np.concatenate([np.zeros((4, 0), np.int64), *found], axis=1)
    return columns[0].astype(np.int32), columns[1], columns[2], columns[3].astype(np.int32)
