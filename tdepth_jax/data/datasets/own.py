"""Your own thermal frames as records: checked, masked, split into train and a held-back test part.

DIR holds the frames (16-bit PNG or TIFF, .npy, radiometric JPEG) in the order of their names, or sub-folders of
frames, one for each sequence, or TIFF stacks, each of them a sequence. `DIR/*_ir.png` (in quotes) picks among the files
of DIR and its sub-folders. Colour frames of a second camera come with --rgb.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tdepth_jax.data import colour, extrinsics, raw, recordings, records, stretches, tracks
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.data.recordings import Seen
from tdepth_jax.data.stretches import Camera, Recording, Spec
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, intrinsics, io, recording, rgb_faults
from tdepth_jax.thermal.faults import Fault

HELP = "your own thermal frames, with RGB ones where there are: a folder, and the camera's K or field of view"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--raw",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of frames, or of sequences; 'DIR/*_ir.png' picks files by name",
    )
    camera = parser.add_mutually_exclusive_group(required=True)
    camera.add_argument(
        "--fov-x", type=float, metavar="DEG", help="horizontal field of view, when K is not known"
    )
    camera.add_argument(
        "--intrinsics", metavar="K", help="fx,fy,cx,cy in pixels of the frames, or a Kalibr FILE.yaml[:cam1]"
    )
    add(
        "--timestamps",
        metavar="FILE",
        help="one time a line, seconds or ns; a name without a folder is looked for in every sequence's folder",
    )
    add(
        "--fps",
        type=float,
        default=10.0,
        metavar="N",
        help="frames per second where there are no timestamps (10)",
    )
    add(
        "--poses",
        metavar="FILE",
        help="world_from_camera, a line for every frame: 12 numbers (KITTI), 16, or t x y z qx qy qz qw (TUM); found "
        "as --timestamps are",
    )
    mask = parser.add_mutually_exclusive_group()
    mask.add_argument("--mask", type=Path, metavar="FILE.png", help="usable pixels white, others black")
    mask.add_argument(
        "--mask-bottom", type=float, metavar="FRACTION", help="the lowest part of the image is the car itself"
    )
    add(
        "--holdout",
        type=float,
        default=0.15,
        metavar="F",
        help="share held back at each sequence's end (0.15)",
    )
    add("--unit", choices=("raw", "centikelvin"), default="raw", help="what 16-bit values are (raw)")
    condition = parser.add_mutually_exclusive_group()
    condition.add_argument(
        "--condition",
        default="unknown",
        metavar="NAME",
        help="day, night, rain, ...: the tables' rows (unknown)",
    )
    condition.add_argument(
        "--conditions",
        metavar="END=NAME,...",
        help="by the end of a sequence's name, or a still's: D=day,N=night",
    )
    add(
        "--stills",
        action="store_true",
        help="pictures that are no video: each is a sequence of one, and nothing is asked of movement",
    )
    _add_rgb_arguments(parser)


def _add_rgb_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("colour frames of a second camera")
    add = group.add_argument
    add(
        "--rgb",
        type=Path,
        metavar="DIR",
        help="folder of 8-bit colour frames, or of sequences named as those of --raw. Frames of equal names are pairs; "
        "where no name is shared and there are equally many, those of equal place",
    )
    camera = group.add_mutually_exclusive_group()
    camera.add_argument(
        "--rgb-intrinsics", metavar="K", help="of the colour frames, as --intrinsics; of a Kalibr file cam1"
    )
    camera.add_argument(
        "--rgb-fov-x", type=float, metavar="DEG", help="horizontal field of view of colour frames"
    )
    add(
        "--rgb-from-thermal",
        metavar="WHAT",
        help="pose of the thermal camera in the RGB one (x_rgb = T x_thermal, metres): a file of 4x4 or 3x4 numbers "
        "(text, .npy), a Kalibr FILE.yaml of both cameras, or `identity` for co-registered pictures, which share K",
    )
    add(
        "--rgb-timestamps",
        metavar="FILE",
        help="times of the colour frames, as --timestamps and on its clock: each thermal frame takes the nearest "
        "colour frame; those that have none are left out",
    )
    add(
        "--rgb-tolerance",
        type=float,
        default=colour.TOLERANCE,
        metavar="S",
        help=f"how far apart in time a pair may be, in seconds ({colour.TOLERANCE})",
    )


def build(args: argparse.Namespace) -> Own:
    """Checks everything first: grave faults stop, the others are printed and kept in the metadata."""
    _check_flags(args)
    known = stretches.endings("--conditions", args.conditions) if args.conditions else None
    found = recordings.find(args.raw)
    colours = colour.find(args.rgb, [name for name, _ in found]) if args.rgb else {}
    size = recordings.read(found[0][1][0], args.unit).pixels.shape[1:]
    given = (
        intrinsics.parse(args.intrinsics, size) if args.intrinsics else intrinsics.from_fov(args.fov_x, size)
    )
    valid = io.usable(size, mask=args.mask, bottom=args.mask_bottom)
    second = _second(args, given, size, next(iter(colours.values()))[0]) if colours else None
    camera = Camera(given.K, valid, args.unit)
    if second is not None:
        camera = dataclasses.replace(camera, rgb_K=second.K, rgb_from_thermal=second.rgb_from_thermal)
    specs, found_faults = [], faults.intrinsics_faults(given.K, size, args.intrinsics or "--fov-x")
    found_faults += second.faults() if second is not None else []
    recordings.report(
        [fault for fault in found_faults if fault.grave], len(found)
    )  # before frames are opened
    checked: list[Seen] = []
    ways: set[str] = set()
    for name, files in found:
        seen = recordings.look(name, files, args.unit)
        recordings.of_one_size(seen, size)
        times, poses = _tracks(args, seen, only=len(found) == 1)
        keys = _keys(seen, args.raw)
        if args.stills:
            found_faults += recordings.faults_of_stills(seen, valid, args.unit) + _doubled(seen)
        else:
            found_faults += recordings.faults_of(seen, times, poses, valid, args.unit)
        rgb = None
        if second is not None:
            paired, several = _paired(args, seen, keys, times, colours[name], only=len(found) == 1)
            found_faults += several + _colour_faults(seen, paired, second, camera)
            rgb, ways = dict(paired.files), ways | {paired.how}
        one = Recording(seen, keys, times, poses, rgb, camera)
        parts, several = _sequences(one, args, known, alone=len(found) == 1)
        found_faults += several
        specs += parts
        checked.append(seen.without_frames())
    found_faults += recording.double_faults([(seen.name, seen.sums) for seen in checked])
    notes = raw.warn([*given.notes, *(second.notes if second is not None else ())])
    notes += recordings.report(found_faults, len(checked))
    splits = (stretches.split_stills if args.stills else stretches.split_video)(specs, args.holdout)
    facts = _facts(args, checked, given, notes)
    facts["conditions"] = list(dict.fromkeys(spec.condition for spec in specs))
    if second is not None:
        facts |= _rgb_facts(args, second, ways)
    return Own(data_dir=args.out, name=args.name, splits=splits, facts=facts)


def _check_flags(args: argparse.Namespace) -> None:
    if not 0 <= args.holdout < 1:
        raise UserError(f"--holdout={args.holdout:g}: it is a share, 0 or more and less than 1")
    if not args.fps > 0:
        raise UserError(f"--fps={args.fps:g}: frames per second are more than 0")
    if not args.rgb_tolerance >= 0:
        raise UserError(f"--rgb-tolerance={args.rgb_tolerance:g}: seconds, 0 or more")
    about = ("rgb_intrinsics", "rgb_fov_x", "rgb_from_thermal", "rgb_timestamps")
    given = [f"--{name.replace('_', '-')}" for name in about if getattr(args, name) is not None]
    if given and args.rgb is None:
        raise UserError(f"{given[0]} speaks of colour frames; give them with --rgb DIR")
    if args.rgb is not None and args.rgb_from_thermal is None:
        raise UserError(
            "--rgb needs --rgb-from-thermal: a file with the pose of the thermal camera in the RGB one, or "
            "`identity` for co-registered pictures"
        )
    if args.rgb_timestamps is not None and args.timestamps is None:
        raise UserError("--rgb-timestamps needs --timestamps of the thermal frames, on the same clock")
    if args.stills and (args.timestamps is not None or args.poses is not None):
        raise UserError("--stills are no video: they have no --timestamps and no --poses")


class Own(RawBuilder):
    """A user's own thermal frames."""

    def modalities(self) -> frozenset[str]:
        first = next(iter(self._splits.values()))[0]
        keys = {"thermal/image", "thermal/K"}
        keys |= {"thermal/valid"} if first.camera.valid is not None else set()
        keys |= {"rgb/image", "rgb/K", "rgb_from_thermal"} if first.rgb is not None else set()
        keys |= {"thermal/world_from_camera"} if first.poses is not None else set()
        return frozenset(keys)

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        opened: io.Thermal | None = None
        camera = spec.camera
        for number, shot in enumerate(spec.shots):
            if opened is None or opened.source != shot.path:
                opened = recordings.read(shot.path, camera.unit)
            frame: records.Frame = {
                "sequence": spec.name,
                "index": number,
                "timestamp_ns": spec.times[number],
                "condition": spec.condition,
                "thermal/image": opened.counts()[shot.page],
                "thermal/K": camera.K,
            }
            if camera.valid is not None:
                frame["thermal/valid"] = camera.valid.astype(np.uint8)
            if spec.poses is not None:
                frame["thermal/world_from_camera"] = spec.poses[number]
            if spec.rgb is not None:
                frame["rgb/image"] = colour.stored(spec.rgb[number])
                frame |= {"rgb/K": camera.rgb_K, "rgb_from_thermal": camera.rgb_from_thermal}
            yield frame


def _tracks(
    args: argparse.Namespace, seen: Seen, *, only: bool
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 4 4"] | None]:
    """(nanoseconds, world_from_camera) of every frame."""
    count = len(seen.shots)
    times = np.rint(np.arange(count) * (1e9 / args.fps)).astype(np.int64)
    if args.timestamps is not None:
        path = tracks.find("--timestamps", args.timestamps, folder=seen.folder, only=only)
        times = tracks.times(path, count)
    if args.poses is None:
        return times, None
    return times, tracks.poses(tracks.find("--poses", args.poses, folder=seen.folder, only=only), count)


def _keys(seen: Seen, place: Path) -> tuple[str, ...]:
    """What the frames are called; those of a stack by their number too."""
    stacked = {shot.path for shot in seen.shots if shot.page}
    return tuple(
        recordings.key(shot.path, place) + (f".{shot.page}" if shot.path in stacked else "")
        for shot in seen.shots
    )


def _doubled(seen: Seen) -> list[Fault]:
    if not seen.repeated:
        return []
    said = f"{len(seen.repeated)} of {len(seen.shots)} stills are the one before once more"
    return [Fault("repeated", seen.name, said, "they are left out")]


def _sequences(
    one: Recording, args: argparse.Namespace, known: dict[str, str] | None, *, alone: bool
) -> tuple[list[Spec], list[Fault]]:
    """What is written of a recording, each under its condition."""

    def condition(name: str) -> str:
        return args.condition if known is None else stretches.condition("--conditions", name, known)

    if args.stills:
        return stretches.stills(one, [condition(key) for key in one.keys], alone=alone), []
    return stretches.video(one, condition(one.seen.name))


# Colour frames.


def _second(
    args: argparse.Namespace, given: intrinsics.Given, size: tuple[int, int], first: Path
) -> extrinsics.Given:
    return extrinsics.given(
        rgb_intrinsics=args.rgb_intrinsics,
        rgb_fov_x=args.rgb_fov_x,
        rgb_from_thermal=args.rgb_from_thermal,
        thermal_intrinsics=args.intrinsics,
        thermal_K=given.K,
        thermal_size=size,
        size=colour.read(first).shape[:2],
    )


def _paired(
    args: argparse.Namespace,
    seen: Seen,
    keys: Sequence[str],
    times: Int[np.ndarray, " n"],
    files: Sequence[Path],
    *,
    only: bool,
) -> tuple[colour.Paired, list[Fault]]:
    if args.rgb_timestamps is None:
        names = [recordings.key(file, args.rgb) for file in files]
        return colour.by_name_or_order(keys, names, files, seen.name), []
    path = tracks.find("--rgb-timestamps", args.rgb_timestamps, folder=files[0].parent, only=only)
    own = tracks.times(path, len(files))
    return colour.by_time(times, own, files, seen.name, tolerance=args.rgb_tolerance)


def _colour_faults(
    seen: Seen, paired: colour.Paired, second: extrinsics.Given, camera: Camera
) -> list[Fault]:
    """Opens every colour frame: what they show, and whether it is what the thermal ones show."""
    found = colour.look(paired, [number for number, _ in seen.spread], seen.name)
    fault = faults.size_fault([second.size, found.size], f"the first sequence and {seen.name}, RGB")
    if fault:
        raise UserError(str(fault))
    pairs = [
        (frame, found.spread[number])
        for number, frame in seen.spread
        if number in found.spread and number not in seen.constant | seen.repeated
    ]
    scene = rgb_faults.scene_fault(
        [thermal for thermal, _ in pairs],
        [rgb for _, rgb in pairs],
        seen.name,
        K_thermal=camera.K,
        K_rgb=second.K,
        rgb_from_thermal=second.rgb_from_thermal,
    )
    return colour.faults_of(found, seen.name) + ([scene] if scene else [])


def _rgb_facts(args: argparse.Namespace, second: extrinsics.Given, ways: set[str]) -> dict[str, Any]:
    return {
        "registered": second.registered,
        "rgb_intrinsics": second.origin,
        "rgb_paired_by": sorted(ways),
        "rgb_tolerance_seconds": args.rgb_tolerance if ways == {"times"} else None,
        "baseline_metres": float(np.linalg.norm(second.rgb_from_thermal[:3, 3])),
    }


def _facts(
    args: argparse.Namespace, checked: Sequence[Seen], given: intrinsics.Given, notes: list[str]
) -> dict[str, Any]:
    units = {unit for seen in checked for unit in seen.units}
    top = max(seen.top for seen in checked)
    unit = "agc" if "agc8" in units else "centikelvin" if args.unit == "centikelvin" else "raw"
    return {
        "sensor": {
            "name": "own",
            "unit": unit,
            "bit_depth": next(bits for bits in (8, 10, 12, 14, 16) if top < 2**bits),
            "planck": None,
            "from_celsius": "celsius" in units,  # counts are those of a FLIR A65 at the recorded temperatures
            "frames_per_second": None if args.timestamps or args.stills else args.fps,
        },
        "intrinsics": given.origin,
        "timestamps": "none: stills" if args.stills else "given" if args.timestamps else "assumed",
        "radar_columns": [],
        "label_names": [],
        "checks": notes,
    }
