"""MS2 (Shin et al., CVPR 2023): driving with stereo thermal, RGB and NIR cameras, LiDAR depth and odometry.

DIR is the folder that holds `sync_data`, `proj_depth` and `odom`, each with `_2021-...` sequences, as the unpacked
archives make it. Images are rectified and cropped, so K is all there is of the lens. Depth belongs to the left
camera of every pair.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdepth_jax.data import pickled, raw, records, tracks
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import io
from tdepth_jax.thermal.radiometry import FLIR_A65

HELP = "MS2: driving, stereo thermal + RGB + NIR, depth, poses; day, night, rain"

# The authors' lists (UkcheolShin/MS2-MultiSpectralStereoDataset, MS2dataset/*.txt, January 2024).
SPLITS = {
    "train": (
        "_2021-08-06-10-59-33", "_2021-08-06-11-37-46", "_2021-08-06-17-21-04", "_2021-08-06-17-44-55",
        "_2021-08-13-16-50-57", "_2021-08-13-17-06-04", "_2021-08-13-21-36-10", "_2021-08-13-22-36-41",
    ),
    "val": ("_2021-08-13-16-08-46", "_2021-08-13-16-14-48", "_2021-08-13-21-58-13"),
    "test_day": ("_2021-08-06-11-23-45", "_2021-08-13-15-46-56", "_2021-08-13-16-31-10"),
    "test_night": ("_2021-08-13-21-18-04", "_2021-08-13-22-03-03", "_2021-08-13-22-16-02"),
    "test_rain": ("_2021-08-06-16-19-00", "_2021-08-06-16-45-28", "_2021-08-06-16-59-13"),
}  # fmt: skip
# Frames that the authors' benchmark takes of each (UkcheolShin/SupDepth4Thermal, Base_Sup_Mono_Depth.yaml).
FRAME_STEP = {"train": 1, "val": 3, "test_day": 10, "test_night": 10, "test_rain": 10}
FRAMES_PER_SECOND = 15

FOLDERS = {"thermal": "thr", "rgb": "rgb", "nir": "nir"}
KINDS = {"thermal": "image", "rgb": "color", "nir": "grey"}
SIZES = {"thermal": (256, 640), "rgb": (384, 1224), "nir": (352, 1280)}
OFFICIAL = "depth_filtered"
REFINED = "depth_filtered_myrefine"  # MonoTher-Depth's release: the official one without what is misaligned
DEPTHS = {
    "filtered": OFFICIAL,
    "unfiltered": "depth",
    "multi": "depth_multi",
    "refined": OFFICIAL,
    "none": None,
}
MILLIMETRE = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="folder with sync_data, proj_depth and odom")
    add(
        "--cameras",
        default="thermal,rgb",
        metavar="LIST",
        help="left cameras to store, among thermal,rgb,nir; thermal is always one (thermal,rgb)",
    )
    add("--right", action="store_true", help="store the right cameras too")
    add(
        "--depth",
        choices=tuple(DEPTHS),
        default="filtered",
        help="which ground truth: the one of the extended benchmark (filtered), of the CVPR paper (unfiltered), the "
        "merged scans (multi), or none; refined: MonoTher-Depth's labels in train, those of `filtered` elsewhere",
    )
    add("--splits", default=",".join(SPLITS), metavar="LIST", help=f"splits to write ({','.join(SPLITS)})")
    add(
        "--fps", type=float, metavar="N", help="count this many frames a second instead of reading timestamps"
    )


def build(args: argparse.Namespace) -> Ms2:
    """Every file that will be read is looked for here, before anything is written."""
    cameras = raw.chosen("--cameras", args.cameras, FOLDERS)
    cameras = tuple(c for c in FOLDERS if c in {"thermal", *cameras})
    wanted = raw.chosen("--splits", args.splits, SPLITS)
    if args.fps is not None and not args.fps > 0:
        raise UserError(f"--fps={args.fps:g}: frames per second are more than 0")
    sync = args.raw / "sync_data"
    if not sync.is_dir():
        raise UserError(
            f"--raw={args.raw} holds no folder sync_data; give the folder above sync_data and proj_depth"
        )
    notes: list[str] = []
    splits = {}
    for split in wanted:
        there = [name for name in SPLITS[split] if (sync / name).is_dir()]
        missing = [name for name in SPLITS[split] if name not in there]
        if missing:
            notes.append(
                f"{split} lacks {len(missing)} of {len(SPLITS[split])} sequences: {', '.join(missing)}"
            )
        if there:
            splits[split] = tuple(_spec(args, name, split, cameras, notes) for name in there)
    if not splits:
        packed = " (there are .tar.bz2 archives: unpack them)" if list(args.raw.rglob("*.tar.bz2")) else ""
        raise UserError(f"{sync} holds none of the sequences of {', '.join(wanted)}{packed}")
    return Ms2(
        data_dir=args.out,
        name=args.name,
        splits=splits,
        facts={
            "depth_source": DEPTHS[args.depth],  # of all that is scored
            "train_depth_source": _depth_folder_name(args.depth, "train", "thermal"),
            "checks": raw.warn(notes),
        },
    )


@dataclasses.dataclass(frozen=True)
class Calibration:
    """`calib.npy` in metres. Motions map points from the second camera named to the first; all are left cameras.

    Attributes:
      K, K_right: of the left and right camera of each pair, 3x3, pixels of the rectified, cropped images.
      right_from_left: 4x4 of each pair; rectified, so it is a shift along x.
      rgb_from_thermal, nir_from_thermal: 4x4.
    """

    K: Mapping[str, Float64[np.ndarray, "3 3"]]
    K_right: Mapping[str, Float64[np.ndarray, "3 3"]]
    right_from_left: Mapping[str, Float64[np.ndarray, "4 4"]]
    rgb_from_thermal: Float64[np.ndarray, "4 4"]
    nir_from_thermal: Float64[np.ndarray, "4 4"]

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """From the released dictionary: R 3x3 in row order, T in millimetres, both left -> right or nir -> other.

        Raises:
          UserError: a key missing, or matrices that are no rotation or not in millimetres.
        """
        found = pickled.read_dict(path)
        keys = [
            f"{what}_{folder}" for folder in ("rgbR", "nirR", "thrR", "nir2thr", "nir2rgb") for what in "RT"
        ]
        missing = [key for key in (*keys, "K_rgbL", "K_nirL", "K_thrL") if key not in found]
        if missing:
            raise UserError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(map(str, found)))}")
        thermal_from_nir = _motion(found, "nir2thr", path)
        return cls(
            K={camera: _intrinsics(found, f"K_{folder}L", path) for camera, folder in FOLDERS.items()},
            # Rectified: both cameras of a pair share K, and not every release repeats it.
            K_right={
                camera: _intrinsics(found, f"K_{folder}{'R' if f'K_{folder}R' in found else 'L'}", path)
                for camera, folder in FOLDERS.items()
            },
            right_from_left={
                camera: _motion(found, f"{folder}R", path) for camera, folder in FOLDERS.items()
            },
            rgb_from_thermal=_motion(found, "nir2rgb", path) @ np.linalg.inv(thermal_from_nir),
            nir_from_thermal=np.linalg.inv(thermal_from_nir),
        )

    def baseline(self, camera: str) -> float:
        """Metres between the two cameras of a pair."""
        return float(np.linalg.norm(self.right_from_left[camera][:3, 3]))


def _intrinsics(found: Mapping[str, Any], key: str, path: Path) -> Float64[np.ndarray, "3 3"]:
    K = np.asarray(found[key], np.float64)
    if K.shape != (3, 3) or not np.isfinite(K).all() or not (K[0, 0] > 0 and K[1, 1] > 0):
        raise UserError(f"{path}: {key} is no 3x3 matrix of intrinsics: {K.tolist()}")
    return K


def _motion(found: Mapping[str, Any], name: str, path: Path) -> Float64[np.ndarray, "4 4"]:
    R, T = (np.asarray(found[f"{what}_{name}"], np.float64) for what in "RT")
    if R.shape != (3, 3) or T.size != 3 or np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
        raise UserError(f"{path}: R_{name}, T_{name} are no rotation and shift: {R.tolist()}, {T.tolist()}")
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = R, T.reshape(3) * MILLIMETRE
    length = np.linalg.norm(motion[:3, 3])
    if not 0.005 < length < 5:  # cameras on one roof rack
        raise UserError(
            f"{path}: T_{name} would put the cameras {length:.4g} m apart; the release has millimetres there"
        )
    return motion


@dataclasses.dataclass(frozen=True)
class Spec:
    """One sequence to be written; plain values, for worker processes."""

    name: str
    root: Path
    stems: tuple[str, ...]
    times: tuple[int, ...]
    condition: str
    cameras: tuple[str, ...]
    right: bool
    depth: Mapping[str, str | None]  # the folder of each camera's
    posed: bool
    calibration: Calibration

    @property
    def frames(self) -> int:
        return len(self.stems)


def _spec(
    args: argparse.Namespace, name: str, split: str, cameras: tuple[str, ...], notes: list[str]
) -> Spec:
    sync = args.raw / "sync_data" / name
    stems = raw.stems(sync / "thr" / "img_left")
    calibration = Calibration.read(sync / "calib.npy")
    depth = {camera: _depth_folder_name(args.depth, split, camera) for camera in cameras}
    for camera in cameras:
        for side in ("left", "right") if args.right else ("left",):
            raw.require(sync / FOLDERS[camera] / f"img_{side}", stems)
        notes += _shape_notes(sync, camera, stems[0], calibration.K[camera])
        if folder := depth[camera]:
            notes += _depth_notes(args.raw / "proj_depth" / name / FOLDERS[camera] / folder, stems)
        if folder == REFINED:
            _check_refined(args.raw / "proj_depth" / name / FOLDERS[camera], stems)
    if args.fps is None:
        times = tracks.times(sync / "thr" / "img_left_timestamp.txt", len(stems))
    else:
        times = np.rint(np.arange(len(stems)) * (1e9 / args.fps)).astype(np.int64)
    odom = args.raw / "odom" / name
    posed = odom.is_dir()
    if posed:
        for camera in cameras:
            raw.require(odom / FOLDERS[camera], stems, ".txt")
        some = np.stack([_pose(odom, "thermal", stem) for stem in stems[:: max(1, len(stems) // 200)]])
        notes += raw.motion_notes(some, f"{odom}/thr")
    else:
        notes.append(f"there is no {odom}: {name} has no poses")
    return Spec(
        name=name,
        root=args.raw,
        stems=stems,
        times=tuple(times.tolist()),
        condition=_condition(name, split),
        cameras=cameras,
        right=args.right,
        depth=depth,
        posed=posed,
        calibration=calibration,
    )


def _condition(name: str, split: str) -> str:
    """Of test sequences what their list says; of the others only night can be told, by the clock in the name."""
    if split.startswith("test_"):
        return split.removeprefix("test_")
    return "night" if int(name.split("-")[3]) >= 21 else "day_or_rain"


def _shape_notes(sync: Path, camera: str, stem: str, K: np.ndarray) -> list[str]:
    path = sync / FOLDERS[camera] / "img_left" / f"{stem}.png"
    height, width = size = raw.png_size(raw.png(path, KINDS[camera]))
    if not (0 <= K[0, 2] < width and 0 <= K[1, 2] < height):
        raise UserError(
            f"{sync / 'calib.npy'}: the principal point ({K[0, 2]:.1f}, {K[1, 2]:.1f}) of K_{FOLDERS[camera]}L lies "
            f"outside the {width}x{height} image {path.name}; is it the calibration of these images?"
        )
    if size != SIZES[camera]:
        wanted = SIZES[camera]
        return [f"{sync}: {camera} images are {width}x{height}, the release's {wanted[1]}x{wanted[0]}"]
    return []


def _depth_folder_name(depth: str, split: str, camera: str) -> str | None:
    """Refined labels are for training, and there are none of NIR; what is scored is always an official depth."""
    refined = depth == "refined" and split == "train" and camera in ("thermal", "rgb")
    return REFINED if refined else DEPTHS[depth]


def _check_refined(folder: Path, stems: tuple[str, ...]) -> None:
    """Refining only takes depths away: what is left in a frame in the middle are the filtered ones, to the unit."""
    stem = stems[len(stems) // 2]
    refined, filtered = folder / REFINED / f"{stem}.png", folder / OFFICIAL / f"{stem}.png"
    if not (refined.is_file() and filtered.is_file()):
        return
    some, whole = (io.read_depth_png(path, scale=records.DEPTH_SCALE)[0] for path in (refined, filtered))
    if some.shape != whole.shape or (some[some > 0] != whole[some > 0]).any():
        raise UserError(
            f"{refined} holds depths that {filtered} has not; are both of this sequence and camera? Copy the refined "
            "folders anew"
        )


def _depth_notes(folder: Path, stems: tuple[str, ...]) -> list[str]:
    if not folder.is_dir():
        what = (
            "the MonoTher-Depth release's proj_depth" if folder.name == REFINED else "the proj_depth archive"
        )
        raise UserError(f"there is no {folder}; unpack {what} there, or give another --depth (none: without)")
    missing = len(set(stems) - set(raw.stems(folder)))
    return [f"{folder} has no depth for {missing} of {len(stems)} frames"] if missing else []


def _pose(odom: Path, camera: str, stem: str) -> Float64[np.ndarray, "4 4"]:
    """Of the left camera in the first frame's: 16 numbers."""
    return raw.numbers(odom / FOLDERS[camera] / f"{stem}.txt", 16, "a 4x4 matrix").reshape(4, 4)


class Ms2(RawBuilder):
    """MS2: rectified multi-spectral stereo driving with projected LiDAR depth."""

    def modalities(self) -> frozenset[str]:
        specs = [spec for split in self._splits.values() for spec in split]
        first, keys = specs[0], set()
        for camera in first.cameras:
            keys |= {f"{camera}/image", f"{camera}/K"}
            if first.depth[camera]:
                keys.add(f"{camera}/depth")
            if any(spec.posed for spec in specs):
                keys.add(f"{camera}/world_from_camera")
            if camera != "thermal":
                keys.add(f"{camera}_from_thermal")
            if first.right:
                keys |= {f"{camera}_right/image", f"{camera}_right/K", f"{camera}_right_from_{camera}"}
        return frozenset(keys)

    def facts(self) -> dict[str, Any]:
        specs = [spec for split in self._splits.values() for spec in split]
        calibration = specs[0].calibration
        return {
            "sensor": {
                "name": "FLIR A65C",
                "unit": "raw",
                "bit_depth": 14,
                "planck": FLIR_A65.as_dict(),  # the authors' "default values", not a calibration of this camera
                "frames_per_second": FRAMES_PER_SECOND,
            },
            "depth_scale": records.DEPTH_SCALE,  # the release's own: PNG values are metres * 256
            "baseline_metres": {camera: calibration.baseline(camera) for camera in specs[0].cameras},
            "rectified": True,
            "indoor": False,
            "protocols": ["sup4thermal", "monother"],
            "frame_step": {split: FRAME_STEP[split] for split in self._splits},
            "radar_columns": [],
            "label_names": [],
            "conditions": sorted({spec.condition for spec in specs}),
            **self._facts,
        }

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        there = {
            camera: set(raw.stems(_depth_folder(spec, camera))) if spec.depth[camera] else set()
            for camera in spec.cameras
        }
        for index, stem in enumerate(spec.stems):
            frame: records.Frame = {
                "sequence": spec.name,
                "index": index,
                "timestamp_ns": spec.times[index],
                "condition": spec.condition,
            }
            for camera in spec.cameras:
                frame |= _camera(spec, camera, stem, stem in there[camera])
            yield frame


def _depth_folder(spec: Spec, camera: str) -> Path:
    return spec.root / "proj_depth" / spec.name / FOLDERS[camera] / str(spec.depth[camera])


def _camera(spec: Spec, camera: str, stem: str, has_depth: bool) -> records.Frame:
    """What one camera pair adds to a frame: files as they are, calibration in metres."""
    folder = spec.root / "sync_data" / spec.name / FOLDERS[camera]
    image = raw.png(folder / "img_left" / f"{stem}.png", KINDS[camera])
    found: records.Frame = {f"{camera}/image": image, f"{camera}/K": spec.calibration.K[camera]}
    if camera != "thermal":
        found[f"{camera}_from_thermal"] = getattr(spec.calibration, f"{camera}_from_thermal")
    if has_depth:
        path = _depth_folder(spec, camera) / f"{stem}.png"
        found[f"{camera}/depth"] = raw.png(path, "depth")
        if raw.png_size(found[f"{camera}/depth"]) != raw.png_size(image):
            raise UserError(
                f"{path} is {raw.png_size(found[f'{camera}/depth'])}, its image {raw.png_size(image)} (height, width); "
                "is it of another camera?"
            )
    if spec.posed:
        found[f"{camera}/world_from_camera"] = _pose(spec.root / "odom" / spec.name, camera, stem)
    if spec.right:
        found |= {
            f"{camera}_right/image": raw.png(folder / "img_right" / f"{stem}.png", KINDS[camera]),
            f"{camera}_right/K": spec.calibration.K_right[camera],
            f"{camera}_right_from_{camera}": spec.calibration.right_from_left[camera],
        }
    return found
