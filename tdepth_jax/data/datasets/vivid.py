"""ViViD (Lee et al., ICRA-W 2019) as post-processed by Shin et al.: hand-held thermal + RGB, LiDAR depth, poses.

DIR is either the post-processed release, KAIST_VIVID (`calibration/calib_ther_to_rgb.yaml`, `<seq>/Thermal/data/`,
`<seq>/Warped_Depth/data_THERMAL/`, ...), or what the authors' preparation made of it (`<seq>/Thermal/000001.png`,
`<seq>/Depth_T/`, `<seq>/cam_T.txt`, ...). Which of the two it is, is seen. The bags of ViViD++ are `vividpp`'s.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdepth_jax.data import raw, records, tracks
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.errors import UserError

HELP = (
    "ViViD: hand-held thermal + RGB with depth and poses, outdoor or indoor (Shin's post-processed release)"
)

# UkcheolShin/ThermalMonoDepth, common/data_prepare/VIVID_raw_loader.py; "aggresive" is the release's own spelling.
# The authors choose checkpoints on `val`, which is part of `test`.
SPLITS = {
    "outdoor": {
        "train": ("outdoor_robust_day1", "outdoor_robust_day2"),
        "val": ("outdoor_robust_night1",),
        "test": ("outdoor_robust_night1", "outdoor_robust_night2"),
    },
    "indoor": {
        "train": (
            "indoor_aggresive_global", "indoor_unstable_local", "indoor_robust_global", "indoor_robust_local",
            "indoor_unstable_global",
        ),
        "val": ("indoor_robust_dark", "indoor_aggresive_local"),
        "test_dark": ("indoor_robust_dark", "indoor_aggresive_dark", "indoor_unstable_dark"),
        "test_well_lit": ("indoor_aggresive_local", "indoor_robust_varying_well_lit"),
    },
}  # fmt: skip
MIN_MOTION = 0.15  # the authors keep a frame when the velocities since the last one add up to more
WELL_LIT = "_well_lit"
# The 268 frames of indoor_robust_varying in which the lamp is on: their list, well_lit_from_varying.txt, as ranges.
WELL_LIT_FRAMES = (
    "20 23 42 44-47 65 67 69 71 73 76 78-84 111-112 114 116 118 120-131 159-187 213-220 247-255 257 259 261 263 266 "
    "269 274 280 282 302-340 369-383 385 387 389 392 394 396-404 419-450 477-510 534-554 581 583 585 587-604"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="KAIST_VIVID, or the folder prepared from it")
    add("--scene", choices=tuple(SPLITS), default="outdoor", help="which sequences and splits (outdoor)")
    add("--no-rgb", action="store_true", help="thermal alone")
    add(
        "--min-motion",
        type=float,
        default=MIN_MOTION,
        metavar="V",
        help=f"leave frames out until the velocities add up to this, as the authors do ({MIN_MOTION}; 0 keeps all); a "
        "prepared folder has them left out already",
    )
    add(
        "--fps",
        type=float,
        metavar="N",
        help="count this many frames a second instead of reading timestamps (prepared folders have none: 10)",
    )


def build(args: argparse.Namespace) -> Vivid:
    """Every file that will be read is looked for here, before anything is written."""
    if not args.raw.is_dir():
        raise UserError(f"--raw={args.raw} is no folder")
    if args.min_motion < 0 or (args.fps is not None and not args.fps > 0):
        raise UserError("--min-motion is 0 or more, --fps more than 0")
    notes: list[str] = []
    splits: dict[str, tuple[Spec, ...]] = {}
    for split, names in SPLITS[args.scene].items():
        found = [(name, _folder(args.raw, name)) for name in names]
        missing = [name for name, folder in found if folder is None]
        if missing:
            notes.append(f"{split} lacks {len(missing)} of {len(names)} sequences: {', '.join(missing)}")
        specs = tuple(_sequence(name, folder, args, notes) for name, folder in found if folder is not None)
        if specs:
            splits[split] = specs
    if not splits:
        raise UserError(
            f"{args.raw} holds no {args.scene} sequence such as {SPLITS[args.scene]['train'][0]}, neither as "
            "KAIST_VIVID (<seq>/Thermal/data) nor prepared (<seq>/Thermal/*.png)"
            + ("; bags are for `prepare vividpp`" if list(args.raw.rglob("*.bag")) else "")
        )
    return Vivid(
        data_dir=args.out,
        name=args.name or f"vivid_{args.scene}",
        splits=splits,
        facts=_facts(args, splits, raw.warn(notes)),
    )


def _folder(root: Path, name: str) -> Path | None:
    """Where a sequence is, under either spelling; a well-lit part may have to be taken from its whole."""
    for spelled in (name, name.replace("aggresive", "aggressive")):
        for candidate in (spelled, spelled.removesuffix(WELL_LIT)):
            if (root / candidate / "Thermal").is_dir():
                return root / candidate
    return None


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera of a sequence: its folders and what was measured with it. `poses` are world_from_camera."""

    images: Path
    depth: Path | None
    K: Float64[np.ndarray, "3 3"]
    poses: Float64[np.ndarray, "n 4 4"] | None


@dataclasses.dataclass(frozen=True)
class Spec:
    """One sequence to be written; plain values, for worker processes. Poses are those of `stems`."""

    name: str
    stems: tuple[str, ...]
    times: tuple[int, ...]
    condition: str
    thermal: Camera
    rgb: Camera | None
    rgb_from_thermal: Float64[np.ndarray, "4 4"] | None

    @property
    def frames(self) -> int:
        return len(self.stems)


def _sequence(name: str, folder: Path, args: argparse.Namespace, notes: list[str]) -> Spec:
    if (folder / "Thermal" / "data").is_dir():
        spec = _processed(name, folder, args)
    else:
        spec = _prepared(name, folder, args)
    for camera, kind in ((spec.thermal, "image"), (spec.rgb, "color")):
        if camera is None:
            continue
        raw.require(camera.images, spec.stems)
        size = raw.png_size(raw.png(camera.images / f"{spec.stems[0]}.png", kind))
        if not (0 <= camera.K[0, 2] < size[1] and 0 <= camera.K[1, 2] < size[0]):
            raise UserError(
                f"{camera.images}: the images are {size[1]}x{size[0]}, the principal point is "
                f"({camera.K[0, 2]:.1f}, {camera.K[1, 2]:.1f}); is K of another resolution?"
            )
        if camera.depth is not None:
            raw.require(camera.depth, spec.stems, ".npy")
            shape = raw.depth_npy(camera.depth / f"{spec.stems[0]}.npy").shape
            if shape != size:
                notes.append(
                    f"{camera.depth} is {shape[1]}x{shape[0]}, its images {size[1]}x{size[0]}: each pixel takes the "
                    "nearest measurement; published figures score all of them, for those use the post-processed release"
                )
        if camera.poses is not None:
            notes += raw.motion_notes(camera.poses, str(camera.images))[:1] if "outdoor" in name else []
    return spec


# The post-processed release.


def _processed(name: str, folder: Path, args: argparse.Namespace) -> Spec:
    calibration = _calibration(folder.parent)
    there = raw.stems(folder / "Thermal" / "data")
    stems = _kept(folder, args.min_motion) if args.min_motion else there
    if name.endswith(WELL_LIT) and not folder.name.endswith(WELL_LIT):
        lit = _ranges(WELL_LIT_FRAMES)
        stems = tuple(stem for stem in stems if int(stem) in lit)
    raw.require(folder / "Thermal" / "data", stems)
    # The n-th line belongs to file n, counted from 1.
    numbers = np.array([int(stem) - 1 for stem in stems])
    if args.fps is None:
        path = folder / "Thermal" / "timestamps.txt"
        if not path.is_file():
            raise UserError(f"there is no {path}; copy it, or count frames with --fps")
        times = tracks.times(path, len(there))[numbers]
    else:
        times = np.rint(numbers * (1e9 / args.fps)).astype(np.int64)

    def camera(label: str, images: str, depth: str, poses: str) -> Camera:
        depth_folder, pose_file = folder / "Warped_Depth" / depth, folder / poses
        if not depth_folder.is_dir() and label == "Thermal":
            depth_folder = folder / "Warped_Depth" / "data"  # so named in the authors' README
        return Camera(
            images=folder / images / "data",
            depth=depth_folder if depth_folder.is_dir() else None,
            K=calibration[f"K_{label}"].reshape(3, 3),
            poses=_poses(pose_file, numbers) if pose_file.is_file() else None,
        )

    return Spec(
        name=name,
        stems=stems,
        times=tuple(times.tolist()),
        condition=_condition(name),
        thermal=camera("Thermal", "Thermal", "data_THERMAL", "poses_thermal.txt"),
        rgb=None if args.no_rgb else camera("RGB", "RGB", "data_RGB", "poses_RGB.txt"),
        rgb_from_thermal=None if args.no_rgb else _rigid(calibration["R"], calibration["T"]),
    )


def _poses(path: Path, numbers: np.ndarray) -> Float64[np.ndarray, "n 4 4"]:
    """The lines `numbers` (from 0) of a file of 3x4 world_from_camera."""
    count = _lines(path)
    if numbers.max() >= count:
        raise UserError(f"{path} has {count} lines, but there is a frame {numbers.max() + 1}; copy it again")
    return tracks.poses(path, count)[numbers]


def _calibration(root: Path) -> dict[str, np.ndarray]:
    """`key: numbers` a line: K_Thermal and K_RGB (9, row order), R (9) and T (3, metres), thermal to RGB."""
    names = ("calib_ther_to_rgb.yaml", "cali_ther_to_rgb.yaml")  # the loader's name and the README's
    path = next((p for name in names if (p := root / "calibration" / name).is_file()), None)
    if path is None:
        raise UserError(
            f"there is no {root / 'calibration' / names[0]}; copy the release's folder calibration"
        )
    found: dict[str, np.ndarray] = {}
    for line in path.read_text().splitlines():
        key, _, rest = line.partition(":")
        words = rest.replace(",", " ").replace("[", " ").replace("]", " ").split()
        try:
            found[key.strip()] = np.array([float(word) for word in words])
        except ValueError:
            continue  # dates and names
    for key, count in (("K_Thermal", 9), ("K_RGB", 9), ("R", 9), ("T", 3)):
        if key not in found or found[key].size != count:
            raise UserError(f"{path} has no line `{key}:` with {count} numbers; copy it again")
    return found


def _rigid(R: np.ndarray, T: np.ndarray) -> Float64[np.ndarray, "4 4"]:
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = R.reshape(3, 3), T
    if np.linalg.norm(T) > 5:
        raise UserError(
            f"calib_ther_to_rgb.yaml puts the cameras of one hand-held rig {np.linalg.norm(T):.0f} m apart; is T in "
            "millimetres?"
        )
    return motion


def _kept(folder: Path, least: float) -> tuple[str, ...]:
    """Files at which the velocities since the last one kept add up to more than `least`; names count from 1."""
    path = folder / "avg_velocity_thermal.txt"
    if not path.is_file():
        raise UserError(f"there is no {path}; copy it, or keep all frames with --min-motion=0")
    total, kept = 0.0, []
    for number, velocity in enumerate(raw.numbers(path, _lines(path), "a velocity a line"), start=1):
        total += velocity
        if abs(total) > least:
            kept.append(f"{number:06d}")
            total = 0.0
    if not kept:
        raise UserError(f"no frame of {folder} has moved by {least:g}; lower --min-motion")
    return tuple(kept)


def _lines(path: Path) -> int:
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") for line in path.read_text().splitlines()
    )


def _ranges(text: str) -> frozenset[int]:
    pairs = [word.partition("-") for word in text.split()]
    return frozenset(i for low, _, high in pairs for i in range(int(low), int(high or low) + 1))


# The folder that the authors' preparation writes.


def _prepared(name: str, folder: Path, args: argparse.Namespace) -> Spec:
    stems = raw.stems(folder / "Thermal")
    if name.endswith(WELL_LIT) and not folder.name.endswith(WELL_LIT):
        lit = _ranges(WELL_LIT_FRAMES)
        poses_of = tuple(i for i, stem in enumerate(stems) if int(stem) in lit)
    else:
        poses_of = tuple(range(len(stems)))
    # The well-lit folder is copied without its calibration: it is that of the whole sequence.
    own = folder if (folder / "cam_T.txt").is_file() else folder.with_name(folder.name.removesuffix(WELL_LIT))

    def camera(images: str, letter: str) -> Camera:
        depth, pose_file = folder / f"Depth_{letter}", folder / f"poses_{letter}.txt"
        return Camera(
            images=folder / images,
            depth=depth if depth.is_dir() else None,
            K=raw.numbers(own / f"cam_{letter}.txt", 9, "a 3x3 matrix K").reshape(3, 3),
            poses=tracks.poses(pose_file, len(stems))[list(poses_of)] if pose_file.is_file() else None,
        )

    kept = tuple(stems[i] for i in poses_of)
    times = np.rint([(int(stem) - 1) * (1e9 / (args.fps or 10.0)) for stem in kept]).astype(np.int64)
    motion = None if args.no_rgb else raw.numbers(own / "Tr_T2RGB.txt", 16, "a 4x4 matrix").reshape(4, 4)
    return Spec(
        name=name,
        stems=kept,
        times=tuple(times.tolist()),
        condition=_condition(name),
        thermal=camera("Thermal", "T"),
        rgb=None if args.no_rgb else camera("RGB", "RGB"),
        rgb_from_thermal=motion,
    )


def _condition(name: str) -> str:
    """day, night; indoors well_lit, or how it was lit: global, local, dark, varying."""
    return "well_lit" if name.endswith(WELL_LIT) else name.split("_")[-1].rstrip("0123456789")


def _facts(
    args: argparse.Namespace, splits: dict[str, tuple[Spec, ...]], notes: Sequence[str]
) -> dict[str, Any]:
    specs = [spec for split in splits.values() for spec in split]
    prepared = specs[0].thermal.images.name == "Thermal"
    assumed = args.fps is not None or prepared
    return {
        "sensor": {
            "name": "FLIR A65",
            "unit": "raw",
            "bit_depth": 14,
            "planck": None,  # the release has no constants of this camera
            "frames_per_second": (args.fps or 10.0) if assumed else None,
        },
        "timestamps": "assumed" if assumed else "given",
        "layout": "prepared" if prepared else "post-processed",
        "min_motion": None if prepared else args.min_motion,
        "indoor": args.scene == "indoor",
        "protocols": ["shin2022", "fan2024"],
        "radar_columns": [],
        "label_names": [],
        "conditions": sorted({spec.condition for spec in specs}),
        "checks": list(notes),
    }


class Vivid(RawBuilder):
    """ViViD: hand-held thermal and RGB cameras with warped LiDAR depth and poses."""

    def modalities(self) -> frozenset[str]:
        keys = {"thermal/image", "thermal/K"}
        for spec in (spec for split in self._splits.values() for spec in split):
            if spec.rgb is not None:
                keys |= {"rgb/image", "rgb/K", "rgb_from_thermal"}
            for label, camera in (("thermal", spec.thermal), ("rgb", spec.rgb)):
                if camera is not None and camera.depth is not None:
                    keys.add(f"{label}/depth")
                if camera is not None and camera.poses is not None:
                    keys.add(f"{label}/world_from_camera")
        return frozenset(keys)

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        for index, stem in enumerate(spec.stems):
            frame: records.Frame = {
                "sequence": spec.name,
                "index": index,
                "timestamp_ns": spec.times[index],
                "condition": spec.condition,
            }
            for label, camera, kind in (("thermal", spec.thermal, "image"), ("rgb", spec.rgb, "color")):
                if camera is None:
                    continue
                image = raw.png(camera.images / f"{stem}.png", kind)
                frame |= {f"{label}/image": image, f"{label}/K": camera.K}
                if camera.depth is not None:
                    depth = raw.depth_npy(camera.depth / f"{stem}.npy")
                    frame[f"{label}/depth"] = raw.nearest(depth, raw.png_size(image))
                if camera.poses is not None:
                    frame[f"{label}/world_from_camera"] = camera.poses[index]
            if spec.rgb_from_thermal is not None:
                frame["rgb_from_thermal"] = spec.rgb_from_thermal
            yield frame
