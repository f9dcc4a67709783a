"""Prepared records on disk, by number: `open_split` gives a `FrameSource`, whatever the file format."""

from __future__ import annotations

import contextlib
import json
import pkgutil
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdepth_jax.data import index as index_file
from tdepth_jax.data import records
from tdepth_jax.data.index import Index
from tdepth_jax.data.shards import FORMATS, MEND, BadShard, ShardReader, shard_name
from tdepth_jax.errors import UserError, nearest

VERSION = r"\d+\.\d+\.\d+"
PARTS = ("radar/", "condition/")  # keys that are parts of others


class FrameSource:
    """The frames of one split in order: `source[i]` is a frame dict (see `records`).

    Attributes:
      name, split: of the data set.
      table: structured array, one row per frame: sequence, index, timestamp_ns, condition. Large, and made when first
        asked for; training does without.
      features: the keys that its frames have.
      metadata: the data set's facts (sensor, depth_scale, radar_columns, label_names, conditions).
      fingerprint: a hash of the records; the same for either file format.
      skipped: one sentence for every record left out by `skip_corrupt`.

    Thread-safe and picklable: a copy in another process opens the files for itself.
    """

    def __init__(
        self,
        *,
        name: str,
        split: str,
        features: frozenset[str],
        metadata: dict[str, Any],
        index: Index,
        reader: ShardReader,
        skipped: Sequence[str] = (),
    ) -> None:
        self.name, self.split, self.features, self.metadata = name, split, features, metadata
        self.skipped = tuple(skipped)
        self.fingerprint = index.fingerprint()
        self._index, self._reader = index, reader

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"FrameSource({self.name}/{self.split}, {len(self)} frames, {self._reader.suffix})"

    @property
    def table(self) -> np.ndarray:
        return self._index.table

    @property
    def places(self) -> np.ndarray:
        """int32, the frames' places within their sequences."""
        return self._index.index

    def sequence(self, i: int) -> str:
        """The name of frame `i`'s sequence."""
        return self._index.sequences[self._index.sequence[i]]

    def snippet_centres(self, offsets: Sequence[int]) -> np.ndarray:
        """See `snippet_centres`."""
        return snippet_centres({"sequence": self._index.sequence, "index": self._index.index}, offsets)

    def __getitem__(self, i: int) -> records.Frame:
        return self.read(i)

    def read(self, i: int, keys: Collection[str] | None = None) -> records.Frame:
        """Frame `i`; only `keys` are decoded (all when None).

        Raises:
          IndexError: i is not in [0, len).
          UserError: the record is corrupt, or a key is not in the data set.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"frame {i} of {len(self)}")
        if keys is not None:
            self.require(keys)
        try:
            return _decode(self.raw(i), records.stored(keys), self.metadata)
        except records.BadRecord as error:
            raise UserError(f"{self.where(i)}: {error}; {MEND}") from error

    def raw(self, i: int) -> bytes:
        """The serialized Example of frame `i`, its checksums verified: the file's and the index's."""
        at = self._index
        data = self._reader.read(int(at.shard[i]), int(at.offset[i]), int(at.length[i]), int(at.number[i]))
        if index_file.data_crc(data) != at.crc[i]:
            sidecar = index_file.sidecar(self._reader.paths[at.shard[i]].parent, self.split.split(":")[0])
            raise UserError(
                f"{self.where(i)} is not the one that the index was made of; delete {sidecar}, it is made again"
            )
        return data

    def where(self, i: int) -> str:
        """File, number in the file and byte offset of frame `i`, for error messages."""
        at = self._index
        offset = f" (byte offset {at.offset[i]})" if self._reader.suffix == "tfrecord" else ""
        return f"{self._reader.paths[at.shard[i]]}: record {at.number[i]}{offset}"

    def image_size(self, camera: str) -> tuple[int, int]:
        """(height, width) of the camera's image in the first frame."""
        self.require({f"{camera}/image"})
        if not len(self):
            raise UserError(f"{self.name}/{self.split} holds no frames; prepare it again with --overwrite")
        return records.image_size(self.raw(0), f"{camera}/image")

    def require(self, keys: Collection[str]) -> None:
        """Raises `UserError` naming the keys that the data set has not."""
        absent = sorted(set(keys) - self.features)
        if absent:
            raise UserError(
                f"the data set {self.name} has no {', '.join(absent)}; it has "
                f"{', '.join(k for k in sorted(self.features - set(records.HEADER)) if not k.startswith(PARTS))}"
            )


def _conditions(split: str) -> tuple[str, tuple[str, ...]]:
    """("train", ("day", "night")) of "train:day+night"."""
    name, colon, words = split.partition(":")
    return name, tuple(words.split("+")) if colon else ()


def _decode(data: bytes, keys: Collection[str] | None, metadata: dict[str, Any]) -> records.Frame:
    return records.decode(
        data,
        keys,
        depth_scale=metadata.get("depth_scale", records.DEPTH_SCALE),
        radar_columns=len(metadata.get("radar_columns", ())),
    )


def open_split(
    root: str | Path, split: str, *, skip_corrupt: bool = False, sequences: int = 0
) -> FrameSource:
    """Opens a split of a prepared data set.

    Args:
      root: `data/<name>`, or the version folder in it; of several versions the newest is taken.
      split: e.g. "train"; "train:day+night" is of the train split the frames of these conditions.
      skip_corrupt: leave out records that cannot be read or decoded, and shards that are missing, listing
        them in `.skipped`. Every record is then read once at opening, so that numbers do not move later.
      sequences: only the first so many of the split; 0 = all.

    Raises:
      UserError: no such data set, split or condition; a shard missing, empty, truncated or of another format; a
        record corrupt (when the index has to be made again; otherwise reading that record says so).
    """
    whole, split, conditions = split, *_conditions(split)
    folder = dataset_folder(Path(root))
    name, suffix, counts = _read_info(folder / "dataset_info.json")
    features = _read_json(folder / "features.json")
    metadata = _read_json(folder / "metadata.json")
    if suffix not in FORMATS:
        raise UserError(f"{folder}: its records are {suffix}; readable are {' and '.join(FORMATS)}")
    if split not in counts:
        raise UserError(f"{folder} has no split {split!r}; it has {', '.join(counts) or 'none'}")
    described = features.get("featuresDict")
    keys = frozenset(described.get("features", ()) if isinstance(described, dict) else ())
    if not keys & {"thermal/image", "rgb/image"}:
        raise UserError(
            f"{folder} is not in this project's record schema (no thermal/image and no rgb/image in features.json); "
            "prepare it with `tdepth prepare`"
        )
    if "radar" in keys:
        keys |= {"radar/valid", *(f"radar/{name}" for name in metadata.get("radar_columns", ()))}
    keys |= {f"condition/{name}" for name in metadata.get("conditions", ())}

    expected = counts[split]
    paths = [folder / shard_name(name, split, suffix, i, len(expected)) for i in range(len(expected))]
    skipped: list[str] = []

    def on_bad(error: BadShard) -> None:
        if not skip_corrupt:
            raise error
        skipped.append(str(error))

    present = []
    for path, count in zip(paths, expected, strict=True):
        if path.is_file():
            present.append((path, count))
        else:
            on_bad(BadShard(f"{path}: the file is missing, and with it {count} records; {MEND}"))
    paths, expected = [path for path, _ in present], [count for _, count in present]
    index = _open_index(folder, split, paths, suffix, expected, on_bad, metadata, skip_corrupt)
    if conditions:
        for word in set(conditions) - set(there := index.conditions):
            raise UserError(
                f"{folder}: no frame of {split} is of the condition {word!r} ({whole}); {nearest(word, set(there))}"
            )
        index = index.of_conditions(conditions)
    return FrameSource(
        name=name,
        split=whole,
        features=keys,
        metadata=metadata,
        index=index.first(sequences) if sequences else index,
        reader=ShardReader(paths, suffix),
        skipped=skipped,
    )


def _open_index(
    folder: Path,
    split: str,
    paths: list[Path],
    suffix: str,
    expected: list[int],
    on_bad: Any,
    metadata: dict[str, Any],
    skip_corrupt: bool,
) -> Index:
    if skip_corrupt:  # every image is decoded: what is left can be relied upon
        return index_file.rebuild(paths, suffix, expected, on_bad, lambda data: _decode(data, None, metadata))
    path = index_file.sidecar(folder, split)
    index = index_file.load(path, paths)
    if index is None:
        header = frozenset(records.HEADER)
        index = index_file.rebuild(
            paths, suffix, expected, on_bad, lambda data: _decode(data, header, metadata)
        )
        with contextlib.suppress(OSError):  # a read-only folder: the index is made again next time
            index_file.save(index, path)
    return index


def dataset_folder(root: Path) -> Path:
    """The version folder of `data/<name>` that holds the finished data set, or a `UserError`."""
    if "://" in str(root) or re.match(r"^\w+:/", str(root)):
        raise UserError(f"{root}: records are read from a local folder; copy or mount it (gcsfuse for gs://)")
    if (root / "dataset_info.json").is_file():
        return root
    versions = [
        path
        for path in (root.iterdir() if root.is_dir() else ())
        if re.fullmatch(VERSION, path.name) and (path / "dataset_info.json").is_file()
    ]
    if versions:
        return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))
    if root.is_dir() and re.fullmatch(VERSION, root.name):
        raise UserError(
            f"{root / 'dataset_info.json'} is missing; prepare the data set again with --overwrite"
        )
    how = f"prepare it with `tdepth prepare {_maker(root.name)} --out {root.parent}`"
    if root.is_dir() and any(path.name.startswith("incomplete.") for path in root.iterdir()):
        raise UserError(f"{root} was only half prepared (the work was interrupted); {how} again")
    if not root.is_dir() and root.parent.is_dir():
        near = sorted(path.parent.parent.name for path in root.parent.glob("*/*/dataset_info.json"))
        if near:
            raise UserError(f"there is no data set at {root}; {root.parent} has {', '.join(near)}; {how}")
    raise UserError(f"there is no prepared data set at {root}; {how}")


def _maker(name: str) -> str:
    """The `prepare` verb that makes the data set `name`: vivid makes vivid_outdoor. Unknown names are their own."""
    modules = (m.name for m in pkgutil.iter_modules([str(Path(__file__).parent / "datasets")]))
    return next((m for m in sorted(modules, key=len, reverse=True) if name.startswith(m)), name)


def _read_info(path: Path) -> tuple[str, str, dict[str, list[int]]]:
    """(name, file format, the lengths of each split's shards) of TFDS' dataset_info.json."""
    info = _read_json(path)
    try:
        counts = {
            one["name"]: [int(n) for n in one.get("shardLengths", ())] for one in info.get("splits", ())
        }
        if not isinstance(info["name"], str):
            raise TypeError(f"the name is {info['name']!r}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} does not describe a data set ({type(error).__name__}: {error}); prepare it again with"
            " --overwrite"
        ) from error
    return info["name"], info.get("fileFormat", "tfrecord"), counts


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
        return content
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; prepare the data set again with --overwrite") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as JSON ({error}); prepare the data set again with --overwrite"
        ) from error


def snippet_centres(table: Mapping[str, np.ndarray] | np.ndarray, offsets: Sequence[int]) -> np.ndarray:
    """The frames that can be a snippet's centre: every offset lies in the same sequence, without a gap.

    Args:
      table: "sequence", names or numbers, and "index" of all frames.

    Returns:
      int64 record numbers, ascending.
    """
    sequence, index = table["sequence"], table["index"]
    n = len(index)
    good = np.ones(n, bool)
    for offset in offsets:
        # Frames i of the slice `here` have their i + offset in the slice `there`; the others have none.
        here = slice(max(0, -offset), max(0, n - max(0, offset)))
        there = slice(here.start + offset, here.stop + offset)
        good[: here.start] = good[here.stop :] = False
        good[here] &= (sequence[here] == sequence[there]) & (index[there] - index[here] == offset)
    return np.flatnonzero(good)
