"""A scene under construction: solids with their looks, moving objects, and the pieces a street is made of.

World: x, y on the ground, z up, metres. Everything is placed by a foot point (x, y), a yaw and sizes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from tdepth_jax.data.world import materials
from tdepth_jax.data.world.facts import LABEL_NAMES
from tdepth_jax.data.world.raycast import BALL, CYLINDER, FRUSTUM, Solids

LABEL = {name: i for i, name in enumerate(LABEL_NAMES)}


@dataclasses.dataclass(frozen=True)
class Looks:
    """Per solid: material, label, tint (factor on the albedo), own warmth (kelvin), windows.

    `windows` is (column spacing, storey height, filled share across, filled share up); zero spacing: none.
    """

    material: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    tint: Float[np.ndarray, "n 3"]
    warmth: Float[np.ndarray, " n"]
    windows: Float[np.ndarray, "n 4"]
    owner: Int[np.ndarray, " n"]  # index of the moving object, -1 for what stands still


@dataclasses.dataclass
class Builder:
    """Collects solids. `keep_clear` are points (the camera's way) that no solid may come close to."""

    rng: np.random.Generator
    keep_clear: np.ndarray
    rows: list[tuple] = dataclasses.field(default_factory=list)
    tracks: list[np.ndarray] = dataclasses.field(default_factory=list)
    blobs: list[tuple[float, float, float, float]] = dataclasses.field(
        default_factory=list
    )  # shade: x, y, r, h
    boxes: list[tuple[np.ndarray, float]] = dataclasses.field(default_factory=list)  # shade: corners, height
    lamps: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)

    def free(self, x: float, y: float, yaw: float, length: float, width: float, margin: float) -> bool:
        """Whether a rectangle keeps `margin` metres from the camera's way."""
        d = self.keep_clear - [x, y]
        c, s = np.cos(yaw), np.sin(yaw)
        u, v = np.abs(d @ [c, s]) - length / 2, np.abs(d @ [-s, c]) - width / 2
        return bool((np.hypot(np.maximum(u, 0), np.maximum(v, 0)) > margin).all())

    def solid(
        self, shape, material, label, centre, half, *, yaw=0.0, lean=None, taper=(0.0, 0.0), tint=None,
        warmth=0.0, windows=(0.0, 0.0, 0.0, 0.0), owner=-1, holes=0.0,
    ):  # fmt: skip
        """Adds one solid; `lean` is a rotation applied before the yaw (axes of wheels, for one)."""
        c, s = np.cos(yaw), np.sin(yaw)
        R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ (np.eye(3) if lean is None else lean)
        local = R.T / np.asarray(half, np.float64)[:, None]
        tint = np.ones(3) if tint is None else np.asarray(tint)
        self.rows.append(
            (shape, materials.INDEX[material], LABEL[label], np.asarray(centre, np.float64), local,
             np.asarray(half, np.float64), taper, tint, warmth, windows, owner, holes)
        )  # fmt: skip

    def box(self, material, label, x, y, yaw, size, *, base=0.0, **looks):
        """An upright box of size (length, width, height) on a foot point."""
        length, width, height = size
        half = (length / 2, width / 2, height / 2)
        self.solid(FRUSTUM, material, label, (x, y, base + height / 2), half, yaw=yaw, **looks)

    def pillar(self, material, label, x, y, radius, height, *, base=0.0, **looks):
        """An upright cylinder."""
        half = (radius, radius, height / 2)
        self.solid(CYLINDER, material, label, (x, y, base + height / 2), half, **looks)

    def ball(self, material, label, x, y, z, half, **looks):
        """An ellipsoid."""
        self.solid(BALL, material, label, (x, y, z), half, **looks)

    def track(self, positions: np.ndarray) -> int:
        """A moving object: (x, y, yaw) at every frame; returns its owner index."""
        self.tracks.append(positions)
        return len(self.tracks) - 1

    def solids(self) -> tuple[Solids, Looks]:
        """All solids as arrays."""
        c = list(zip(*self.rows, strict=True))
        stack = lambda i, kind: np.array(c[i], kind)  # noqa: E731
        geometry = Solids(
            shape=stack(0, np.int8), centre=stack(3, np.float64), local=stack(4, np.float64),
            half=stack(5, np.float64), taper=stack(6, np.float64), holes=stack(11, np.float32),
        )  # fmt: skip
        looks = Looks(
            material=stack(1, np.int64), label=stack(2, np.uint8), tint=stack(7, np.float32),
            warmth=stack(8, np.float32), windows=stack(9, np.float32), owner=stack(10, np.int64),
        )  # fmt: skip
        return geometry, looks


def at_frame(solids: Solids, owner: np.ndarray, tracks: np.ndarray, frame: int) -> Solids:
    """The solids with moving objects put to where they are at `frame`; `tracks` is [objects, frames, 3]."""
    moving = np.flatnonzero(owner >= 0)
    if not len(moving):
        return solids
    x, y, yaw = tracks[owner[moving], frame].T
    c, s, o, i = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    R = np.stack([c, -s, o, s, c, o, o, o, i], -1).reshape(-1, 3, 3)
    centre, local = solids.centre.copy(), solids.local.copy()
    centre[moving] = np.einsum("nij,nj->ni", R, centre[moving]) + np.stack([x, y, o], -1)
    local[moving] = np.einsum("nij,nkj->nik", local[moving], R)
    return dataclasses.replace(solids, centre=centre, local=local)
