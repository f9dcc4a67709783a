"""The index of a split: what its records are and where they lie; the sidecar file that keeps it.

`<split>.index.npz` beside the shards holds, per record, sequence, index, timestamp, condition, shard, offset,
length and CRC. It is a cache: one that is missing, or does not fit the shards' names and sizes, is made again
by reading the records.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from tdepth_jax.data import records, shards
from tdepth_jax.data.shards import BadShard, ShardReader

TABLE_FIELDS = ("sequence", "index", "timestamp_ns", "condition")


@dataclasses.dataclass(frozen=True)
class Index:
    """Arrays of one length, one entry per record, in order."""

    table: np.ndarray  # structured: sequence, index, timestamp_ns, condition
    shard: np.ndarray  # int32
    offset: np.ndarray  # int64: a byte offset (TFRecord), the record's number in its file (ArrayRecord)
    length: np.ndarray  # int64, bytes of data
    crc: np.ndarray  # uint32, CRC-32C of the data
    number: np.ndarray  # int32, the record's number in its file
    files: tuple[tuple[str, int], ...]  # the shards' names and sizes

    def __len__(self) -> int:
        return len(self.table)

    def first(self, sequences: int) -> Index:
        """The records of the first `sequences` of them, counted where their name changes."""
        names = self.table["sequence"]
        starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
        return self._rows(slice(int(starts[sequences]) if sequences < len(starts) else len(self)))

    def of_conditions(self, conditions: Collection[str]) -> Index:
        """The records of these conditions."""
        return self._rows(np.isin(self.table["condition"], sorted(conditions)))

    def _rows(self, which: Any) -> Index:
        arrays = {f.name: getattr(self, f.name)[which] for f in dataclasses.fields(self) if f.name != "files"}
        return dataclasses.replace(self, **arrays)

    def fingerprint(self) -> str:
        """A hash of the records' contents and order; the same for either file format."""
        digest = hashlib.sha256()
        for array in (self.table[name] for name in TABLE_FIELDS):
            text = array.dtype.kind == "U"
            digest.update("\0".join(array.tolist()).encode() if text else array.tobytes())
        digest.update(self.length.tobytes() + self.crc.tobytes())
        return digest.hexdigest()[:16]


def make_table(rows: Sequence[tuple[str, int, int, str]]) -> np.ndarray:
    """Rows of (sequence, index, timestamp_ns, condition) as a structured array."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    names, conditions = np.array(columns[0], np.str_), np.array(columns[3], np.str_)
    kinds = [
        ("sequence", names.dtype),
        ("index", np.int32),
        ("timestamp_ns", np.int64),
        ("condition", conditions.dtype),
    ]
    table = np.empty(len(rows), kinds)
    for name, column in zip(TABLE_FIELDS, (names, columns[1], columns[2], conditions), strict=True):
        table[name] = column
    return table


def row(frame: records.Frame) -> tuple[str, int, int, str]:
    return frame["sequence"], frame["index"], frame["timestamp_ns"], frame["condition"]


def data_crc(data: bytes) -> int:
    return google_crc32c.value(data)


def sidecar(folder: Path, split: str) -> Path:
    return folder / f"{split}.index.npz"


def save(index: Index, path: Path) -> None:
    """Writes the sidecar; one already there is replaced in one step."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".index-", suffix=".npz")
    os.close(descriptor)
    arrays: dict[str, Any] = {f"table_{name}": index.table[name] for name in TABLE_FIELDS}
    np.savez_compressed(
        temporary,
        **arrays,
        shard=index.shard,
        offset=index.offset,
        length=index.length,
        crc=index.crc,
        number=index.number,
        file_names=np.array([name for name, _ in index.files], np.str_),
        file_sizes=np.array([size for _, size in index.files], np.int64),
    )
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def load(path: Path, paths: Sequence[Path]) -> Index | None:
    """The sidecar, or None when it is missing, unreadable or of other shards."""
    try:
        with np.load(path) as stored:
            arrays = dict(stored)
        columns = [arrays[f"table_{name}"].tolist() for name in TABLE_FIELDS]
        names, sizes = arrays["file_names"].tolist(), arrays["file_sizes"].tolist()
        rest = {name: arrays[name] for name in ("shard", "offset", "length", "crc", "number")}
        files = tuple(zip(names, sizes, strict=True))
        table = make_table(list(zip(*columns, strict=True)))
    except Exception:  # zip, zlib and npy each have their own; a cache that cannot be read is no cache
        return None
    if files != file_sizes(paths) or any(len(array) != len(table) for array in rest.values()):
        return None
    return Index(table=table, files=files, **rest)


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
    kept, rows, lengths, crcs = [], [], [], []
    for i in range(len(shard)):
        try:
            data = reader.read(int(shard[i]), int(offset[i]), int(length[i]), int(number[i]))
            rows.append(row(check(data)))
        except BadShard as error:
            on_bad(error)
            continue
        except records.BadRecord as error:
            at = f" (byte offset {offset[i]})" if suffix == "tfrecord" else ""
            on_bad(BadShard(f"{paths[shard[i]]}: record {number[i]}{at}: {error}; {shards.MEND}"))
            continue
        kept.append(i)
        lengths.append(len(data))
        crcs.append(data_crc(data))
    return Index(
        make_table(rows),
        shard[kept],
        offset[kept],
        np.array(lengths, np.int64),
        np.array(crcs, np.uint32),
        number[kept],
        file_sizes(paths),
    )
