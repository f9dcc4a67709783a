"""nuScenes' tables and point files, read directly: JSON, `.pcd` of radar, `.pcd.bin` of LiDAR. Metres, nanoseconds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from tdepth_jax.errors import UserError

MICROSECOND = 1000  # nanoseconds
RADAR_FIELDS = ("x", "y", "z", "rcs", "vx", "vy")
_NUMPY = {"F": "f", "I": "i", "U": "u"}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One file of one sensor.

    Attributes:
      file: relative to the folder that holds the versions.
      time: nanoseconds.
      world_from_sensor: 4x4.
    """

    file: str
    time: int
    world_from_sensor: Float64[np.ndarray, "4 4"]


@dataclasses.dataclass(frozen=True)
class Box:
    """An annotated thing: its pose in the world, and half its length, width and height along its axes."""

    world_from_box: Float64[np.ndarray, "4 4"]
    half: tuple[float, float, float]

    def holds(self, points: Float[np.ndarray, "n 3"], margin: float) -> Bool[np.ndarray, " n"]:
        """Which world points lie within the box, `margin` metres included."""
        R, t = self.world_from_box[:3, :3], self.world_from_box[:3, 3]
        return (np.abs((points - t) @ R) <= np.array(self.half) + margin).all(axis=1)


@dataclasses.dataclass(frozen=True)
class Keyframe:
    """A sample: the front camera's image with K, the LiDAR's scan, radar's sweeps (its own, then earlier ones)."""

    camera: Sweep
    K: Float64[np.ndarray, "3 3"]
    lidar: Sweep
    radar: tuple[Sweep, ...]
    boxes: tuple[Box, ...]


class Tables:
    """One version's tables, as far as the front camera, the front radar and the LiDAR need them."""

    CHANNELS = ("CAM_FRONT", "RADAR_FRONT", "LIDAR_TOP")

    def __init__(self, root: Path, version: str) -> None:
        """Raises `UserError` for a table that is missing, damaged or not nuScenes'."""
        self.folder = root / version
        sensor = {row["token"]: row["channel"] for row in self._rows("sensor", "channel")}
        self._calibrated = {
            row["token"]: row
            for row in self._rows("calibrated_sensor", "sensor_token", "rotation", "translation")
            if sensor.get(row["sensor_token"]) in self.CHANNELS
        }
        channel = {token: sensor[row["sensor_token"]] for token, row in self._calibrated.items()}
        self._data = {
            row["token"]: row
            for row in self._rows(
                "sample_data", "sample_token", "calibrated_sensor_token", "filename", "prev"
            )
            if row["calibrated_sensor_token"] in channel
        }
        self._key: dict[tuple[str, str], str] = {}
        for token, row in self._data.items():
            if row["is_key_frame"]:
                self._key[row["sample_token"], channel[row["calibrated_sensor_token"]]] = token
        used = {row["ego_pose_token"] for row in self._data.values()}
        self._ego = {
            row["token"]: _pose(row)
            for row in self._rows("ego_pose", "rotation", "translation")
            if row["token"] in used
        }
        self._samples = {row["token"]: row for row in self._rows("sample", "next", "scene_token")}
        self._boxes: dict[str, list[Box]] = {}
        if (self.folder / "sample_annotation.json").is_file():  # the test split's are not published
            for row in self._rows("sample_annotation", "sample_token", "size"):
                width, length, height = row["size"]
                box = Box(_pose(row), (length / 2, width / 2, height / 2))
                self._boxes.setdefault(row["sample_token"], []).append(box)
        self.scenes = {
            row["name"]: row for row in self._rows("scene", "name", "first_sample_token", "description")
        }

    def keyframes(self, scene: Mapping[str, Any], *, sweeps: int) -> tuple[Keyframe, ...]:
        """The samples of a scene in order, with `sweeps` sweeps of radar each (fewer at its beginning)."""
        found, token = [], scene["first_sample_token"]
        while token:
            camera = self._of(token, "CAM_FRONT")
            radar = [self._of(token, "RADAR_FRONT")]
            while len(radar) < sweeps and radar[-1]["prev"] in self._data:
                radar.append(self._data[radar[-1]["prev"]])
            found.append(
                Keyframe(
                    camera=self._sweep(camera),
                    K=np.array(
                        self._calibrated[camera["calibrated_sensor_token"]]["camera_intrinsic"], np.float64
                    ),
                    lidar=self._sweep(self._of(token, "LIDAR_TOP")),
                    radar=tuple(map(self._sweep, radar)),
                    boxes=tuple(self._boxes.get(token, ())),
                )
            )
            token = self._samples[token]["next"]
        return tuple(found)

    def _of(self, sample: str, channel: str) -> Mapping[str, Any]:
        if (sample, channel) not in self._key:
            raise UserError(f"{self.folder}: sample {sample} has no {channel}; copy the tables again")
        return self._data[self._key[sample, channel]]

    def _sweep(self, row: Mapping[str, Any]) -> Sweep:
        ego_from_sensor = _pose(self._calibrated[row["calibrated_sensor_token"]])
        world_from_sensor = self._ego[row["ego_pose_token"]] @ ego_from_sensor
        return Sweep(row["filename"], int(row["timestamp"]) * MICROSECOND, world_from_sensor)

    def _rows(self, table: str, *fields: str) -> list[dict[str, Any]]:
        path = self.folder / f"{table}.json"
        try:
            rows = json.loads(path.read_text())
        except FileNotFoundError:
            raise UserError(f"there is no {path}; unpack the metadata archive there") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as a table ({error}); unpack it again") from error
        if not isinstance(rows, list) or (rows and not {"token", *fields} <= rows[0].keys()):
            raise UserError(f"{path} is no table of nuScenes with {', '.join(fields)}")
        return rows


def _pose(row: Mapping[str, Any]) -> Float64[np.ndarray, "4 4"]:
    """The motion of "rotation" (quaternion w, x, y, z) and "translation"."""
    w, x, y, z = np.array(row["rotation"], np.float64) / np.linalg.norm(row["rotation"])
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = row["translation"]
    return out


def lidar_points(path: Path) -> Float32[np.ndarray, "n 3"]:
    """Points of a `.pcd.bin`: five float32 each, of which the first three are x, y, z in the LiDAR's axes."""
    try:
        data = np.fromfile(path, np.float32)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); unpack that archive again") from error
    if not data.size or data.size % 5:
        raise UserError(f"{path} is no LiDAR scan of five numbers a point; unpack that archive again")
    return data.reshape(-1, 5)[:, :3]


def radar_returns(path: Path) -> Float32[np.ndarray, "n 6"]:
    """All returns of a `.pcd`, none filtered: x, y, z metres, RCS dBsm, vx, vy metres per second, in radar's axes.

    Velocities are as measured, of things relative to the moving sensor (as the published networks see them).

    Raises:
      UserError: missing, damaged, or without these fields.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); unpack that archive again") from error
    text, marker, body = data.partition(b"DATA binary\n")
    try:
        head = {
            line.split()[0]: line.split()[1:] for line in text.decode("ascii").splitlines() if line.strip()
        }
        kinds = [f"<{_NUMPY[kind]}{size}" for kind, size in zip(head["TYPE"], head["SIZE"], strict=True)]
        dtype = np.dtype([(name, kind) for name, kind in zip(head["FIELDS"], kinds, strict=True)])
        count = int(head["POINTS"][0])
        rows = np.frombuffer(body[: count * dtype.itemsize], dtype)
        if not marker or len(rows) != count:
            raise ValueError(f"{len(rows)} of {count} points")
        found = np.stack([rows[name].astype(np.float32) for name in RADAR_FIELDS], axis=1)
    except (KeyError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no radar scan ({error}); unpack that archive again") from error
    return found[np.isfinite(found).all(axis=1)]


def in_world(
    points: Float[np.ndarray, "n 3"], world_from_sensor: Float[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "n 3"]:
    return points.astype(np.float64) @ world_from_sensor[:3, :3].T + world_from_sensor[:3, 3]


def without(
    points: Float[np.ndarray, "n 3"], boxes: Iterable[Box], margin: float = 0.1
) -> Float[np.ndarray, "m 3"]:
    """World points outside all boxes."""
    keep = np.ones(len(points), bool)
    for box in boxes:
        keep &= ~box.holds(points, margin)
    return points[keep]
