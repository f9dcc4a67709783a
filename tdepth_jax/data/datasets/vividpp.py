"""ViViD++ (Lee et al., RA-L 2022): ROS bags of a car, or hand-held, with thermal, RGB, LiDAR; depth is made here.

DIR holds the bags and, for depth and poses, LOAM's `<bag>_optimized_poses.txt` and `<bag>_times.txt` (hand-held:
`path_<bag>.csv`), beside them or in `loamposes`, `loampose` or `pose`. The release has no depth maps: its scans are
put right for the motion within them, the nearest few are merged with the poses and projected, and points hidden from
the camera are taken out. That needs the LiDAR's place, from the release's calibration, as `--thermal-from-lidar`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from tdepth_jax.data import bags, raw, records, tracks
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.data.lens import Lens, Undistorter
from tdepth_jax.data.lidar import Track
from tdepth_jax.data.scans import Frames, Plan
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults

HELP = "ViViD++: ROS bags (driving, hand-held): thermal, RGB, depth from LiDAR + poses"


@dataclasses.dataclass(frozen=True)
class Rig:
    """What the release fixes for a set of bags; `train` are the bags that are not for testing."""

    thermal_topic: str
    rgb_topic: str
    thermal: Lens
    rgb: Lens
    train: tuple[str, ...] = ()


# Topics, intrinsics and coefficients are those of the authors' process_img.py, as kept in castacks/AnyThermal,
# which undistorts all four with OpenCV's fisheye model. The hand-held coefficients (k1, k2 and two of 1e-3) have the
# form of the radial-tangential model, and are taken as that.
RIGS = {
    "driving": Rig(
        "/thermal/image_raw",
        "/camera/image_color",
        Lens(
            (445.34173838383924, 446.40695195454197, 310.74708274781557, 249.54892754326676),
            (512, 640),
            "fisheye",
            (0.248994091117758, -2.909390816436668, 8.052903070857168, -7.363581411738435),
        ),
        Lens(
            (702.6030497884977, 703.4541726858521, 644.9296487349911, 526.4572414665469),
            (1024, 1280),
            "fisheye",
            (0.5424763304847061, -1.7515099175022195, 6.050489512760127, -5.786170959900578),
        ),
    ),
    "handheld": Rig(
        "/thermal/image_raw",
        "/rgb/image",
        Lens(
            (437.38861083256637, 437.29475745770907, 323.5284494924228, 256.36315482047905),
            (512, 640),
            "radtan",
            (-0.431640703150235, 0.17811649959498482, -0.0014905118708651568, -0.0011389876158246133),
        ),
        Lens(
            (531.0787710720505, 530.9280349280389, 322.0434384516226, 239.58555406488455),
            (480, 640),
            "radtan",
            (0.029762942995503135, -0.0835531221056956, 0.000913361749036359, 0.0029817041017012043),
        ),
        train=("outdoor_robust_day1", "outdoor_robust_day2"),
    ),
}
POSE_FOLDERS = (".", "loamposes", "loampose", "pose")
RGB_DELAY = 0.05  # seconds: half a period of the slower camera


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="folder of .bag files, with the poses")
    add("--rig", choices=tuple(RIGS), default="driving", help="topics and lenses (driving)")
    add("--train", metavar="BAGS", help="names of the bags for training; all others are for testing")
    add(
        "--thermal-from-lidar",
        type=Path,
        metavar="FILE",
        help="3x4 or 4x4 numbers that carry LiDAR points into the thermal camera, metres; without it there is no "
        "depth and no pose",
    )
    add("--rgb", action="store_true", help="store the RGB images nearest in time")
    add("--rgb-from-lidar", type=Path, metavar="FILE", help="as --thermal-from-lidar, for the RGB camera")
    add("--thermal-kalibr", type=Path, metavar="FILE.yaml", help="the thermal lens, instead of the known one")
    add("--rgb-kalibr", type=Path, metavar="FILE.yaml", help="the RGB lens, instead of the known one")
    add("--lidar-topic", metavar="TOPIC", help="point clouds (the only such topic of the bag)")
    add("--scans", type=int, default=5, metavar="N", help="scans nearest in time that make a depth map (5)")
    add("--keep-hidden", action="store_true", help="leave points in that the camera cannot see")


def build(args: argparse.Namespace) -> Vividpp:
    """Looks into every bag's index and poses before anything is written; the bags are read through only then."""
    rig = _rig(args)
    if args.scans < 1:
        raise UserError(f"--scans={args.scans}: at least one scan makes a depth map")
    found = sorted(args.raw.glob("*.bag")) if args.raw.is_dir() else []
    if not found:
        raise UserError(f"--raw={args.raw} holds no *.bag; give the folder driving_full of the release")
    train = rig.train if args.train is None else tuple(filter(None, args.train.split(",")))
    unknown = [name for name in train if args.train is not None and not (args.raw / f"{name}.bag").is_file()]
    if unknown:
        raise UserError(f"--train: there is no {args.raw / unknown[0]}.bag; there are {_names(found)}")
    notes: list[str] = []
    if args.thermal_from_lidar is None:
        notes.append("without --thermal-from-lidar there is neither depth nor pose")
    splits: dict[str, tuple[Plan, ...]] = {"train": (), "test": ()}
    for path in found:
        splits["train" if path.stem in train else "test"] += tuple(_plans(path, rig, args, notes))
    splits = {split: plans for split, plans in splits.items() if plans}
    if not splits:
        raise UserError(f"no bag of {args.raw} has three thermal images in a row")
    return Vividpp(
        data_dir=args.out,
        name=args.name or ("vividpp" if args.rig == "driving" else "vividpp_handheld"),
        splits=splits,
        facts=_facts(args, splits, raw.warn(notes)),
    )


def _names(found: list[Path]) -> str:
    return ", ".join(path.stem for path in found)


def _rig(args: argparse.Namespace) -> Rig:
    rig = RIGS[args.rig]
    if args.thermal_kalibr is not None:
        rig = dataclasses.replace(rig, thermal=Lens.of_kalibr(args.thermal_kalibr))
    if args.rgb_kalibr is not None:
        rig = dataclasses.replace(rig, rgb=Lens.of_kalibr(args.rgb_kalibr))
    return rig


def _plans(path: Path, rig: Rig, args: argparse.Namespace, notes: list[str]) -> Iterator[Plan]:
    """A bag's parts without holes in time; frames without a partner in RGB are holes too, where it is wanted."""
    topics = bags.topics(path)
    wanted = [rig.thermal_topic, *([rig.rgb_topic] if args.rgb else [])]
    for topic in wanted:
        if topics.get(topic) != bags.IMAGE:
            raise UserError(f"{path} has no images on {topic}; its topics are {', '.join(sorted(topics))}")
    thermal_from_lidar = _extrinsic(args.thermal_from_lidar)
    cloud = _cloud_topic(path, topics, args.lidar_topic) if thermal_from_lidar is not None else None
    track = _track(path, notes) if thermal_from_lidar is not None else None
    if thermal_from_lidar is not None and cloud is None:
        notes.append(f"{path} has no point clouds (driving_full has them): no depth")
    if track is not None and thermal_from_lidar is not None:
        cameras = track.poses @ np.linalg.inv(thermal_from_lidar)
        notes += raw.motion_notes(cameras, f"{path.stem}'s poses as seen by the thermal camera")
    rgb_from_lidar = _extrinsic(args.rgb_from_lidar)
    written = bags.written_times(path, rig.thermal_topic)
    partner = bags.written_times(path, rig.rgb_topic) if args.rgb else None
    runs = _runs(written, partner)
    for part, run in enumerate(runs):
        yield Plan(
            name=path.stem if len(runs) == 1 else f"{path.stem}.{part}",
            bag=path,
            first=run[0],
            frames=len(run),
            start=int(written[run[0]]),
            condition=_condition(path.stem),
            thermal_topic=rig.thermal_topic,
            thermal=rig.thermal,
            rgb_topic=rig.rgb_topic if args.rgb else None,
            rgb=rig.rgb,
            rgb_delay=int(RGB_DELAY * 1e9),
            cloud_topic=cloud if track is not None else None,
            track=track,
            thermal_from_lidar=thermal_from_lidar,
            rgb_from_lidar=rgb_from_lidar if args.rgb else None,
            scans=args.scans,
            keep_hidden=args.keep_hidden,
        )


def _runs(written: Int64[np.ndarray, " n"], partner: Int64[np.ndarray, " m"] | None) -> list[range]:
    """Thermal images in a row without a gap in time, at least three of them, as numbers within their topic."""
    good = np.ones(len(written), bool)
    if partner is not None:
        after = np.clip(np.searchsorted(partner, written), 1, max(len(partner) - 1, 1))
        near = (
            [partner[np.clip(after - back, 0, len(partner) - 1)] for back in (0, 1)] if len(partner) else []
        )
        good = np.zeros(len(written), bool)
        for other in near:
            good |= np.abs(other - written) <= RGB_DELAY * 1e9
    cut = np.zeros(len(written), bool)
    cut[faults.gaps(written)] = True
    runs: list[range] = []
    first = 0
    for number in range(len(written) + 1):
        ends = number == len(written) or cut[number] or not good[number]
        if ends and number - first >= 3:
            runs.append(range(first, number))
        if ends:
            first = number if number < len(written) and good[number] else number + 1
    return runs


def _cloud_topic(path: Path, topics: Any, given: str | None) -> str | None:
    clouds = sorted(topic for topic, kind in topics.items() if kind == bags.CLOUD)
    if given is not None:
        if given not in clouds:
            raise UserError(
                f"--lidar-topic={given}: {path} has point clouds on {', '.join(clouds) or 'no topic'}"
            )
        return given
    if len(clouds) > 1:
        raise UserError(f"{path} has point clouds on {', '.join(clouds)}; choose one with --lidar-topic")
    return clouds[0] if clouds else None


def _extrinsic(path: Path | None) -> Float64[np.ndarray, "4 4"] | None:
    if path is None:
        return None
    count = len(path.read_text().replace(",", " ").split()) if path.is_file() else 16
    motion = np.eye(4)
    numbers = raw.numbers(path, 12 if count == 12 else 16, "a 3x4 or 4x4 matrix, other_from_lidar")
    motion[: len(numbers) // 4] = numbers.reshape(-1, 4)
    turn = motion[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        raise UserError(f"{path} is no rigid motion (its 3x3 part must be a rotation)")
    if np.linalg.norm(motion[:3, 3]) > 5:
        raise UserError(
            f"{path} puts the LiDAR {np.linalg.norm(motion[:3, 3]):.0f} m from the camera; is it in mm?"
        )
    return motion


def _track(path: Path, notes: list[str]) -> Track | None:
    """world_from_lidar of a bag: LOAM's poses (12 numbers a line) and times, or a csv of `t x y z qx qy qz qw`."""
    for folder in (path.parent / name for name in POSE_FOLDERS):
        poses, times = (folder / f"{path.stem}_{what}.txt" for what in ("optimized_poses", "times"))
        table = folder / f"path_{path.stem}.csv"
        if poses.is_file() and not times.is_file():
            raise UserError(f"there is {poses}, but no {times.name} beside it; copy it too")
        if poses.is_file():
            count = len([line for line in times.read_text().splitlines() if line.strip()])
            return _checked_track(tracks.times(times, count), tracks.poses(poses, count), times)
        if table.is_file():
            return _checked_track(*tracks.table(table), table)
    notes.append(
        f"{path.stem} has no poses ({path.stem}_optimized_poses.txt and _times.txt): no depth, no pose"
    )
    return None


def _checked_track(times: np.ndarray, poses: np.ndarray, path: Path) -> Track:
    if len(times) < 2 or (np.diff(times) <= 0).any():
        raise UserError(f"{path}: the times of its {len(times)} poses do not advance; sort the poses")
    return Track(times, poses)


def _condition(name: str) -> str:
    """day, evening, night, morning; indoors dark, global, local, varying."""
    known = ("day", "evening", "night", "morning", "dark", "global", "local", "varying")
    return next((word for word in known if word in name), "unknown")


def _facts(args: argparse.Namespace, splits: dict[str, tuple[Plan, ...]], notes: list[str]) -> dict[str, Any]:
    plans = [plan for split in splits.values() for plan in split]
    return {
        "sensor": {
            "name": "FLIR A65",
            "unit": "raw",
            "bit_depth": 14,
            "planck": None,  # the release's raw_to_kelvin is not public
            "frames_per_second": None,
        },
        "depth_source": f"{args.scans} LiDAR scans merged by LOAM poses"
        + (", hidden points kept" if args.keep_hidden else ", hidden points taken out"),
        "undistorted": {"thermal": plans[0].thermal.model, "rgb": plans[0].rgb.model},
        "indoor": False,
        "protocols": ["fan2024"],
        "radar_columns": [],
        "label_names": [],
        "conditions": sorted({plan.condition for plan in plans}),
        "checks": notes,
    }


class Vividpp(RawBuilder):
    """ViViD++ from its bags: undistorted thermal and RGB images, depth from LiDAR, LOAM poses."""

    def modalities(self) -> frozenset[str]:
        keys = {"thermal/image", "thermal/K"}
        for plan in (plan for split in self._splits.values() for plan in split):
            keys |= {"thermal/valid"} if not Undistorter(plan.thermal).valid().all() else set()
            keys |= {"thermal/world_from_camera"} if plan.track is not None else set()
            keys |= {"thermal/depth"} if plan.cloud_topic else set()
            keys |= {"rgb/image", "rgb/K"} if plan.rgb_topic else set()
            keys |= {"rgb_from_thermal"} if plan.rgb_from_thermal is not None else set()
        return frozenset(keys)

    @staticmethod
    def frames(spec: Plan) -> Iterator[records.Frame]:
        return Frames(spec).run()
