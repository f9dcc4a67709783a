"""Your own thermal frames as records: checked, masked, split into train and a held-back test part.

DIR holds the frames (16-bit PNG or TIFF, .npy, radiometric JPEG) in the order of their names, or sub-folders of
frames, one for each sequence, or TIFF stacks, each of them a sequence.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tdepth_jax.data import raw, recordings, records, tracks
from tdepth_jax.data.datasets.base import RawBuilder
from tdepth_jax.data.recordings import LEAST_FRAMES, Seen, Shot
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, intrinsics, io, recording
from tdepth_jax.thermal.faults import Fault

HELP = "your own thermal frames: a folder, and the camera's K or field of view"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--raw", required=True, type=Path, metavar="DIR", help="folder of frames, or of sequences")
    camera = parser.add_mutually_exclusive_group(required=True)
    camera.add_argument(
        "--fov-x", type=float, metavar="DEG", help="horizontal field of view, when K is not known"
    )
    camera.add_argument(
        "--intrinsics", metavar="K", help="fx,fy,cx,cy in pixels of the frames, or a Kalibr FILE.yaml"
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
    add(
        "--condition",
        default="unknown",
        metavar="NAME",
        help="day, night, rain, ...: the tables' rows (unknown)",
    )


def build(args: argparse.Namespace) -> Own:
    """Checks everything first: grave faults stop, the others are printed and kept in the metadata."""
    if not 0 <= args.holdout < 1:
        raise UserError(f"--holdout={args.holdout:g}: it is a share, 0 or more and less than 1")
    if not args.fps > 0:
        raise UserError(f"--fps={args.fps:g}: frames per second are more than 0")
    found = recordings.find(args.raw)
    size = recordings.read(found[0][1][0], args.unit).pixels.shape[1:]
    given = (
        intrinsics.parse(args.intrinsics, size) if args.intrinsics else intrinsics.from_fov(args.fov_x, size)
    )
    valid = io.usable(size, mask=args.mask, bottom=args.mask_bottom)
    specs, found_faults = [], faults.intrinsics_faults(given.K, size, args.intrinsics or "--fov-x")
    checked: list[Seen] = []
    for name, files in found:
        seen = recordings.look(name, files, args.unit)
        recordings.of_one_size(seen, size)
        times, poses = _tracks(args, seen, only=len(found) == 1)
        found_faults += recordings.faults_of(seen, times, poses, valid, args.unit)
        parts = _segments(seen, times, poses, valid, given.K, args)
        found_faults += _short(seen, parts)
        specs += parts
        checked.append(seen.without_frames())
    found_faults += recording.double_faults([(seen.name, seen.sums) for seen in checked])
    notes = raw.warn(given.notes) + recordings.report(found_faults, len(checked))
    return Own(
        data_dir=args.out,
        name=args.name,
        splits=_split(specs, args.holdout),
        facts=_facts(args, checked, given, notes),
    )


@dataclasses.dataclass(frozen=True)
class Spec:
    """One sequence to be written; plain values, for worker processes."""

    name: str
    shots: tuple[Shot, ...]
    times: tuple[int, ...]
    poses: tuple[np.ndarray, ...] | None
    K: np.ndarray
    valid: np.ndarray | None
    unit: str
    condition: str

    @property
    def frames(self) -> int:
        return len(self.shots)


class Own(RawBuilder):
    """A user's own thermal frames."""

    def modalities(self) -> frozenset[str]:
        first = next(iter(self._splits.values()))[0]
        keys = {"thermal/image", "thermal/K"}
        keys |= {"thermal/valid"} if first.valid is not None else set()
        keys |= {"thermal/world_from_camera"} if first.poses is not None else set()
        return frozenset(keys)

    @staticmethod
    def frames(spec: Spec) -> Iterator[records.Frame]:
        opened: io.Thermal | None = None
        for number, shot in enumerate(spec.shots):
            if opened is None or opened.source != shot.path:
                opened = recordings.read(shot.path, spec.unit)
            frame: records.Frame = {
                "sequence": spec.name,
                "index": number,
                "timestamp_ns": spec.times[number],
                "condition": spec.condition,
                "thermal/image": opened.counts()[shot.page],
                "thermal/K": spec.K,
            }
            if spec.valid is not None:
                frame["thermal/valid"] = spec.valid.astype(np.uint8)
            if spec.poses is not None:
                frame["thermal/world_from_camera"] = spec.poses[number]
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


# Sequences to write.


def _segments(
    seen: Seen,
    times: np.ndarray,
    poses: np.ndarray | None,
    valid: np.ndarray | None,
    K: np.ndarray,
    args: argparse.Namespace,
) -> list[Spec]:
    """The sequence without constant and repeated frames, cut there and at gaps in time: no pair crosses a cut."""
    bad = seen.constant | seen.repeated
    late = set(faults.gaps(times).tolist())
    runs: list[list[int]] = [[]]
    for number in range(len(seen.shots)):
        if (number in bad or number in late) and runs[-1]:
            runs.append([])
        if number not in bad:
            runs[-1].append(number)
    runs = [run for run in runs if len(run) >= LEAST_FRAMES]
    return [
        Spec(
            name=seen.name if len(runs) == 1 else f"{seen.name}.{part}",
            shots=tuple(seen.shots[i] for i in run),
            times=tuple(int(times[i]) for i in run),
            poses=None if poses is None else tuple(poses[i] for i in run),
            K=K,
            valid=valid,
            unit=args.unit,
            condition=args.condition,
        )
        for part, run in enumerate(runs)
    ]


def _short(seen: Seen, parts: Sequence[Spec]) -> list[Fault]:
    """Frames that are in no part long enough for a snippet."""
    lost = len(seen.shots) - len(seen.constant) - len(seen.repeated) - sum(part.frames for part in parts)
    if not lost:
        return []
    said = f"{lost} of {len(seen.shots)} frames stand in parts shorter than {LEAST_FRAMES} frames"
    return [Fault("short", seen.name, said, "they are left out; record longer stretches")]


def _split(specs: Sequence[Spec], holdout: float) -> dict[str, tuple[Spec, ...]]:
    """Train, and the end of every sequence as test; parts too short for a snippet are left out."""
    train, test = [], []
    for spec in specs:
        held = round(holdout * spec.frames)
        held = max(held, LEAST_FRAMES) if holdout and spec.frames >= 3 * LEAST_FRAMES else held
        cut = spec.frames - held
        train.append(_part(spec, slice(0, cut)))
        test.append(_part(spec, slice(cut, None)))
    splits = {
        "train": tuple(spec for spec in train if spec.frames >= LEAST_FRAMES),
        "test": tuple(spec for spec in test if spec.frames >= LEAST_FRAMES),
    }
    if not splits["train"]:
        raise UserError(
            f"no sequence has {LEAST_FRAMES} good frames in a row to train on; record longer ones, or lower --holdout"
        )
    return {split: found for split, found in splits.items() if found}


def _part(spec: Spec, part: slice) -> Spec:
    poses = None if spec.poses is None else spec.poses[part]
    return dataclasses.replace(spec, shots=spec.shots[part], times=spec.times[part], poses=poses)


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
            "frames_per_second": None if args.timestamps else args.fps,
        },
        "intrinsics": given.origin,
        "timestamps": "given" if args.timestamps else "assumed",
        "radar_columns": [],
        "label_names": [],
        "conditions": [args.condition],
        "checks": notes,
    }
