"""ZJU-4DRadarCam (Li et al., RadarCam-Depth, ICRA 2024): RGB, 4D radar as points on the image, LiDAR depth.

DIR is the folder that holds `data` (`image`, `radar`, `gt`, `gt_interp`, `train.txt`, `val.txt`, `test.txt`). Images
are cut to the rows that the published programs use. The release has no times and no poses: frames are in the order of
the lists, and no video.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from tdepth_jax.data import raw, records
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.errors import UserError

HELP = "ZJU-4DRadarCam: RGB + 4D radar, LiDAR depth"

SPLITS = ("train", "val", "test")
SIZE = (720, 1280)
ROWS = (240, 540)  # of the published crop: a third to three quarters
# Of the whole image, as the authors give them (RadarCam-Depth issue 7).
K = np.array([[643.67, 0, 631.35], [0, 643.54, 367.31], [0, 0, 1]])
DEPTHS = {"sparse": "gt", "interpolated": "gt_interp"}
COLUMNS = ("x", "y", "z")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="folder with data/image, data/radar, data/gt")
    add("--splits", default=",".join(SPLITS), metavar="LIST", help=f"splits to write ({','.join(SPLITS)})")
    add(
        "--train-depth",
        choices=tuple(DEPTHS),
        default="interpolated",
        help="depth of the training split, where the scan has none of its own; the other splits have the scan's alone",
    )


def build(args: argparse.Namespace) -> Zju:
    """Every file that will be read is looked for here, before anything is written."""
    wanted = raw.chosen("--splits", args.splits, SPLITS)
    root = args.raw / "data" if (args.raw / "data").is_dir() else args.raw
    if not (root / "image").is_dir():
        raise UserError(f"--raw={args.raw} holds no data/image; give the folder that the release unpacks to")
    splits = {}
    for split in wanted:
        stems = _listed(root / f"{split}.txt")
        filled = split == "train" and args.train_depth == "interpolated"
        for folder, suffix in (("image", ".png"), ("gt", ".png"), ("radar", ".npy")):
            raw.require(root / folder, stems, suffix)
        if filled:
            raw.require(root / "gt_interp", stems)
        splits[split] = (Spec(split, root, stems, filled),)
    return Zju(data_dir=args.out, name=args.name, splits=splits, facts={"train_depth": args.train_depth})


def _listed(path: Path) -> tuple[str, ...]:
    """The file stems of a list, whatever folder and suffix its lines have."""
    try:
        found = tuple(Path(line.split()[0]).stem for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of frames ({error}); copy it again") from error
    if not found or len(set(found)) != len(found):
        raise UserError(
            f"{path} lists {len(found)} frames, {len(set(found))} of them different; copy it again"
        )
    return found


@dataclasses.dataclass(frozen=True)
class Spec:
    """One split to be written, as one sequence; plain values, for worker processes."""

    name: str
    root: Path
    stems: tuple[str, ...]
    filled: bool


class Zju(RawBuilder):
    """ZJU-4DRadarCam: RGB, radar points in the camera, LiDAR depth, the published rows."""

    def modalities(self) -> frozenset[str]:
        return frozenset({"rgb/image", "rgb/K", "rgb/depth", "radar"})

    def facts(self) -> dict[str, Any]:
        return {
            "sensor": {"name": "ZJU-4DRadarCam's RGB camera"},
            "depth_scale": records.DEPTH_SCALE,  # the release's own: PNG values are metres * 256
            "rectified": True,
            "indoor": False,
            "protocols": ["radarcam80", "radarcam70", "radarcam50"],
            "radar_columns": list(COLUMNS),
            "radar_frame": "RGB camera, metres",
            "radar_points": 2048,
            "label_names": [],
            "conditions": ["day"],
            **self._facts,
        }

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        shifted = K - np.array([[0, 0, 0], [0, 0, ROWS[0]], [0, 0, 0]])
        for index, stem in enumerate(spec.stems):
            depth = _depth(spec.root / "gt" / f"{stem}.png")
            if spec.filled:
                depth = np.where(depth > 0, depth, _depth(spec.root / "gt_interp" / f"{stem}.png"))
            yield {
                "sequence": spec.name,
                "index": index,
                "timestamp_ns": index,  # the release has none
                "condition": "day",
                "rgb/image": _image(spec.root / "image" / f"{stem}.png"),
                "rgb/K": shifted,
                "rgb/depth": depth,
                "radar": returns(spec.root / "radar" / f"{stem}.npy"),
            }


def _image(path: Path) -> np.ndarray:
    """Colours [h w 3] of the published rows."""
    image = cv2.imdecode(np.frombuffer(raw.png(path, "color"), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(_rows(image, path), cv2.COLOR_BGR2RGB)


def _depth(path: Path) -> Float32[np.ndarray, "h w"]:
    units = cv2.imdecode(np.frombuffer(raw.png(path, "depth"), np.uint8), cv2.IMREAD_UNCHANGED)
    return _rows(units, path).astype(np.float32) * np.float32(records.DEPTH_SCALE)


def _rows(image: np.ndarray | None, path: Path) -> np.ndarray:
    if image is None or image.shape[:2] != SIZE:
        raise UserError(f"{path} is no image of {SIZE[1]}x{SIZE[0]}: it is not the released file")
    return np.ascontiguousarray(image[ROWS[0] : ROWS[1]])


def returns(path: Path) -> Float32[np.ndarray, "n 3"]:
    """Points in the camera's axes, metres, from the release's rows (u, v, depth) in pixels of the whole image."""
    try:
        found = np.atleast_2d(np.asarray(np.load(path, allow_pickle=False), np.float64))  # one point is a row
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as radar points ({error}); copy it again") from error
    if found.ndim != 2 or found.shape[1] < 3:
        raise UserError(f"{path} has shape {found.shape}, wanted (points, 3): u, v, depth")
    u, v, z = found[np.isfinite(found).all(axis=1) & (found[:, 2] > 0), :3].T
    return np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], axis=1).astype(np.float32)
