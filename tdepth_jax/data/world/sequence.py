"""Sequences: which there are in a split, how the cameras move, and the frames they yield."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from tdepth_jax.data.world import (
    ground,
    layout,
    radar,
    raycast,
    scene,
    surface,
    texture,
    thermal,
    visible,
    weather,
)
from tdepth_jax.data.world.facts import FRAMES_PER_SECOND, MAX_DEPTH, NEW_SCENE, SENSORS, SPLITS
from tdepth_jax.errors import UserError

Frame = dict[str, Any]
_DEFAULTS = {  # sequences, frames each
    "train": (400, 8),
    "test": (9, 30),
    "new_scene": (6, 30),
    "new_scene_train": (240, 8),
    "rgb_train": (480, 4),
}
_TURNS = {  # conditions in the order in which a split goes through them
    "train": ("day", "night", "day", "night", "fog", "day", "night", "crossover", "day"),
    "test": ("day", "night", "fog", "crossover", "day", "night", "day", "night", "fog"),
    "new_scene": ("day", "night", "fog", "day", "night", "crossover"),
    "new_scene_train": ("day", "night", "fog", "day", "night", "crossover"),
    "rgb_train": ("day", "night", "day", "night", "fog", "day", "night", "crossover", "day"),
}
_STYLES = {
    "train": ("street", "court", "suburb", "open", "street", "court", "suburb"),
    "test": ("street", "court", "suburb", "open", "court", "street", "suburb"),
    "new_scene": ("works", "works", "open", "works"),
    "new_scene_train": ("works", "works", "open", "works", "works"),
    "rgb_train": ("works", "street", "open", "court", "works", "suburb", "open"),
}
# Camera height (metres), mean downward pitch, spread of pitch and roll (degrees), pace (metres a frame).
_RIGS = {
    "handheld": (1.55, 2.0, 6.0, 0.30, 0.42),
    "car": (1.30, 1.0, 5.0, 0.40, 0.80),
    "mast": (2.60, 8.0, 6.0, 0.35, 0.70),
}


@dataclasses.dataclass(frozen=True)
class SequenceSpec:
    """All that decides a sequence: rendering the same spec gives the same bytes. Small and picklable."""

    split: str
    name: str
    seed: int
    condition: str
    style: str
    rig: str
    frames: int
    height: int
    width: int


def sequences(
    split: str, *, seed: int = 0, height: int = 128, width: int = 160, count: int | None = None,
    frames: int | None = None,
) -> tuple[SequenceSpec, ...]:  # fmt: skip
    """The sequences of a split, `count` of them with `frames` frames each (defaults: 400x8, 9x30, 6x30, 240x8, 480x4).

    Raises a `UserError` for an unknown split or sizes too small to render.
    """
    if split not in SPLITS:
        raise UserError(f"world: there is no split {split!r}: choose one of {', '.join(SPLITS)}")
    count = _DEFAULTS[split][0] if count is None else count
    frames = _DEFAULTS[split][1] if frames is None else frames
    if count < 1 or frames < 1 or height < 16 or width < 16:
        raise UserError(
            f"world: cannot render {count} sequences of {frames} frames of {height}x{width} pixels: "
            "ask for at least 1, 1 and 16x16"
        )
    out = []
    for i in range(count):
        draw = np.random.default_rng([seed, SPLITS.index(split), i])
        condition, style = _TURNS[split][i % len(_TURNS[split])], _STYLES[split][i % len(_STYLES[split])]
        rig = (
            str(draw.choice(list(_RIGS)))
            if style != "court"
            else str(draw.choice(["handheld", "handheld", "mast"]))
        )
        name = f"{split}_{i:03d}_{style}_{condition}"
        out.append(
            SequenceSpec(split, name, int(draw.integers(2**62)), condition, style, rig, frames, height, width)
        )
    return tuple(out)


@dataclasses.dataclass(frozen=True)
class Rig:
    """The two cameras' intrinsics and how they sit to each other."""

    thermal_K: Float[np.ndarray, "3 3"]
    rgb_K: Float[np.ndarray, "3 3"]
    rgb_from_thermal: Float[np.ndarray, "4 4"]


def rig_of(spec: SequenceSpec) -> Rig:
    """One rig for train and test, another lens and mounting for the new scene; either RGB lens in "rgb_train"."""
    other = spec.split in NEW_SCENE
    h, w = spec.height, spec.width
    ft, fr = (0.78 * w, 0.92 * w) if other else (0.70 * w, 0.84 * w)
    if spec.split == "rgb_train":
        fr = (0.84, 0.92)[spec.seed % 2] * w
    K = lambda f, dx, dy: np.array(  # noqa: E731
        [[f, 0, (w - 1) / 2 + dx * w], [0, f * 1.003, (h - 1) / 2 + dy * h], [0, 0, 1]]
    )
    angles = (-0.010, 0.016, 0.006) if other else (0.008, -0.012, 0.005)
    E = np.eye(4)
    E[:3, :3] = _turn(*angles)
    E[:3, 3] = (-0.22, 0.01, 0.02) if other else (0.16, -0.03, 0.01)
    return Rig(K(ft, 0.006, -0.008), K(fr, -0.004, 0.006), E)


def _turn(x: float, y: float, z: float) -> np.ndarray:
    """Rotation about the axes in turn: Rz Ry Rx, radians."""
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    Rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    Ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    Rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return Rz @ Ry @ Rx


def _wobble(rng: np.random.Generator, frames: int, size: float) -> np.ndarray:
    """Smooth wandering about zero: three slow sines and a little shake."""
    t = np.arange(frames) / FRAMES_PER_SECOND
    out = sum(
        rng.normal() * np.sin(2 * np.pi * f * t + rng.uniform(0, 6.3)) for f in rng.uniform(0.1, 1.1, 3)
    )
    return size * (np.asarray(out) / 1.7 + 0.12 * rng.standard_normal(frames))


def _drive(spec: SequenceSpec, rng: np.random.Generator, way: layout.Line, lane: float) -> np.ndarray:
    """world_from_camera of the thermal camera at every frame, [frames, 4, 4]."""
    height, down, spread, slow, fast = _RIGS[spec.rig]
    n = spec.frames
    pace = rng.uniform(slow, fast) * (1 + 0.25 * _wobble(rng, n, 1.0).clip(-1, 1))
    s = np.cumsum(pace) - pace[0]
    x, y, heading = way.at(s, lane + _wobble(rng, n, 0.12))
    z = height * rng.uniform(0.94, 1.06) + _wobble(rng, n, 0.02 if spec.rig != "handheld" else 0.035)
    yaw = heading + np.radians(rng.uniform(-18, 18)) + _wobble(rng, n, np.radians(1.2))
    pitch = np.radians(down + spread * rng.uniform(-1.7, 1.7)) + _wobble(rng, n, np.radians(0.5))
    roll = rng.normal(0, np.radians(spread * 0.7)) + _wobble(rng, n, np.radians(0.5))
    # Camera axes in the world at zero yaw: x right = -y, y down = -z, z forward = x.
    base = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], np.float64)
    poses = np.tile(np.eye(4), (n, 1, 1))
    for i in range(n):
        poses[i, :3, :3] = _turn(0, 0, yaw[i]) @ base @ _turn(-pitch[i], 0, 0) @ _turn(0, 0, roll[i])
        poses[i, :3, 3] = x[i], y[i], z[i]
    return poses


@dataclasses.dataclass(frozen=True)
class Stage:
    """A sequence laid out and ready to be seen from anywhere."""

    spec: SequenceSpec
    rig: Rig
    poses: Float[np.ndarray, "frames 4 4"]
    solids: raycast.Solids
    looks: scene.Looks
    tracks: Float[np.ndarray, "objects times 3"]
    lamps: Float[np.ndarray, "lamps 3"]
    drawn: ground.GroundMap
    thermal_tiles: texture.Atlas
    rgb_tiles: texture.Atlas
    weather: weather.Weather


def build(spec: SequenceSpec) -> Stage:
    """Lays out the scene and the cameras' way of a sequence; no pixel is rendered."""
    way_seed, scene_seed, weather_seed, texture_seed, traffic_seed = np.random.SeedSequence(spec.seed).spawn(
        5
    )
    rng = np.random.default_rng(way_seed)
    way = layout.line(rng, bend=rng.choice([0.1, 0.5, 1.1]))
    lane = rng.uniform(-2.2, -0.8) if spec.style != "court" else rng.uniform(-1.5, 1.5)
    poses = _drive(spec, rng, way, lane)
    travelled = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    sky = weather.draw(
        spec.condition, np.random.default_rng(weather_seed), warmer=9.0 if spec.split in NEW_SCENE else 0.0
    )
    builder, plan = layout.lay_out(
        spec.style, np.random.default_rng(scene_seed), way, float(travelled), lane, poses[:, :2, 3]
    )
    drawn = ground.draw(builder, plan, sky)
    builder.rng = np.random.default_rng(traffic_seed)
    layout.traffic(builder, plan, lane, spec.frames)
    tracks = np.stack(builder.tracks) if builder.tracks else np.zeros((0, spec.frames + 2, 3))
    solids, looks = builder.solids()
    tiles = np.random.default_rng(texture_seed)
    heat = texture.patterns(tiles)
    seen = (0.45 * heat + 0.9 * texture.patterns(tiles)).astype(np.float32)
    return Stage(
        spec, rig_of(spec), poses, solids, looks, tracks, np.array(builder.lamps).reshape(-1, 3), drawn,
        texture.atlas(heat), texture.atlas(seen), sky,
    )  # fmt: skip


def look(stage: Stage, frame: int, camera: str) -> tuple[raycast.Hits, surface.Surface]:
    """What a camera ("thermal" or "rgb") sees at a frame, before any sensor: geometry and surfaces."""
    K, pose = camera_at(stage, frame, camera)
    solids = scene.at_frame(stage.solids, stage.looks.owner, stage.tracks, frame + 1)
    hits = raycast.cast(solids, K, pose, stage.spec.height, stage.spec.width)
    tiles = stage.thermal_tiles if camera == "thermal" else stage.rgb_tiles
    return hits, surface.describe(hits, stage.looks, stage.drawn, tiles, stage.weather)


def camera_at(stage: Stage, frame: int, camera: str) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics and world_from_camera of a camera at a frame."""
    pose = stage.poses[frame]
    if camera == "thermal":
        return stage.rig.thermal_K, pose
    return stage.rig.rgb_K, pose @ np.linalg.inv(stage.rig.rgb_from_thermal)


def _velocity(stage: Stage, frame: int, hits: raycast.Hits, moving: np.ndarray) -> np.ndarray:
    """Velocity of every pixel's surface relative to the thermal camera, in its axes, m/s, [p, 3]."""
    poses, n = stage.poses, stage.spec.frames
    a, b = max(frame - 1, 0), min(frame + 1, n - 1)
    own = (poses[b, :3, 3] - poses[a, :3, 3]) / max(b - a, 1) * FRAMES_PER_SECOND
    world = np.tile(-own, (len(moving), 1))
    k = np.flatnonzero(moving)
    if len(k):
        owner = stage.looks.owner[hits.solid[k]]
        world[k, :2] += (
            (stage.tracks[owner, frame + 2, :2] - stage.tracks[owner, frame, :2]) / 2 * FRAMES_PER_SECOND
        )
    return world @ poses[frame, :3, :3]


def _freezes(spec: SequenceSpec, rng: np.random.Generator) -> set[int]:
    """Frames at which the shutter is closed and the camera repeats its last picture; none in the test split."""
    often = min(0.25, spec.frames / 64)  # a short sequence meets it more seldom
    if spec.split == "test" or spec.frames < 8 or rng.random() > often:
        return set()
    first = int(rng.integers(min(4, spec.frames - 6), spec.frames - 5))
    return set(range(first, first + int(rng.integers(2, 4))))


def render(spec: SequenceSpec) -> Iterator[Frame]:
    """The frames of a sequence in order, as records' frame dicts. Same spec, same bytes.

    No labels in the split "new_scene", no depth in "new_scene_train" either; in "rgb_train" the RGB camera alone has
    both. `thermal/valid` is 0 at dead pixels.
    During a shutter correction (rare) the thermal picture of the frame before comes again, while depth and pose go on.
    """
    stage = build(spec)
    seeds = np.random.SeedSequence([spec.seed % 2**32, 7]).spawn(4)
    detector = thermal.Detector.make(SENSORS[spec.split], spec.height, spec.width, seeds[0])
    frozen = _freezes(spec, np.random.default_rng(seeds[1]))
    rgb_noise, radar_noise = (np.random.default_rng(s) for s in seeds[2:])
    last = None
    for i in range(spec.frames):
        frame, last = _frame(stage, i, detector, last if i in frozen else None, rgb_noise, radar_noise)
        if i + 1 in frozen and i not in frozen:
            detector.recalibrate()
        yield frame


def _frame(
    stage: Stage, i: int, detector: thermal.Detector, repeat, rgb_noise, radar_noise
) -> tuple[Frame, np.ndarray]:
    spec, sky = stage.spec, stage.weather
    shape = (spec.height, spec.width)
    start = 1_700_000_000_000_000_000 + zlib.crc32(spec.name.encode()) % 10**7 * 1_000_000_000
    frame: Frame = {
        "sequence": spec.name,
        "index": i,
        "timestamp_ns": start + i * (1_000_000_000 // FRAMES_PER_SECOND),
        "condition": spec.condition,
        "rgb_from_thermal": stage.rig.rgb_from_thermal.astype(np.float32),
        "thermal/valid": (~detector.dead).astype(np.uint8),
    }
    for camera in ("thermal", "rgb"):
        K, pose = camera_at(stage, i, camera)
        hits, seen = look(stage, i, camera)
        depth = np.where(hits.depth <= MAX_DEPTH, hits.depth, 0).astype(np.float32).reshape(shape)
        frame |= {
            f"{camera}/K": K.astype(np.float32),
            f"{camera}/world_from_camera": pose,
        }
        known = camera == "rgb" or spec.split != "rgb_train"
        if known and spec.split != "new_scene_train":
            frame[f"{camera}/depth"] = depth
        if known and spec.split not in NEW_SCENE:
            frame[f"{camera}/labels"] = seen.label.reshape(shape)
        if camera == "thermal":
            ideal = thermal.radiance(hits, seen, stage.looks, stage.drawn, sky, detector.sensor)
            picture = detector.expose(ideal.reshape(shape))
            frame["thermal/image"] = picture if repeat is None else repeat
            velocity = _velocity(stage, i, hits, seen.moving).reshape(*shape, 3)
            frame["radar"] = radar.returns(depth, seen.label.reshape(shape), velocity, K, radar_noise)
        else:
            frame["rgb/image"] = visible.image(
                hits, seen, stage.looks, stage.drawn, stage.lamps, sky, forward=pose[:3, 2], height=shape[0],
                width=shape[1], headlights=spec.rig != "handheld", rng=rgb_noise,
            )  # fmt: skip
    return frame, frame["thermal/image"]
