"""Radar returns in the thermal camera's frame: a sparse, noisy sampling with clutter and ghosts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tdepth_jax.data.world.facts import MAX_DEPTH
from tdepth_jax.data.world.scene import LABEL

POINTS = 64  # at most, in one frame
# How readily a surface answers (weight per pixel, scaled by distance) and how strongly (mean, decibels of 1 m^2).
_ANSWERS = {"road": (0.01, -18), "ground": (0.015, -16), "building": (0.5, 8), "vegetation": (0.25, -6),
            "car": (4.0, 12), "person": (3.0, -3), "pole": (4.0, 3), "bike": (3.0, -1), "animal": (1.5, -8),
            "wall": (0.5, 3), "sky": (0.0, 0)}  # fmt: skip


def returns(
    depth: np.ndarray, label: np.ndarray, velocity: np.ndarray, K: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "n 5"]:
    """Returns (x, y, z, radial velocity, RCS): metres, metres per second (receding > 0), decibels of 1 m^2.

    `depth` and `label` [h, w] of the thermal camera, `velocity` [h, w, 3] of what each pixel sees relative to
    the camera, in its axes. Errors: 0.1 m in range, 0.7 degrees in azimuth, 2 degrees in elevation.
    """
    h, w = depth.shape
    weight = np.zeros(len(LABEL))
    power = np.zeros(len(LABEL))
    for name, (a, p) in _ANSWERS.items():
        weight[LABEL[name]], power[LABEL[name]] = a, p
    seen = (depth > 0) & (depth < MAX_DEPTH)
    chance = np.where(seen, weight[label] * np.sqrt(np.maximum(depth, 1)), 0).ravel()
    out = np.zeros((0, 5))
    if chance.sum() > 0:
        count = min(int(rng.integers(POINTS // 2, POINTS - 10)), int((chance > 0).sum()))
        pick = rng.choice(h * w, count, replace=False, p=chance / chance.sum())
        y, x = np.divmod(pick, w)
        z = depth.ravel()[pick].astype(np.float64)
        point = np.stack([(x - K[0, 2]) / K[0, 0] * z, (y - K[1, 2]) / K[1, 1] * z, z], 1)
        out = _measure(point, velocity.reshape(-1, 3)[pick], power[label.ravel()[pick]], rng)
        ghost = rng.random(len(out)) < 0.06  # a second bounce: seen again further along the same bearing
        again = out[ghost]
        again[:, :3] *= rng.uniform(1.4, 2.1, (len(again), 1))
        again[:, 4] -= 10
        out = np.concatenate([out, again])
    clutter = np.zeros((rng.poisson(5), 5))
    if len(clutter):
        reach, bearing = rng.uniform(2, 70, len(clutter)), rng.uniform(-0.6, 0.6, len(clutter))
        clutter[:, 0], clutter[:, 2] = reach * np.sin(bearing), reach * np.cos(bearing)
        clutter[:, 1] = rng.normal(0, 0.5, len(clutter))
        clutter[:, 3], clutter[:, 4] = rng.normal(0, 3, len(clutter)), rng.normal(-15, 4, len(clutter))
    out = np.concatenate([out, clutter])
    return out[rng.permutation(len(out))[:POINTS]].astype(np.float32)


def _measure(
    point: np.ndarray, velocity: np.ndarray, power: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    n = len(point)
    reach = np.linalg.norm(point, axis=1)
    radial = (point * velocity).sum(1) / reach + rng.normal(0, 0.1, n)
    azimuth = np.arctan2(point[:, 0], point[:, 2]) + np.radians(rng.normal(0, 0.7, n))
    elevation = np.arcsin(point[:, 1] / reach) + np.radians(rng.normal(0, 2.0, n))
    reach = reach + rng.normal(0, 0.1, n)
    flat = reach * np.cos(elevation)
    x, y, z = flat * np.sin(azimuth), reach * np.sin(elevation), flat * np.cos(azimuth)
    return np.stack([x, y, z, radial, power + rng.normal(0, 4, n)], 1)
