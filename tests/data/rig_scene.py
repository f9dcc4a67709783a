"""A rig of cameras driving past known points: the truth that raw trees are generated from and read back against.

Everything is in metres and written with plain formulas, apart from the package: a camera is where it is in the
rig, points stand in the world, each camera draws every point as a square of its own brightness at round(K X).
"""

from __future__ import annotations

import dataclasses

import numpy as np

SIDE = 2  # a point is a square of 2 * SIDE + 1 pixels


@dataclasses.dataclass(frozen=True)
class Camera:
    K: np.ndarray
    size: tuple[int, int]
    rig_from_camera: np.ndarray

    def project(self, world, world_from_rig):
        """(u, v, z) of world points [n, 3]."""
        camera_from_world = np.linalg.inv(world_from_rig @ self.rig_from_camera)
        x, y, z = camera_from_world[:3, :3] @ world.T + camera_from_world[:3, 3:]
        return (
            self.K[0, 0] * x / z + self.K[0, 2],
            self.K[1, 1] * y / z + self.K[1, 2],
            z,
        )


def turn(about: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[about]


def motion(R=None, t=(0, 0, 0)) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.eye(3) if R is None else R, t
    return out


def K(f, cx, cy):
    return np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]])


def drive(count: int, step: float = 0.4) -> list[np.ndarray]:
    """world_from_rig of a car that drives forward (z) in a slight curve; the first is not the identity."""
    start = motion(turn("y", 10), (3, -1, 2))
    return [start @ motion(turn("y", 0.4 * i), (0.02 * i, 0, step * i)) for i in range(count)]


def points(rng: np.random.Generator, count: int = 25) -> np.ndarray:
    """World points in front of the first pose, 6 to 40 m away."""
    z = rng.uniform(6, 40, count)
    rig = np.stack([z * rng.uniform(-0.5, 0.5, count), z * rng.uniform(-0.2, 0.2, count), z], 1)
    first = drive(1)[0]
    return rig @ first[:3, :3].T + first[:3, 3]


def draw(camera: Camera, world, world_from_rig, values, background: float = 0.0):
    """(image of `values`, z-depth) [h, w]: nearer squares over farther ones; depth 0 where there is no point."""
    u, v, z = camera.project(world, world_from_rig)
    image, depth = np.full(camera.size, float(background)), np.zeros(camera.size)
    for i in np.argsort(-z):
        x, y = round(u[i]), round(v[i])
        if z[i] > 0.5 and SIDE <= x < camera.size[1] - SIDE and SIDE <= y < camera.size[0] - SIDE:
            square = np.s_[y - SIDE : y + SIDE + 1, x - SIDE : x + SIDE + 1]
            image[square], depth[square] = values[i], z[i]
    return image, depth


def landed(image, depth, K_from, K_to, to_from_from, target, *, least: int = 8) -> float:
    """Share of a source's squares that, lifted by depth and moved, land on their own value in `target`.

    Only the middles of squares are used, so that rounding cannot miss; at least `least` must be in view.
    """
    hits = []
    for value in np.unique(image[depth > 0]):
        rows, columns = np.nonzero((image == value) & (depth > 0))
        if len(rows) != (2 * SIDE + 1) ** 2:
            continue  # partly hidden
        v, u = rows.mean(), columns.mean()
        z = depth[int(v), int(u)]
        here = z * np.array([(u - K_from[0, 2]) / K_from[0, 0], (v - K_from[1, 2]) / K_from[1, 1], 1.0])
        there = to_from_from[:3, :3] @ here + to_from_from[:3, 3]
        x, y = (K_to @ there)[:2] / there[2]
        if not (
            SIDE < x < target.shape[1] - SIDE - 1 and SIDE < y < target.shape[0] - SIDE - 1 and there[2] > 1
        ):
            continue
        seen = target[round(y), round(x)]
        hits.append(abs(float(seen) - float(value)) < 0.5)
    assert len(hits) >= least, f"only {len(hits)} points are in view of both"
    return float(np.mean(hits))
