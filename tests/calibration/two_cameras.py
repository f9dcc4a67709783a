"""A textured scene of known geometry as an RGB and a thermal camera see it, rendered by intersecting rays with planes.

Heat and light show the same patches with unrelated values, so that edges coincide and contrasts do not.
"""

import dataclasses

import cv2
import numpy as np

from tdepth_jax.calibration.levels import Pair, Rig


def rotation(vector):
    return cv2.Rodrigues(np.asarray(vector, float))[0]


SIZE, RGB_SIZE = (96, 128), (96, 128)
K = np.array([[110.0, 0, 63.2], [0, 110.5, 47.1], [0, 0, 1]])
RGB_K = np.array([[118.0, 0, 64.1], [0, 117.6, 48.3], [0, 0, 1]])
TRUE = np.eye(4)
TRUE[:3, :3] = rotation([0.01, -0.015, 0.008])
TRUE[:3, 3] = 0.12, -0.02, 0.015
OVERSAMPLE = 3


def rig(rgb_from_thermal=TRUE):
    return Rig(K, RGB_K, np.asarray(rgb_from_thermal, float), SIZE, RGB_SIZE)


def wrong(degrees, metres, seed=0):
    """The true pose off by so much in random directions."""
    rng = np.random.default_rng(seed)
    turn, shift = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    off = np.eye(4)
    off[:3, :3] = rotation(turn * np.radians(degrees))
    off[:3, 3] = shift * metres
    return off @ TRUE


def pairs(count=12, seed=0, **camera):
    return tuple(pair(seed * 1000 + number, **camera) for number in range(count))


def pair(seed, thermal_K=K, rgb_from_thermal=TRUE):
    rng = np.random.default_rng(seed)
    # Fronto-parallel boards at several depths before a wall: centre x, y, half width, half height (metres), depth.
    boards = [(0.0, 0.0, 99.0, 99.0, rng.uniform(14, 20))]
    for _ in range(7):
        z = rng.uniform(3, 11)
        boards.append((*rng.uniform(-0.5, 0.5, 2) * z * (1.0, 0.8), *rng.uniform(0.06, 0.17, 2) * z, z))
    cells = rng.uniform(0.12, 0.25, len(boards)) * [board[4] for board in boards]
    heat, light = rng.uniform(0.1, 1, (2, len(boards), 23, 29))
    rgb, depth = seen(boards, cells, light, RGB_K, RGB_SIZE, np.eye(4))
    thermal, _ = seen(boards, cells, heat, thermal_K, SIZE, rgb_from_thermal)
    rgb = np.repeat(
        np.clip(rgb * 220 + rng.normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)[..., None], 3, 2
    )
    counts = np.round(3000 + 800 * thermal + rng.normal(0, 4, thermal.shape)).astype(np.uint16)
    inverse = (1 / depth).astype(np.float32)
    return Pair(counts, rgb, inverse, np.ones(depth.shape, bool), f"pair {seed}", f"drive {seed}")


def seen(boards, cells, values, K, size, rgb_from_camera):
    """(mean value over each pixel, depth along z at its centre)."""
    fine = (np.arange(OVERSAMPLE) + 0.5) / OVERSAMPLE - 0.5
    rows = (np.arange(size[0])[:, None] + fine).ravel()
    columns = (np.arange(size[1])[:, None] + fine).ravel()
    x, y = np.meshgrid(columns, rows)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T
    along, origin = rays @ rgb_from_camera[:3, :3].T, rgb_from_camera[:3, 3]
    best, value = np.full(x.shape, np.inf), np.zeros(x.shape)
    for board, cell, pattern in zip(boards, cells, values, strict=True):
        cx, cy, w, h, z = board
        far = (z - origin[2]) / along[..., 2]  # a multiple of the ray, whose own z is 1: depth in this camera
        px, py = (origin[k] + far * along[..., k] - c for k, c in ((0, cx), (1, cy)))
        hit = (far > 0) & (far < best) & (abs(px) < w) & (abs(py) < h)
        patch = pattern[np.floor(py / cell).astype(int) % 23, np.floor(px / cell).astype(int) % 29]
        best, value = np.where(hit, far, best), np.where(hit, patch, value)
    blocks = value.reshape(size[0], OVERSAMPLE, size[1], OVERSAMPLE)
    return blocks.mean((1, 3)), best[OVERSAMPLE // 2 :: OVERSAMPLE, OVERSAMPLE // 2 :: OVERSAMPLE]


def as_constant(pair):
    return dataclasses.replace(pair, thermal=np.full(SIZE, 3000, np.uint16))
