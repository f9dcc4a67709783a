"""MFNet (Ha et al., IROS 2017): street scenes by day and night, aligned RGB and thermal images with label maps.

DIR is the folder that holds `images`, `labels` and the lists `train.txt`, `val.txt`, `test.txt`. An image is one PNG
of four 8-bit channels: red, green, blue, thermal. Names end in D (day) or N (night).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tdepth_jax.data import raw, records
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import intrinsics, io

HELP = "MFNet: street scenes by day and night, aligned RGB + thermal with labels of 9 classes"

LABEL_NAMES = (
    "unlabeled", "car", "person", "bike", "curve", "car_stop", "guardrail", "color_cone", "bump",
)  # fmt: skip
SPLITS = ("train", "val", "test")
COUNTS = {"train": 784, "val": 392, "test": 393}  # of the release, without mirrored copies
CONDITIONS = {"D": "day", "N": "night"}
SIZE = (480, 640)
ASSUMED_FOV = 60.0  # degrees; no calibration is published, and the images are what matters
LOOKED_AT = 50  # label maps of a split that are opened before anything is written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="folder with images, labels and train.txt …")
    add("--splits", default=",".join(SPLITS), metavar="LIST", help=f"splits to write ({','.join(SPLITS)})")
    add(
        "--mirrored",
        action="store_true",
        help="keep the names that end in _flip: copies that were mirrored ahead of training. Left out otherwise, "
        "for training here mirrors by itself",
    )


def build(args: argparse.Namespace) -> Mfnet:
    """Every file that will be read is looked for here, before anything is written."""
    for folder in ("images", "labels"):
        if not (args.raw / folder).is_dir():
            raise UserError(
                f"--raw={args.raw} holds no folder {folder}; give the folder with images, labels and train.txt"
            )
    wanted = raw.chosen("--splits", args.splits, SPLITS)
    notes: list[str] = []
    splits = {split: _specs(args.raw, split, args.mirrored, notes) for split in wanted}
    _check_overlap(splits)
    return Mfnet(data_dir=args.out, name=args.name, splits=splits, facts={"checks": raw.warn(notes)})


@dataclasses.dataclass(frozen=True)
class Spec:
    """The frames of a split by day, or by night; plain values, for worker processes."""

    root: Path
    condition: str
    names: tuple[str, ...]

    @property
    def frames(self) -> int:
        return len(self.names)


def _specs(root: Path, split: str, mirrored: bool, notes: list[str]) -> tuple[Spec, ...]:
    names = _listed(root / f"{split}.txt")
    flips = [name for name in names if name.endswith("_flip")]
    if flips and not mirrored:
        notes.append(f"{split}: {len(flips)} mirrored copies (_flip) are left out; --mirrored keeps them")
        names = [name for name in names if not name.endswith("_flip")]
    if not names:
        raise UserError(f"{root / f'{split}.txt'} names nothing but mirrored copies; add --mirrored")
    kept = len([name for name in names if not name.endswith("_flip")])
    if kept != COUNTS[split]:
        notes.append(f"{split} has {kept} images, the release {COUNTS[split]}")
    for folder in ("images", "labels"):
        raw.require(root / folder, names)
    by_condition: dict[str, list[str]] = {condition: [] for condition in CONDITIONS.values()}
    for name in names:
        by_condition[_condition(root, split, name)].append(name)
    for condition, some in by_condition.items():
        _check_list(root / f"{split}_{condition}.txt", some, notes)
    step = max(1, len(names) // LOOKED_AT)
    for name in names[::step]:
        _labels(root / "labels" / f"{name}.png")
        _channels(root / "images" / f"{name}.png")
    return tuple(Spec(root, c, tuple(some)) for c, some in by_condition.items() if some)


def _listed(path: Path) -> list[str]:
    """Names of a list, one a line."""
    try:
        names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the list {path} cannot be read ({error}); the release has it beside images"
        ) from error
    again = [name for i, name in enumerate(names) if name in names[:i]]
    if not names or again:
        raise UserError(f"the list {path} " + (f"names {again[0]} twice" if again else "is empty"))
    return names


def _condition(root: Path, split: str, name: str) -> str:
    letter = name.removesuffix("_flip")[-1:]
    if letter not in CONDITIONS:
        raise UserError(f"{root / f'{split}.txt'}: {name!r} ends in neither D (day) nor N (night)")
    return CONDITIONS[letter]


def _check_list(path: Path, names: list[str], notes: list[str]) -> None:
    """The lists by day and night, where they are there, say the same as the names' last letter."""
    if path.is_file() and set(_listed(path)) != set(names):
        notes.append(
            f"{path} names other images than those of the split that end in {path.stem[-5:]!r}'s letter"
        )


def _check_overlap(splits: dict[str, tuple[Spec, ...]]) -> None:
    seen: dict[str, str] = {}
    for split, specs in splits.items():
        for name in (name.removesuffix("_flip") for spec in specs for name in spec.names):
            if seen.setdefault(name, split) != split:
                raise UserError(
                    f"{name} is in the lists of {seen[name]} and of {split}; take the released lists"
                )


class Mfnet(RawBuilder):
    """MFNet: RGB-thermal street scenes with labels of nine classes."""

    def modalities(self) -> frozenset[str]:
        return frozenset({"thermal/image", "thermal/K", "thermal/labels", "rgb/image", "rgb/K"})

    def facts(self) -> dict[str, Any]:
        return {
            "sensor": {"name": "InfReC R500", "unit": "agc", "bit_depth": 8},
            "registered": True,  # RGB and thermal images share their pixels
            "intrinsics": f"assumed: a horizontal field of view of {ASSUMED_FOV:g} degrees",
            "timestamps": "numbers of the files, not times",
            "radar_columns": [],
            "label_names": list(LABEL_NAMES),
            "label_protocols": ["rtfnet"],
            "conditions": sorted({spec.condition for specs in self._splits.values() for spec in specs}),
            **self._facts,
        }

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        for index, name in enumerate(spec.names):
            image = _channels(spec.root / "images" / f"{name}.png")
            K = intrinsics.from_fov(ASSUMED_FOV, image.shape[:2]).K
            yield {
                "sequence": spec.condition,
                "index": index,
                "timestamp_ns": _number(name),
                "condition": spec.condition,
                "thermal/image": image[..., 3].astype(np.uint16),
                "thermal/K": K,
                "thermal/labels": _labels(spec.root / "labels" / f"{name}.png"),
                "rgb/image": np.ascontiguousarray(image[..., :3]),
                "rgb/K": K,
            }


def _number(name: str) -> int:
    digits = "".join(c for c in name if c.isdigit())
    return int(digits) if digits else 0


def _channels(path: Path) -> np.ndarray:
    """Red, green, blue, thermal: uint8 [h, w, 4]. OpenCV hands the file's first three over in reverse."""
    image = _png(path)
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise UserError(
            f"{path} is {image.dtype} {image.shape}, wanted 8 bits and four channels (red, green, blue, thermal): it "
            "is not the released file"
        )
    return image[..., [2, 1, 0, 3]]


def _labels(path: Path) -> np.ndarray:
    labels = _png(path)
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise UserError(
            f"{path} is {labels.dtype} {labels.shape}, wanted 8 bits and one channel of class numbers; a picture in "
            "colours is a visualisation of the labels"
        )
    if labels.max() >= len(LABEL_NAMES):
        raise UserError(f"{path} holds the label {labels.max()}; MFNet's are 0 to {len(LABEL_NAMES) - 1}")
    return labels


def _png(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(io.png_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{path} cannot be read as a PNG; copy it again")
    return image
