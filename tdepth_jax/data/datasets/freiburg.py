"""Freiburg Thermal (Vertens et al., HeatNet, IROS 2020): drives by day and night, RGB with thermal images warped to it.

DIR holds `train` and `test` as released:

  train/A/B/fl_rgb/*.png  fl_ir_aligned/*.png  fl_rgb_labels/*.png    "night" in the path: by night, without labels
  test/{day,night}/ImagesRGB/*_rgb.png  ImagesIR/*_ir.png  SegmentationClass/*.npy

Files of one moment share the last two whole numbers of their names. Labels of train were said by the authors' RGB
teacher; those of test were drawn by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from tdepth_jax.data import raw, records, transforms
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.errors import UserError

HELP = "Freiburg Thermal: drives by day and night, RGB with thermal images warped to it, 13 classes"

LABEL_NAMES = (
    "road", "sidewalk", "building", "curb", "fence", "pole", "vegetation", "terrain", "sky", "person", "car",
    "bicycle", "background",
)  # fmt: skip
UNKNOWN = 13  # in the files: ignored
SPLITS = ("train", "test")
COUNTS = {"train": (12051, 8596), "test": (32, 32)}  # of the release, day and night
RESIZED = (320, 960)  # as the authors': resized whole, then these columns, where thermal images reach
COLUMNS = (148, 852)
FOCAL, RGB_SIZE = 997.0, (650, 1920)  # pixels, of the published calibration; the centre is assumed

Stamp = tuple[int, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="folder with train and test")
    add("--splits", default=",".join(SPLITS), metavar="LIST", help=f"splits to write ({','.join(SPLITS)})")


def build(args: argparse.Namespace) -> Freiburg:
    """Every file that will be read is looked for here, before anything is written."""
    wanted = raw.chosen("--splits", args.splits, SPLITS)
    for split in SPLITS:  # test is looked at for train too, whose frames must not be of it
        if not (args.raw / split).is_dir():
            raise UserError(
                f"--raw={args.raw} holds no folder {split}; unpack {split}.zip of the release there"
            )
    notes: list[str] = []
    test = _test(args.raw / "test", notes)
    found = {"test": test}
    if "train" in wanted:
        found["train"] = _train(args.raw / "train", {m.stamp for spec in test for m in spec.moments}, notes)
    for split in wanted:
        by = tuple(sum(s.frames for s in found[split] if s.condition == c) for c in ("day", "night"))
        if by != COUNTS[split]:
            notes.append(
                f"{split} has {by[0]} frames by day and {by[1]} by night, the release {COUNTS[split][0]} and "
                f"{COUNTS[split][1]}"
            )
        for spec in found[split]:
            next(Freiburg.frames(spec))  # of every drive the first is opened
    return Freiburg(
        data_dir=args.out,
        name=args.name,
        splits={split: found[split] for split in wanted},
        facts={"checks": raw.warn(notes)},
    )


@dataclasses.dataclass(frozen=True)
class Moment:
    """The files of one moment."""

    stamp: Stamp
    rgb: Path
    thermal: Path
    labels: Path | None


@dataclasses.dataclass(frozen=True)
class Spec:
    """The frames of a drive; plain values, for worker processes."""

    sequence: str
    condition: str
    moments: tuple[Moment, ...]

    @property
    def frames(self) -> int:
        return len(self.moments)


def _train(root: Path, of_test: set[Stamp], notes: list[str]) -> tuple[Spec, ...]:
    specs, same, lone, bare = [], 0, 0, 0
    for folder in sorted(path.parent for path in root.glob("*/*/fl_rgb")):
        name = folder.relative_to(root)
        condition = "night" if "night" in str(name).lower() else "day"
        rgb, thermal = _stamped(folder / "fl_rgb", ".png"), _stamped(folder / "fl_ir_aligned", ".png")
        masks = folder / "fl_rgb_labels"
        labels = _stamped(masks, ".png") if condition == "day" and masks.is_dir() else {}
        moments = [Moment(s, rgb[s], thermal[s], labels.get(s)) for s in sorted(rgb.keys() & thermal.keys())]
        lone += len(rgb.keys() ^ thermal.keys())
        kept = tuple(moment for moment in moments if moment.stamp not in of_test)
        same += len(moments) - len(kept)
        bare += sum(moment.labels is None for moment in kept) if condition == "day" else 0
        if kept:
            specs.append(Spec(str(name).replace("/", "-"), condition, kept))
    if not specs:
        raise UserError(f"{root} holds no */*/fl_rgb with thermal images beside it; unpack train.zip again")
    if same:
        notes.append(
            f"train: {same} frames are frames of test and left out (the authors' list keeps them in)"
        )
    if lone:
        notes.append(f"train: {lone} RGB or thermal images without their partner are left out")
    if bare:
        notes.append(f"train: {bare} frames by day have no labels")
    return tuple(specs)


def _test(root: Path, notes: list[str]) -> tuple[Spec, ...]:
    specs = []
    for condition in ("day", "night"):
        rgb, thermal, labels = (
            _stamped(root / condition / folder, suffix)
            for folder, suffix in (
                ("ImagesRGB", ".png"),
                ("ImagesIR", ".png"),
                ("SegmentationClass", ".npy"),
            )
        )
        shared = sorted(rgb.keys() & thermal.keys() & labels.keys())
        if not shared:
            raise UserError(
                f"{root / condition}: no number is in a name of ImagesRGB, ImagesIR and SegmentationClass"
            )
        if lone := len(rgb.keys() | thermal.keys() | labels.keys()) - len(shared):
            notes.append(f"test: {lone} moments by {condition} lack RGB, thermal image or labels")
        moments = tuple(Moment(s, rgb[s], thermal[s], labels[s]) for s in shared)
        specs.append(Spec(condition, condition, moments))
    return tuple(specs)


def _stamped(folder: Path, suffix: str) -> dict[Stamp, Path]:
    """Files by the last two whole numbers of their names."""
    found: dict[Stamp, Path] = {}
    for stem in raw.stems(folder, suffix):
        numbers = re.findall(r"\d+", stem)
        path = folder / f"{stem}{suffix}"
        if len(numbers) < 2:
            raise UserError(f"{path}: its name has no two whole numbers, which the release's have")
        stamp = int(numbers[-2]), int(numbers[-1])
        if stamp in found:
            raise UserError(f"{path} and {found[stamp].name} have one time; remove the copy")
        found[stamp] = path
    return found


class Freiburg(RawBuilder):
    """Freiburg Thermal: RGB and thermal images of drives by day and night, with labels of 13 classes."""

    def modalities(self) -> frozenset[str]:
        return frozenset(
            {"thermal/image", "thermal/K", "thermal/labels", "thermal/valid", "rgb/image", "rgb/K"}
        )

    def facts(self) -> dict[str, Any]:
        return {
            "sensor": {"name": "FLIR ADK", "unit": "raw", "bit_depth": 16},
            "registered": True,  # RGB and thermal images share their pixels
            "intrinsics": f"about {FOCAL:g} pixels of focal length at {RGB_SIZE[1]} columns; the centre is assumed",
            "timestamps": "the two numbers of the files' names, taken for seconds and nanoseconds",
            "radar_columns": [],
            "label_names": list(LABEL_NAMES),
            "label_protocols": ["heatnet"],
            "conditions": ["day", "night"],
            **self._facts,
        }

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        for index, moment in enumerate(spec.moments):
            rgb, thermal = _image(moment.rgb, "color"), _image(moment.thermal, "image")
            if rgb.shape[:2] != thermal.shape:
                raise UserError(
                    f"{moment.thermal} is {thermal.shape} and {moment.rgb.name} {rgb.shape[:2]}: thermal images of the "
                    "release are warped to the RGB ones (fl_ir_aligned)"
                )
            K = _intrinsics(thermal.shape)
            frame: records.Frame = {
                "sequence": spec.sequence,
                "index": index,
                "timestamp_ns": moment.stamp[0] * 10**9 + moment.stamp[1],
                "condition": spec.condition,
                "thermal/image": _cut(transforms.resize_image(thermal, RESIZED)),
                "thermal/valid": _cut(transforms.resize_valid(thermal > 0, RESIZED)).astype(np.uint8),
                "thermal/K": K,
                "rgb/image": _cut(transforms.resize_image(rgb, RESIZED)),
                "rgb/K": K,
            }
            if moment.labels:
                labels = _labels(moment.labels)
                frame["thermal/labels"] = _cut(transforms.resize_nearest(labels, RESIZED))
            yield frame


def _cut(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[:, slice(*COLUMNS)])


def _intrinsics(size: tuple[int, ...]) -> Float32[np.ndarray, "3 3"]:
    """Of a stored image that comes from one of `size`."""
    h, w = size
    focal = FOCAL * w / RGB_SIZE[1]
    K = np.array([[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]])
    K = transforms.resize_intrinsics(K, RESIZED[1] / w, RESIZED[0] / h)
    return transforms.crop_intrinsics(K, COLUMNS[0], 0).astype(np.float32)


def _image(path: Path, kind: str) -> UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]:
    data = np.frombuffer(raw.png(path, kind), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR if kind == "color" else cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{path} cannot be read as a PNG; copy it again")
    return np.ascontiguousarray(image[..., ::-1]) if kind == "color" else image


def _labels(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Class numbers of a PNG or an `.npy`; 255 where they are unknown."""
    if path.suffix == ".npy":
        try:
            labels = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path} cannot be read as a label map ({error}); copy it again") from error
    else:
        labels = cv2.imdecode(np.frombuffer(raw.png(path, "grey"), np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path} holds no map (height, width) of class numbers")
    strange = labels[(labels < 0) | (labels > UNKNOWN)]
    if strange.size:
        raise UserError(
            f"{path} holds the label {strange[0]}; they are 0 to {len(LABEL_NAMES) - 1}, and {UNKNOWN} for unknown"
        )
    return np.where(labels == UNKNOWN, records.IGNORE, labels).astype(np.uint8)
