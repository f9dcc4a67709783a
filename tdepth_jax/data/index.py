"""The index of a split: what its records are and where they lie; the sidecar file that keeps it.

`<split>.index.npz` beside the shards holds, per record, sequence, index, timestamp, condition, shard, offset,
length and CRC; sequences and conditions as numbers, with a list of their names. It is a cache: one that is missing,
or does not fit the shards' names and sizes, is made again by reading the records.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from tdepth_jax.data import records, shards
from tdepth_jax.data.shards import BadShard, ShardReader

Row = tuple[str, int, int, str]  # sequence, index, timestamp_ns, condition


@dataclasses.dataclass(frozen=True)
class Index:
    """Arrays of one length, one entry per record, in order: 44 bytes a record."""

    sequences: tuple[str, ...]  # names
    conditions: tuple[str, ...]
    sequence: np.ndarray  # int32, which of `sequences`
    index: np.ndarray  # int32, place within the sequence
    timestamp_ns: np.ndarray  # int64
    condition: np.ndarray  # int32, which of `conditions`
    shard: np.ndarray  # int32
    offset: np.ndarray  # int64: a byte offset (TFRecord), the record's number in its file (ArrayRecord)
    length: np.ndarray  # int32, bytes of data
    crc: np.ndarray  # uint32, CRC-32C of the data
    number: np.ndarray  # int32, the record's number in its file
    files: tuple[tuple[str, int], ...]  # the shards' names and sizes

    def __len__(self) -> int:
        return len(self.sequence)

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Structured array with names for numbers: sequence, index, timestamp_ns, condition. Made when first asked
        for: of long names it is several times as large as all else."""
        columns = {
            "sequence": np.array(self.sequences, np.str_)[self.sequence],
            "index": self.index,
            "timestamp_ns": self.timestamp_ns,
            "condition": np.array(self.conditions, np.str_)[self.condition],
        }
        table = np.empty(len(self), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            table[name] = column
        return table

    def first(self, sequences: int) -> Index:
        """The records of the first `sequences` of them, counted where their name changes."""
        starts = _starts(self.sequence)
        return self._rows(slice(int(starts[sequences]) if sequences < len(starts) else len(self)))

    def of_conditions(self, conditions: Collection[str]) -> Index:
        """The records of these conditions."""
        wanted = [i for i, name in enumerate(self.conditions) if name in conditions]
        return self._rows(np.isin(self.condition, wanted))

    def _rows(self, which: Any) -> Index:
        return dataclasses.replace(self, **{name: getattr(self, name)[which] for name in COLUMNS})

    def fingerprint(self) -> str:
        """A hash of the records' contents and order; the same for either file format."""
        digest = hashlib.sha256()
        parts: tuple[Iterable[Any], ...] = (
            _joined(self.sequences, self.sequence),
            (np.ascontiguousarray(column) for column in (self.index, self.timestamp_ns)),
            _joined(self.conditions, self.condition),
            (np.ascontiguousarray(column) for column in (self.length.astype(np.int64), self.crc)),
        )
        for piece in itertools.chain.from_iterable(parts):
            digest.update(piece)
        return digest.hexdigest()[:16]


COLUMNS = {
    "sequence": np.int32,
    "index": np.int32,
    "timestamp_ns": np.int64,
    "condition": np.int32,
    "shard": np.int32,
    "offset": np.int64,
    "length": np.int32,
    "crc": np.uint32,
    "number": np.int32,
}


def _starts(numbers: np.ndarray) -> np.ndarray:
    """Where runs of one number begin."""
    return np.flatnonzero(np.diff(numbers, prepend=-1))


def _joined(names: Sequence[str], numbers: np.ndarray) -> Iterator[bytes]:
    """The pieces of the names of all records, joined by a zero byte; a run of one name is one piece."""
    starts = _starts(numbers)
    lengths = np.diff(starts, append=len(numbers)).tolist()
    for start, length in zip(starts.tolist(), lengths, strict=True):
        name = names[numbers[start]].encode()
        yield (b"\0" if start else b"") + b"\0".join([name] * length)


class IndexWriter:
    """Makes an index record by record."""

    def __init__(self) -> None:
        self._sequences: dict[str, int] = {}
        self._conditions: dict[str, int] = {}
        self._columns = {name: array.array(np.dtype(kind).char) for name, kind in COLUMNS.items()}

    def __len__(self) -> int:
        return len(self._columns["sequence"])

    def add(self, row: Row, data: bytes, *, shard: int, offset: int, number: int) -> None:
        """`data` is the record; for the rest see `Index`."""
        sequence, index, timestamp_ns, condition = row
        values = (
            self._sequences.setdefault(sequence, len(self._sequences)), index, timestamp_ns,
            self._conditions.setdefault(condition, len(self._conditions)),
            shard, offset, len(data), data_crc(data), number,
        )  # fmt: skip
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def finish(self, paths: Sequence[Path]) -> Index:
        columns = {name: np.frombuffer(self._columns[name], kind) for name, kind in COLUMNS.items()}
        return Index(tuple(self._sequences), tuple(self._conditions), files=file_sizes(paths), **columns)


def row(frame: records.Frame) -> Row:
    return frame["sequence"], frame["index"], frame["timestamp_ns"], frame["condition"]


def data_crc(data: bytes) -> int:
    return google_crc32c.value(data)


def sidecar(folder: Path, split: str) -> Path:
    return folder / f"{split}.index.npz"


def save(index: Index, path: Path) -> None:
    """Writes the sidecar; one already there is replaced in one step."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".index-", suffix=".npz")
    os.close(descriptor)
    np.savez_compressed(
        temporary,
        **{name: getattr(index, name) for name in COLUMNS},
        sequences=np.array(index.sequences, np.str_),
        conditions=np.array(index.conditions, np.str_),
        file_names=np.array([name for name, _ in index.files], np.str_),
        file_sizes=np.array([size for _, size in index.files], np.int64),
    )
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def load(path: Path, paths: Sequence[Path]) -> Index | None:
    """The sidecar, or None when it is missing, unreadable or of other shards."""
    try:
        with np.load(path) as stored:
            columns = {name: stored[name].astype(kind, copy=False) for name, kind in COLUMNS.items()}
            sequences, conditions = tuple(stored["sequences"].tolist()), tuple(stored["conditions"].tolist())
            files = tuple(zip(stored["file_names"].tolist(), stored["file_sizes"].tolist(), strict=True))
    except Exception:  # zip, zlib and npy each have their own; a cache that cannot be read is no cache
        return None
    if files != file_sizes(paths) or len({len(column) for column in columns.values()}) > 1:
        return None
    return Index(sequences, conditions, **columns, files=files)


def file_sizes(paths: Sequence[Path]) -> tuple[tuple[str, int], ...]:
    return tuple((path.name, path.stat().st_size) for path in paths)


def rebuild(
    paths: Sequence[Path],
    suffix: str,
    expected: Sequence[int],
    on_bad: Callable[[BadShard], None],
    check: Callable[[bytes], records.Frame],
) -> Index:
    """Reads every record once. `check` turns its bytes into (at least) the header keys, or raises
    `BadRecord`; records that are bad go to `on_bad` and are left out when that returns."""
    shard, offset, length, number = shards.locate(paths, suffix, expected, on_bad)
    reader = ShardReader(paths, suffix)
    made = IndexWriter()
    for i in range(len(shard)):
        at = {"shard": int(shard[i]), "offset": int(offset[i]), "number": int(number[i])}
        try:
            data = reader.read(at["shard"], at["offset"], int(length[i]), at["number"])
            made.add(row(check(data)), data, **at)
        except BadShard as error:
            on_bad(error)
        except records.BadRecord as error:
            byte = f" (byte offset {offset[i]})" if suffix == "tfrecord" else ""
            on_bad(BadShard(f"{paths[shard[i]]}: record {number[i]}{byte}: {error}; {shards.MEND}"))
    return made.finish(paths)
