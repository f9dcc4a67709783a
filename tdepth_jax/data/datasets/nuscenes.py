"""nuScenes (Caesar et al., CVPR 2020) for radar-camera depth: front camera, front radar, depth of the LiDAR.

DIR is the folder that holds `v1.0-trainval`, `v1.0-test` or `v1.0-mini` (the tables), `samples` and `sweeps`. Frames
are the samples (2 Hz). Points are in the axes of the camera at its own time: every sensor's pose at its own is known.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from tdepth_jax.data import lidar, nuscenes, raw, records
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.data.nuscenes import Keyframe, Tables
from tdepth_jax.errors import UserError

HELP = "nuScenes: driving, front camera + front radar, LiDAR depth; day, night, rain"

# The official split of the 850 scenes of v1.0-trainval: these are val, the others train.
VAL = frozenset(
    f"scene-{n:04d}"
    for first, last in (
        (3, 3), (12, 18), (35, 36), (38, 39), (92, 110), (221, 221), (268, 278), (329, 332), (344, 346), (519, 524),
        (552, 565), (625, 627), (629, 630), (632, 638), (770, 771), (775, 775), (777, 778), (780, 784), (794, 800),
        (802, 802), (904, 917), (919, 931), (962, 963), (966, 969), (971, 972), (1059, 1073),
    )
    for n in range(first, last + 1)
)  # fmt: skip
VERSIONS = ("v1.0-trainval", "v1.0-test", "v1.0-mini")
SPLITS = ("train", "val", "test")
SIZE = (900, 1600)
TOP = 4  # rows that the published programs cut off, so that 32 divides the rest: they have no depth here
NEAREST, BORDER = 1.0, 1  # metres and pixels: what the published projection leaves out
COLUMNS = ("x", "y", "z", "rcs", "vx", "vz")
RETURNS = 128  # of one radar sweep, at most (125 are sent)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="folder with v1.0-..., samples and sweeps")
    add("--splits", default=",".join(SPLITS), metavar="LIST", help=f"splits to write ({','.join(SPLITS)})")
    add(
        "--radar-sweeps",
        type=int,
        default=5,
        metavar="N",
        help="radar sweeps of a frame, its own and those before (5)",
    )
    add(
        "--accumulate",
        type=int,
        default=24,
        metavar="N",
        help="LiDAR scans of so many samples before and after, without what boxes hold, fill the training split's "
        "depth (24); 0 = one scan, as the other splits always have",
    )


def build(args: argparse.Namespace) -> Nuscenes:
    """Tables are read and files looked for here, before anything is written."""
    wanted = raw.chosen("--splits", args.splits, SPLITS)
    if args.radar_sweeps < 1 or args.accumulate < 0:
        raise UserError(
            f"--radar-sweeps={args.radar_sweeps} must be at least 1 and --accumulate={args.accumulate} at least 0"
        )
    versions = [name for name in VERSIONS if (args.raw / name).is_dir()]
    if not versions:
        raise UserError(f"--raw={args.raw} holds none of {', '.join(VERSIONS)}; give the folder above them")
    if len(versions) > 1:
        versions = [name for name in versions if name != "v1.0-mini"]  # whose scenes are among the others
    notes = (
        ["only the mini version is there: 10 scenes, good for trying out"]
        if versions == ["v1.0-mini"]
        else []
    )
    splits: dict[str, list[Spec]] = {split: [] for split in SPLITS if split in wanted}
    for version in versions:
        tables = Tables(args.raw, version)
        for name, scene in sorted(tables.scenes.items()):
            split = "test" if version == "v1.0-test" else "val" if name in VAL else "train"
            if split in splits:
                keyframes = tables.keyframes(scene, sweeps=args.radar_sweeps)
                around = args.accumulate if split == "train" else 0
                splits[split].append(
                    Spec(name, args.raw, _condition(scene["description"]), keyframes, around)
                )
    for split, specs in splits.items():
        if not specs:
            notes.append(f"{split} has no scene in {', '.join(versions)}")
        for spec in specs:
            _require(spec)
    found = {split: tuple(specs) for split, specs in splits.items() if specs}
    if not found:
        raise UserError(f"{args.raw}: no scene of {', '.join(wanted)} in {', '.join(versions)}")
    facts = {
        "radar_sweeps": args.radar_sweeps,
        "radar_points": RETURNS * args.radar_sweeps,
        "accumulated_samples": args.accumulate,
        "checks": raw.warn(notes),
    }
    return Nuscenes(data_dir=args.out, name=args.name, splits=found, facts=facts)


@dataclasses.dataclass(frozen=True)
class Spec:
    """One scene to be written; plain values, for worker processes."""

    name: str
    root: Path
    condition: str
    keyframes: tuple[Keyframe, ...]
    around: int


def _condition(description: str) -> str:
    """As the scene's description has it; night and rain together are night_rain."""
    words = description.lower()
    said = [word for word in ("night", "rain") if word in words]
    return "_".join(said) or "day"


def _require(spec: Spec) -> None:
    for frame in spec.keyframes:
        for sweep in (frame.camera, frame.lidar, *frame.radar):
            if not (spec.root / sweep.file).is_file():
                raise UserError(
                    f"{spec.name}: there is no {spec.root / sweep.file}; unpack that archive there, or leave the "
                    "split out with --splits (sweeps with --radar-sweeps=1)"
                )


class Nuscenes(RawBuilder):
    """nuScenes' samples: front camera, front radar in its axes, depth of the LiDAR."""

    def modalities(self) -> frozenset[str]:
        return frozenset({"rgb/image", "rgb/K", "rgb/world_from_camera", "rgb/depth", "radar"})

    def facts(self) -> dict[str, Any]:
        specs = [spec for split in self._splits.values() for spec in split]
        return {
            "sensor": {"name": "Basler acA1600-60gc", "frames_per_second": 2},
            "depth_scale": records.DEPTH_SCALE,
            "rectified": True,
            "indoor": False,
            "protocols": ["xdrc80", "xdrc70", "xdrc50"],
            "radar_columns": list(COLUMNS),
            "radar_frame": "RGB camera; metres, dBsm, metres per second relative to the moving sensor",
            "label_names": [],
            "conditions": sorted({spec.condition for spec in specs}),
            **self._facts,
        }

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        scans = _Scans(spec)
        for index, frame in enumerate(spec.keyframes):
            image = (spec.root / frame.camera.file).read_bytes()
            camera_from_world = np.linalg.inv(frame.camera.world_from_sensor)
            yield {
                "sequence": spec.name,
                "index": index,
                "timestamp_ns": frame.camera.time,
                "condition": spec.condition,
                "rgb/image": image,
                "rgb/K": frame.K,
                "rgb/world_from_camera": frame.camera.world_from_sensor,
                "rgb/depth": scans.depth(index, camera_from_world),
                "radar": radar(spec, frame, camera_from_world),
            }


class _Scans:
    """Depth maps of a scene; its scans are read once."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _scan(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """World points of sample i's scan: (all, those outside boxes)."""
        if i not in self._known:
            frame = self._spec.keyframes[i]
            points = nuscenes.lidar_points(self._spec.root / frame.lidar.file)
            world = nuscenes.in_world(points, frame.lidar.world_from_sensor)
            self._known[i] = world, nuscenes.without(world, frame.boxes) if self._spec.around else world
        return self._known[i]

    def depth(self, index: int, camera_from_world: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """The scan's own depth; where it has none, that of the scans around."""
        spec = self._spec
        K = spec.keyframes[index].K
        own = cut(lidar.project(self._scan(index)[0], camera_from_world, K, SIZE))
        if not spec.around:
            return own
        first, last = max(0, index - spec.around), min(len(spec.keyframes), index + spec.around + 1)
        for old in [i for i in self._known if i < first]:
            del self._known[old]
        others = [self._scan(i)[1] for i in range(first, last) if i != index]
        if not others:
            return own
        merged = cut(lidar.project(np.concatenate(others), camera_from_world, K, SIZE))
        return np.where(own > 0, own, lidar.without_hidden(merged))


def cut(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Without the rows at the top, the border and the nearness that the published programs leave out."""
    keep = np.zeros(depth.shape, bool)
    keep[max(TOP, BORDER) : -BORDER, BORDER:-BORDER] = True
    return np.where(keep & (depth > NEAREST), depth, 0).astype(np.float32)


def radar(
    spec: Spec, frame: Keyframe, camera_from_world: Float[np.ndarray, "4 4"]
) -> Float32[np.ndarray, "n 6"]:
    """All sweeps' returns that the camera sees, as `COLUMNS` in its axes."""
    found = []
    for sweep in frame.radar:
        returns = nuscenes.radar_returns(spec.root / sweep.file)
        camera_from_radar = camera_from_world @ sweep.world_from_sensor
        points = nuscenes.in_world(returns[:, :3], camera_from_radar)
        velocity = np.pad(returns[:, 4:6].astype(np.float64), ((0, 0), (0, 1))) @ camera_from_radar[:3, :3].T
        found.append(np.column_stack([points, returns[:, 3], velocity[:, 0], velocity[:, 2]]))
    every = np.concatenate(found)
    every = every[every[:, 2] > NEAREST]
    u, v = (frame.K[i, i] * every[:, i] / every[:, 2] + frame.K[i, 2] for i in (0, 1))
    inside = (u > BORDER) & (u < SIZE[1] - BORDER) & (v > BORDER) & (v < SIZE[0] - BORDER)
    return every[inside].astype(np.float32)
