"""What a user names as input, as a list of frames: files, folders, globs, stacks and prepared splits."""

from __future__ import annotations

import dataclasses
import functools
import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.data import pipeline
from tdepth_jax.data.examples import radar_arrays
from tdepth_jax.data.sources import FrameSource, open_split
from tdepth_jax.errors import UserError
from tdepth_jax.predictor.shots import Shot, shots_of
from tdepth_jax.thermal import faults, intrinsics, io
from tdepth_jax.thermal.faults import Fault
from tdepth_jax.training import evaluator


@dataclasses.dataclass(frozen=True)
class Item:
    """One frame that will be predicted.

    Attributes:
      key: where its results go, relative to the output folder and without a suffix.
      sequence: frames of one sequence share their colours.
      source: what the user would call it.
      load: reads it.
      track: where results of its whole sequence go, as `key`.
      seconds: when it was taken; None for files, which do not say.
    """

    key: str
    sequence: str
    source: str
    load: Callable[[], Shot]
    track: str
    seconds: float | None = None


class Camera:
    """K and the usable pixels for images of a size, from the flags.

    Attributes:
      notes: what there is to know of them, once they were asked for.
    """

    def __init__(
        self,
        text: str | None = None,
        fov_x: float | None = None,
        mask: Path | None = None,
        bottom: float | None = None,
    ) -> None:
        self._text, self._fov_x, self._mask, self._bottom = text, fov_x, mask, bottom
        self._known: dict[tuple[int, int], tuple[np.ndarray | None, np.ndarray | None]] = {}
        self.notes: list[str] = []

    def of(self, size: tuple[int, int]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(K, valid) for (height, width); None where the flags say nothing.

        Raises:
          UserError: intrinsics or a mask that do not fit such images.
        """
        if size not in self._known:
            self._known[size] = self._K(size), io.usable(size, mask=self._mask, bottom=self._bottom)
        return self._known[size]

    def _K(self, size: tuple[int, int]) -> np.ndarray | None:
        if self._text is not None:
            given = intrinsics.parse(self._text, size)
        elif self._fov_x is not None:
            given = intrinsics.from_fov(self._fov_x, size)
        else:
            return None
        for fault in faults.intrinsics_faults(given.K, size, self._text or "--fov-x"):
            if fault.grave:
                raise UserError(str(fault))
            self.notes.append(str(fault))
        self.notes.extend(given.notes)
        return given.K


@dataclasses.dataclass(frozen=True)
class Senses:
    """What a run's method sees: whose images, and which further batch keys (`System.sees`)."""

    camera: str = "thermal"
    sees: frozenset[str] = frozenset()

    @classmethod
    def of(cls, checkpoint: Path) -> Senses:
        """Of the run in `checkpoint`, from its config alone."""
        config = checkpoint / "config.json"
        if not config.is_file():  # which is said when the run is opened
            return cls()
        system = systems.make(configs.from_json(config, systems.schema))
        return cls(system.camera, system.sees)


def gather(
    named: Sequence[str], *, output: Path, unit: str | None, camera: Camera, senses: Senses | None = None
) -> list[Item]:
    """The frames of all inputs, in order. Every file is opened once here, so that a bad one stops the work early.

    Raises:
      UserError: an input that is not there, holds no frames or cannot be read; two with the same results.
    """
    reader = _Reader(unit, camera, senses or Senses())
    items: list[Item] = []
    for number, name in enumerate(named):
        items += _of_name(name, f"{number}", output, reader)
    seen: dict[str, Item] = {}
    for item in items:
        if item.key in seen:
            raise UserError(
                f"{seen[item.key].source} and {item.source} would both be written as {item.key}; predict them into "
                "different folders"
            )
        seen[item.key] = item
    return items


class _Reader:
    """Frames of files by number; the last file stays open, for stacks."""

    def __init__(self, unit: str | None, camera: Camera, senses: Senses) -> None:
        self._unit, self._camera, self.senses = unit, camera, senses
        self._path: Path | None = None
        self._shots: list[Shot] = []
        self._faults: dict[Path, list[tuple[Fault, ...]]] = {}  # looking takes longer than reading

    def shots(self, path: Path) -> list[Shot]:
        if self._path != path and self.senses.camera == "rgb":
            self._path, self._shots = path, [_coloured(path, self._camera)]
        elif self._path != path:
            thermal = io.read(path, unit=self._unit if self._unit == "centikelvin" else None)
            K, valid = self._camera.of((thermal.pixels.shape[1], thermal.pixels.shape[2]))
            shots = shots_of(thermal, K=K, valid=valid, known=self._faults.get(path))
            self._path, self._shots = path, shots
            self._faults[path] = [shot.warnings for shot in shots]
        return self._shots

    def shot(self, path: Path, number: int) -> Shot:
        return self.shots(path)[number]


def _of_name(name: str, tag: str, output: Path, reader: _Reader) -> Iterator[Item]:
    path = Path(name)
    if not name:  # which Path would take for this folder
        raise UserError("an INPUT is empty; give images, folders, 'globs*' or a split as data/NAME:test")
    if path.is_dir():
        yield from _of_folder(path, tag, output, reader)
    elif path.exists():
        yield from _of_file(path, path.stem, f"{tag}/{path.parent}", reader)
    elif ":" in name and Path(name.rpartition(":")[0]).is_dir():
        root, _, split = name.rpartition(":")
        yield from _of_split(open_split(root, split), reader.senses)
    elif any(letter in name for letter in "*?["):
        yield from _of_glob(name, tag, output, reader)
    else:
        raise UserError(
            f"there is no input {name}; give images, folders, 'globs*' or a split as data/NAME:test"
        )


def _of_file(path: Path, stem: str, sequence: str, reader: _Reader) -> Iterator[Item]:
    count = len(reader.shots(path))
    for number in range(count):
        key = stem if count == 1 else f"{stem}_{number:04d}"
        whose = sequence if count == 1 else str(path)
        source = str(path) if count == 1 else f"{path}, frame {number}"
        folder = os.path.dirname(stem)
        track = stem if count > 1 else folder or path.absolute().parent.name or "frames"
        yield Item(key, whose, source, functools.partial(reader.shot, path, number), track)


def _of_folder(folder: Path, tag: str, output: Path, reader: _Reader) -> Iterator[Item]:
    found = False
    for where, below, _ in os.walk(folder):
        # Results of an earlier call are no input.
        below[:] = sorted(
            (n for n in below if not n.startswith(".") and (Path(where) / n).resolve() != output.resolve()),
            key=io.natural_key,
        )
        for path in io.image_files(Path(where)):
            found = True
            stem = path.relative_to(folder).with_suffix("").as_posix()
            yield from _of_file(path, stem, f"{tag}/{where}", reader)
    if not found:
        prepared = any(folder.glob("*/dataset_info.json")) or (folder / "dataset_info.json").is_file()
        hint = f"; of prepared records name the split, as {folder}:test" if prepared else ""
        raise UserError(f"{folder} holds no images ({', '.join(io.SUFFIXES)}){hint}")


def _of_glob(pattern: str, tag: str, output: Path, reader: _Reader) -> Iterator[Item]:
    paths = [Path(p) for p in sorted(glob.glob(pattern, recursive=True), key=io.natural_key)]
    paths = [p for p in paths if p.is_file() and output.resolve() not in p.resolve().parents]
    if not paths:
        raise UserError(f"no file matches {pattern}")
    base = Path(os.path.commonpath([p.parent for p in paths]))
    for path in paths:
        stem = path.relative_to(base).with_suffix("").as_posix()
        yield from _of_file(path, stem, f"{tag}/{path.parent}", reader)


def _coloured(path: Path, camera: Camera) -> Shot:
    """The one frame of an 8-bit colour image."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(
            f"{path} cannot be read as a colour image, which this run sees; give PNG or JPEG files"
        )
    K, valid = camera.of(image.shape[:2])
    return _colour_shot(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), K, str(path), valid)


def _colour_shot(
    colour: np.ndarray,
    K: np.ndarray | None,
    where: str,
    valid: np.ndarray | None = None,
    more: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Shot:
    grey = np.round(colour.mean(axis=2)).astype(np.uint16)
    return Shot(grey, K, valid, where, "agc8", colour=colour, more=more)


def _of_split(source: FrameSource, senses: Senses) -> Iterator[Item]:
    evaluator.look(source, senses.camera, senses.sees)
    known: dict[int, tuple[Fault, ...]] = {}
    for number, row in enumerate(source.table):
        name = str(row["sequence"])
        yield Item(
            f"{name}/{int(row['index']):06d}",
            f"split/{name}",
            f"{source.name}/{source.split}, {name} frame {int(row['index'])}",
            functools.partial(_record, source, number, known, senses),
            track=name,
            seconds=int(row["timestamp_ns"]) / 1e9,
        )


def _record(source: FrameSource, number: int, known: dict[int, tuple[Fault, ...]], senses: Senses) -> Shot:
    row = source.table[number]
    where = f"{source.name}/{source.split}, {row['sequence']} frame {int(row['index'])}"
    frame = source.read(number, evaluator.inputs_of(source, senses.camera, senses.sees))
    more = {evaluator.RIG: frame[evaluator.RIG]} if evaluator.RIG in frame else {}
    if "radar/valid" in senses.sees:
        columns = tuple(source.metadata["radar_columns"])
        points = frame.get("radar")
        more |= radar_arrays(points, columns, pipeline.max_radar_points(source), flip=False, keys=senses.sees)
    if senses.camera == "rgb":
        return _colour_shot(frame["rgb/image"], frame["rgb/K"], where, more=more)
    unit = "agc8" if source.metadata.get("sensor", {}).get("unit") == "agc" else "raw"
    valid = frame["thermal/valid"] > 0 if "thermal/valid" in frame else None
    if number not in known:
        known[number] = tuple(faults.frame_faults(frame["thermal/image"], where, unit=unit, valid=valid))
    return Shot(frame["thermal/image"], frame["thermal/K"], valid, where, unit, known[number], more=more)
