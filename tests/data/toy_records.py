"""A data set of noise, small enough to know by heart: every modality, uneven sequences, some frames lacking some."""

from __future__ import annotations

import numpy as np

from tdepth_jax.data import records
from tdepth_jax.data.datasets.base import RecordsBuilder

SIZE = (12, 16)
RGB_SIZE = (10, 14)
SEQUENCES = {  # name, frames, condition
    "train": (("a", 5, "day"), ("b", 2, "night"), ("c", 9, "fog"), ("d", 4, "day")),
    "test": (("e", 7, "night"),),
}
RADAR_COLUMNS = ("x", "y", "z", "vx")


def pose(rng: np.random.Generator) -> np.ndarray:
    """A random rigid motion, float32."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = q * np.sign(np.linalg.det(q)), rng.normal(size=3)
    return out.astype(np.float32)


def intrinsics(f: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[f, 0, cx], [0, f * 1.1, cy], [0, 0, 1]], np.float32)


def toy_frames(spec: tuple[str, int, str], size=SIZE):
    """Noise; frames 1, 4, 7, ... have no depth, pose, labels, mask or radar."""
    name, count, condition = spec
    rng = np.random.default_rng([ord(letter) for letter in name])
    for i in range(count):
        frame = {
            "sequence": name,
            "index": i,
            "timestamp_ns": 10**9 + i * 10**8,
            "condition": condition,
            "thermal/image": rng.integers(0, 2**16, size, np.uint16),
            "thermal/K": intrinsics(20, 7.2, 5.9),
            "rgb/image": rng.integers(0, 256, (*RGB_SIZE, 3), np.uint8),
            "rgb/K": intrinsics(18, 6.1, 4.4),
            "rgb_from_thermal": pose(rng),
        }
        more = {
            "thermal/world_from_camera": pose(rng),
            "thermal/depth": rng.uniform(0, 250, size).astype(np.float32),
            "thermal/labels": rng.integers(0, 5, size).astype(np.uint8),
            "thermal/valid": (rng.random(size) > 0.2).astype(np.uint8),
            "radar": rng.normal(size=(int(rng.integers(1, 6)), len(RADAR_COLUMNS))).astype(np.float32),
        }
        yield frame if i % 3 == 1 else frame | more


def toy_frame(**changes):
    return next(toy_frames(("a", 1, "day"))) | changes


class Toy(RecordsBuilder):
    """Noise in the records' schema."""

    def __init__(self, *, data_dir, specs=SEQUENCES, make=toy_frames, shard_bytes=8000, name=None):
        self._specs, self._make = specs, make
        super().__init__(data_dir=data_dir, name=name)
        self.shard_bytes = shard_bytes
        self.frames = make

    def modalities(self):
        return frozenset(toy_frame()) - set(records.HEADER)

    def facts(self):
        return {
            "sensor": {"bit_depth": 16, "unit": "raw", "planck": None},
            "radar_columns": list(RADAR_COLUMNS),
            "label_names": list("vwxyz"),
            "conditions": ["day", "night", "fog"],
        }

    def sequences(self):
        return self._specs


def expected(split="train"):
    """The frames that went in, in order."""
    return [frame for spec in SEQUENCES[split] for frame in toy_frames(spec)]


def assert_same_frame(got, want, depth_scale=1 / 256):
    """`got` is `want` after storing: equal but for depth, which is rounded to the scale."""
    assert set(got) == set(want)
    for key, value in want.items():
        if key.endswith("/depth"):
            np.testing.assert_allclose(got[key], value, rtol=0, atol=depth_scale / 2 + 1e-5)
        elif isinstance(value, np.ndarray):
            assert got[key].dtype == value.dtype
            np.testing.assert_array_equal(got[key], value, err_msg=key)
        else:
            assert got[key] == value
