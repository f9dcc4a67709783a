"""From frames to examples: snippets by index arithmetic, and the view each camera gets of them.

An example is a flat dict of fixed-shape arrays that batch. `Snippets` and `Singles` read and decode (host
threads), `Augmented` and the plain view resize; neither knows of batches or of Grain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tdepth_jax.data import records, transforms
from tdepth_jax.data.sources import FrameSource
from tdepth_jax.data.transforms import Augment, Size, View, draw_view, full_view
from tdepth_jax.errors import UserError

Example = dict[str, Any]
CAMERAS = ("thermal", "rgb")
PER_FRAME = ("thermal/image", "rgb/image", "thermal/world_from_camera", "rgb/world_from_camera")


@dataclasses.dataclass(frozen=True)
class Snippets:
    """Random access to the snippets of a split: `snippets[i]` is decoded, at stored size, not yet an example.

    Attributes:
      keys: what is read, besides the images that give the sizes.
      offsets: frames around the centre, e.g. (-1, 0, 1); must hold 0.
    """

    source: FrameSource
    keys: frozenset[str]
    offsets: tuple[int, ...]
    centres: np.ndarray

    @classmethod
    def of(cls, source: FrameSource, keys: frozenset[str], offsets: Sequence[int]) -> Snippets:
        source.require(keys)
        check_cameras(keys)
        offsets = tuple(int(offset) for offset in offsets)
        if 0 not in offsets or len(set(offsets)) != len(offsets):
            raise UserError(f"a snippet's offsets must be different and hold 0, not {offsets}")
        centres = source.snippet_centres(offsets)
        if not len(centres):
            longest = int(source.places.max()) + 1 if len(source) else 0
            raise UserError(
                f"{source.name}/{source.split} has no snippet with offsets {offsets}: its longest sequence has "
                f"{longest} frames; prepare longer sequences or choose smaller offsets"
            )
        return cls(source, frozenset(keys), offsets, centres)

    def __len__(self) -> int:
        return len(self.centres)

    def __getitem__(self, i: int) -> list[records.Frame]:
        """The frames, in the order of `offsets`; of those that are not the centre only what is per frame."""
        centre = int(self.centres[i])
        around = {key for key in self.keys if key in PER_FRAME} | _images(self.keys)
        frames = []
        for offset in self.offsets:
            wanted = around | (self.keys if offset == 0 else set())
            frame = self.source.read(centre + offset, wanted)
            frame["example"] = centre
            frames.append(frame)
        return frames


def check_cameras(keys: frozenset[str]) -> None:
    """Raises `UserError` for keys of cameras that records may hold but examples have no place for."""
    known = (*CAMERAS, "radar", "condition")
    others = sorted(key for key in keys if "/" in key and key.split("/")[0] not in known)
    if others:
        raise UserError(
            f"examples hold {' and '.join(CAMERAS)} only, not {', '.join(others)}; read those from the records "
            "(tdepth_jax.data.sources.open_split)"
        )


def _images(keys: frozenset[str]) -> set[str]:
    """The images of the cameras that `keys` speak of: an array of a camera is sized by its image."""
    return {f"{camera}/image" for camera in CAMERAS if any(key.startswith(f"{camera}/") for key in keys)}


@dataclasses.dataclass(frozen=True)
class Viewed:
    """Turns a snippet's frames into an example at `size`, under an augmentation when given a generator."""

    keys: frozenset[str]
    offsets: tuple[int, ...]
    size: Size
    augment: Augment
    radar_columns: tuple[str, ...]
    max_points: int

    def __call__(self, frames: list[records.Frame], rng: np.random.Generator | None = None) -> Example:
        # Always as many draws: what a camera gets does not depend on the keys asked for.
        draws = None if rng is None else rng.random((1 + len(CAMERAS), 4))
        flip = draws is not None and self.augment.flip and bool(draws[0, 0] < 0.5)
        centre = frames[self.offsets.index(0)]
        example: Example = {"example": np.int64(centre["example"])}
        for number, camera in enumerate(CAMERAS, start=1):
            if not (keys := {key for key in self.keys if key.startswith(f"{camera}/")}):
                continue
            if any(f"{camera}/image" not in frame for frame in frames):
                example |= _missed(keys, self.size, (len(frames),))
                continue
            stored = centre[f"{camera}/image"].shape[:2]
            if any(frame[f"{camera}/image"].shape[:2] != stored for frame in frames):
                raise UserError(
                    f"the {camera} images of the snippet round record {centre['example']} differ in size;"
                    " a sequence must keep one size"
                )
            view = (
                full_view(stored, self.size)
                if draws is None
                else draw_view(draws[number], stored, self.size, self.augment.scale_crop, flip)
            )
            example |= self._camera(camera, frames, centre, view)
        if "rgb_from_thermal" in self.keys:
            motion = centre.get("rgb_from_thermal", UNKNOWN_POSE)
            example["rgb_from_thermal"] = transforms.flip_transform(motion) if flip else motion
        if _radar(self.keys):
            example |= radar_arrays(
                centre.get("radar"), self.radar_columns, self.max_points, flip, keys=self.keys
            )
        return example | _conditions(centre, self.keys)

    def _camera(self, camera: str, frames: list[records.Frame], centre: records.Frame, view: View) -> Example:
        example: Example = {}
        stored = centre[f"{camera}/image"].shape[:2]
        for key in (key for key in self.keys if key.startswith(f"{camera}/")):
            match key.split("/")[1]:
                case "image":
                    images = np.stack([view.image(frame[key]) for frame in frames])
                    example[key] = images if images.ndim == 4 else images[..., None]
                case "K":
                    example[key] = view.intrinsics(centre[key])
                case "world_from_camera":
                    motions = np.stack([frame.get(key, UNKNOWN_POSE) for frame in frames])
                    example[key] = transforms.flip_transform(motions) if view.flip else motions
                case "depth":
                    example[key] = view.nearest(centre.get(key, np.zeros(stored, np.float32)))[..., None]
                case "labels":
                    labels = centre.get(key, np.full(stored, records.IGNORE, np.uint8))
                    example[key] = view.nearest(labels).astype(np.int32)
                case "valid":
                    example[key] = view.valid(centre.get(key, np.ones(stored, np.uint8)))[..., None]
        return example


UNKNOWN_POSE = np.full((4, 4), np.nan, np.float32)


def _missed(keys: set[str], size: Size, frames: tuple[int, ...]) -> Example:
    """What stands for a camera that missed the moment: a black image, K and pose NaN, no depth, no labels, no valid
    pixel. `frames` is (T,) of a snippet, () of a single frame."""
    empty = {
        "K": np.full((3, 3), np.nan, np.float32),
        "world_from_camera": np.full((*frames, 4, 4), np.nan, np.float32),
        "depth": np.zeros((*size, 1), np.float32),
        "labels": np.full(size, records.IGNORE, np.int32),
        "valid": np.zeros((*size, 1), bool),
    }
    images = {
        "rgb/image": np.zeros((*frames, *size, 3), np.uint8),
        "thermal/image": np.zeros((*frames, *size, 1), np.uint16),
    }
    return {key: images[key] if key in images else empty[key.split("/")[1]] for key in keys}


@dataclasses.dataclass(frozen=True)
class Singles:
    """Single frames for evaluation: images at `size`, what they are scored against at the stored size.

    `singles[i]` for i past the last frame repeats the last one with `mask` False.
    """

    source: FrameSource
    keys: frozenset[str]
    size: Size
    stride: int
    max_points: int

    def __post_init__(self) -> None:
        check_cameras(self.keys)

    def __len__(self) -> int:
        return -(-len(self.source) // self.stride)

    def __getitem__(self, i: int) -> Example:
        record = min(i, len(self) - 1) * self.stride
        frame = self.source.read(record, self.keys | _images(self.keys))
        example: Example = {"example": np.int64(record), "mask": np.bool_(i < len(self))}
        for camera in CAMERAS:
            if f"{camera}/image" in frame:
                example |= self._camera(camera, frame)
            elif keys := {key for key in self.keys if key.startswith(f"{camera}/")}:
                example |= _missed(keys, self.size, ())
        if "rgb_from_thermal" in self.keys:
            example["rgb_from_thermal"] = frame.get("rgb_from_thermal", UNKNOWN_POSE)
        if _radar(self.keys):
            columns = tuple(self.source.metadata.get("radar_columns", ()))
            example |= radar_arrays(frame.get("radar"), columns, self.max_points, flip=False, keys=self.keys)
        return example | _conditions(frame, self.keys)

    def _camera(self, camera: str, frame: records.Frame) -> Example:
        example: Example = {}
        stored = frame[f"{camera}/image"].shape[:2]
        view = full_view(stored, self.size)
        for key in (key for key in self.keys if key.startswith(f"{camera}/")):
            match key.split("/")[1]:
                case "image":
                    image = view.image(frame[key])
                    example[key] = image if image.ndim == 3 else image[..., None]
                case "K":
                    example[key] = view.intrinsics(frame[key])
                case "world_from_camera":
                    example[key] = frame.get(key, UNKNOWN_POSE)
                case "depth":
                    example[key] = frame.get(key, np.zeros(stored, np.float32))[..., None]
                case "labels":
                    labels = frame.get(key, np.full(stored, records.IGNORE, np.uint8))
                    example[key] = labels.astype(np.int32)
                case "valid":
                    example[key] = (frame.get(key, np.ones(stored, np.uint8)) != 0)[..., None]
        return example


def _conditions(frame: records.Frame, keys: frozenset[str]) -> dict[str, np.bool_]:
    """ "condition/<name>", whether the frame is of that condition, for the names in `keys`."""
    asked = (key for key in keys if key.startswith("condition/"))
    return {key: np.bool_(frame["condition"] == key.removeprefix("condition/")) for key in asked}


def _radar(keys: frozenset[str]) -> bool:
    return any(key.split("/")[0] == "radar" for key in keys)


def radar_arrays(
    points: np.ndarray | None,
    columns: tuple[str, ...],
    max_points: int,
    flip: bool,
    *,
    keys: frozenset[str] = frozenset({"radar"}),
) -> dict[str, np.ndarray]:
    """ "radar" float32 [max_points, k], zero-padded, if `keys` have it, "radar/<column>" float32 [max_points] of the
    columns that `keys` name, and "radar/valid" bool [max_points].

    Of more points than `max_points`, the nearest along z are kept.
    """
    k = len(columns)
    padded = np.zeros((max_points, k), np.float32)
    points = np.zeros((0, k), np.float32) if points is None else points
    if len(points) > max_points:
        z = columns.index("z") if "z" in columns else 0
        points = points[np.sort(np.argsort(points[:, z], kind="stable")[:max_points])]
    padded[: len(points)] = transforms.flip_points(points, list(columns)) if flip else points
    found = {f"radar/{name}": padded[:, i] for i, name in enumerate(columns) if f"radar/{name}" in keys}
    found |= {"radar": padded} if "radar" in keys else {}
    return found | {"radar/valid": np.arange(max_points) < len(points)}
