"""The base of every data set: a TFDS builder that writes records without TensorFlow.

A data set is one module in this folder. `python -m tdepth_jax.prepare NAME` finds it by its name and asks for:

  HELP                     one line for the list of data sets
  add_arguments(parser)    the data set's own flags, on an argparse parser (--out, --name, --format,
                           --overwrite and --jobs are there already)
  build(args)              a `RecordsBuilder` of the parsed flags; called before anything is written, so
                           this is where bad flags and bad raw folders are refused (`UserError`)

A builder says what its frames hold (`modalities`), the facts about them (`facts`), which sequences make
up each split (`sequences`: picklable specs), and how a sequence's frames come about (`frames`, a static
method, for it runs in worker processes). It yields schema frames of `tdepth_jax.data.records`; sequence
names are unique in a split and `index` counts from 0. Shards, checksums, `dataset_info.json`, the index
sidecars and the atomic finish are the base's work, in stock TFDS' layout:
`tfds.builder_from_directory` opens the result, `.as_data_source()` without TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tdepth_jax.data import index as index_file
from tdepth_jax.data import records
from tdepth_jax.data.encoding import Encoder
from tdepth_jax.data.index import Index
from tdepth_jax.data.shards import FORMATS, SHARD_BYTES, ShardWriter
from tdepth_jax.errors import UserError

Progress = Callable[[str, int], None]  # split, frames written so far

INCOMPLETE = "incomplete."  # TFDS' own prefix for folders being written


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """What `prepare` wrote of a split."""

    split: str
    sequences: int
    frames: int
    bytes: int
    conditions: tuple[str, ...]


class RecordsBuilder(tfds.core.GeneratorBasedBuilder):
    """Base class; see the module for what a data set's class adds."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Not for `tfds.load` by name: a data set here is built with its own arguments.
        super().__init_subclass__(skip_registration=True, **kwargs)

    def __init__(self, *, data_dir: str | os.PathLike = "data", name: str | None = None) -> None:
        """data_dir: the folder that gets `<name>/<version>/`; name: the class's when None."""
        if name is not None:
            if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name, re.ASCII):
                raise UserError(
                    f"--name={name!r} becomes a folder and a part of file names; use letters, digits, _ . and -"
                )
            self.name = name
        self.jobs = 1
        self.shard_bytes = SHARD_BYTES
        self.summaries: list[SplitSummary] = []
        self._progress: Progress = lambda split, frames: None
        super().__init__(data_dir=data_dir)

    # What a data set says of itself.

    def modalities(self) -> frozenset[str]:
        """The keys that its frames have (those of `records.OPTIONAL` may be missing in some)."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """The metadata: "sensor", "conditions", "radar_columns", "label_names", ... as JSON values."""
        raise NotImplementedError

    def sequences(self) -> Mapping[str, Sequence[Any]]:
        """Split name -> specs of its sequences in order; a spec is picklable and all that `frames` needs."""
        raise NotImplementedError

    @staticmethod
    def frames(spec: Any) -> Iterator[records.Frame]:
        """The frames of one sequence, in order."""
        raise NotImplementedError

    # TFDS' side.

    def _info(self) -> tfds.core.DatasetInfo:
        features = self.modalities() | set(records.HEADER)
        facts = {"depth_scale": records.DEPTH_SCALE, **self.facts()}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION or (type(self).__doc__ or ""),
            features=tfds_features(features, len(facts.get("radar_columns", ()))),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(facts),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: self._generate_examples(specs) for split, specs in self.sequences().items()}

    def _generate_examples(self, specs: Sequence[Any]) -> Iterator[tuple[int, records.Frame]]:
        frames = (frame for spec in specs for frame in self.frames(spec))
        yield from enumerate(frames)

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        """What stock `download_and_prepare` calls, `self.data_dir` being a temporary folder then."""
        self.info.set_splits(self._write(Path(self.data_dir), self.info.file_format.value))

    def _write(self, folder: Path, suffix: str) -> tfds.core.SplitDict:
        """Writes shards and sidecars of all splits into `folder`."""
        infos = []
        self.summaries = []
        with Encoder(
            self.frames,
            features=frozenset(self.modalities() | set(records.HEADER)),
            depth_scale=self.facts().get("depth_scale", records.DEPTH_SCALE),
            jobs=self.jobs,
            folder=folder,
        ) as encoder:
            for split, specs in self.sequences().items():
                writer = ShardWriter(folder, self.name, split, suffix, self.shard_bytes)
                index = self._write_split(writer, split, specs, encoder)
                index_file.save(index, index_file.sidecar(folder, split))
                infos.append(
                    tfds.core.SplitInfo(name=split, shard_lengths=writer.lengths, num_bytes=writer.bytes)
                )
                self.summaries.append(_summary(split, index, writer.bytes))
        return tfds.core.SplitDict(infos)

    def _write_split(self, writer: ShardWriter, split: str, specs: Sequence[Any], encoder: Encoder) -> Index:
        made, seen = index_file.IndexWriter(), set()
        self._progress(split, 0)
        for encoded in encoder.sequences(specs):
            previous: tuple[str, int] | None = None
            for data, row in encoded:
                if previous is None and row[0] in seen:
                    raise UserError(f"{self.name}/{split}: two sequences are called {row[0]!r}; rename one")
                expected = (row[0], 0) if previous is None else (previous[0], previous[1] + 1)
                if row[:2] != expected:
                    raise UserError(f"{self.name}/{split}: frame {row[:2]} came where {expected} belongs")
                previous = expected
                seen.add(row[0])
                made.add(row, data, **writer.write(data))
                self._progress(split, len(made))
        if not len(made):
            raise UserError(f"{self.name}/{split}: no frame came out of its {len(specs)} sequences")
        return made.finish(writer.finish())

    # Preparing.

    def prepare(
        self,
        *,
        file_format: str = "array_record",
        overwrite: bool = False,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> list[SplitSummary]:
        """Writes the data set into a temporary folder and renames that at the end.

        Killed at any moment, it leaves either no data set or a whole one: a folder half written is never
        taken for one, and is cleared away by the next `prepare`. With `overwrite` the old data set stands
        until the new one is whole.

        Args:
          file_format: "array_record" or "tfrecord".
          overwrite: replace a data set that is there.
          jobs: processes that make and encode sequences (1 = this one).
          progress: called with (split, frames so far) as frames are written.

        Raises:
          UserError: a data set is there and `overwrite` is False; a frame breaks the schema.
        """
        if file_format not in FORMATS:
            raise UserError(f"there is no format {file_format!r}; choose one of {', '.join(FORMATS)}")
        final = Path(self.data_dir)
        if (final / "dataset_info.json").is_file() and not overwrite:
            raise UserError(f"{final} is prepared already; add --overwrite to replace it")
        if jobs < 1:
            raise UserError(f"--jobs={jobs}: at least one process must do the work")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _clear_leftovers(final)
            temporary = Path(tempfile.mkdtemp(prefix=f"{INCOMPLETE}{os.getpid()}-", dir=final.parent))
        except OSError as error:
            raise UserError(
                f"{final.parent} cannot be written ({error.strerror}); choose another --out"
            ) from error
        self.jobs = jobs
        self._progress = progress or self._progress
        try:
            os.chmod(temporary, 0o755)
            info = self._info()  # not self.info, which may speak of the data set that is replaced
            info.set_file_format(file_format)
            info.set_splits(self._write(temporary, file_format))
            info.write_to_directory(str(temporary))
            _replace(temporary, final)
        except OSError as error:
            raise UserError(
                f"{error.filename or temporary}: {error.strerror or error}; {final} was not written"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.info.set_file_format(file_format, override=True, override_if_initialized=True)
        self.info.set_splits(tfds.core.SplitDict(list(info.splits.values())))
        self.info.update_data_dir(str(final))
        return self.summaries


class RawBuilder(RecordsBuilder):
    """A data set whose splits and facts were found in a raw folder before anything is written."""

    def __init__(
        self, *, data_dir: Any, name: str | None, splits: dict[str, tuple[Any, ...]], facts: dict[str, Any]
    ) -> None:
        self._splits, self._facts = splits, facts
        super().__init__(data_dir=data_dir, name=name)

    def facts(self) -> dict[str, Any]:
        return self._facts

    def sequences(self) -> dict[str, tuple[Any, ...]]:
        return self._splits


def tfds_features(keys: frozenset[str] | set[str], radar_columns: int) -> tfds.features.FeaturesDict:
    """The TFDS features of the schema's keys. Images are encoded bytes, so TFDS needs no TensorFlow."""
    records.check_features(keys)
    features: dict[str, Any] = {}
    for key in sorted(keys):
        field = records.FIELDS[key]
        if field.kind == "int":
            features[key] = tfds.features.Scalar(dtype=np.int64, doc=field.doc)
        elif field.kind == "matrix":
            features[key] = tfds.features.Tensor(shape=field.shape, dtype=np.float32, doc=field.doc)
        elif field.kind == "points":
            shape = (None, radar_columns)
            features[key] = tfds.features.Tensor(shape=shape, dtype=np.float32, doc=field.doc)
        else:
            features[key] = tfds.features.Text(doc=field.doc)
    return tfds.features.FeaturesDict(features)


def _summary(split: str, index: Index, size: int) -> SplitSummary:
    return SplitSummary(split, len(index.sequences), len(index), size, index.conditions)


def _replace(temporary: Path, final: Path) -> None:
    """Puts the finished folder in place; an old data set is moved out of the way, then removed."""
    old = None
    if final.exists():
        old = Path(tempfile.mkdtemp(prefix=f"{INCOMPLETE}{os.getpid()}-old-", dir=final.parent))
        os.rename(final, old / "was")
    os.rename(temporary, final)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _clear_leftovers(final: Path) -> None:
    """Removes what a killed `prepare` left; folders of one that still runs stay."""
    for path in final.parent.glob(f"{INCOMPLETE}*"):
        pid = path.name[len(INCOMPLETE) :].split("-")[0]
        running = False
        if pid.isdigit() and int(pid) != os.getpid():
            running = True
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                running = False
            except PermissionError:
                pass  # it runs, as another user's
        if not running and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
    if final.is_dir() and not (final / "dataset_info.json").is_file():
        shutil.rmtree(final, ignore_errors=True)
