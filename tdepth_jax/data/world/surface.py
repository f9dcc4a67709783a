"""What both cameras need to know of the surfaces they hit: label, material, texture, windows, sunlight."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int, UInt8

from tdepth_jax.data.world import ground as ground_
from tdepth_jax.data.world import materials, texture
from tdepth_jax.data.world.raycast import GROUND, SKY, Hits, _hash
from tdepth_jax.data.world.scene import LABEL, Looks
from tdepth_jax.data.world.weather import Weather


@dataclasses.dataclass(frozen=True)
class Surface:
    """Per pixel (flat); indices `solid` and `ground` choose the pixels of either kind."""

    label: UInt8[np.ndarray, " p"]
    solid: Int[np.ndarray, " a"]
    ground: Int[np.ndarray, " g"]
    texture: Float[np.ndarray, " p"]
    windows: Float[np.ndarray, " p"]  # share of the pixel that is window glass
    window_draw: Float[np.ndarray, " p"]  # uniform draw of the window
    sunlit: Float[np.ndarray, " p"]  # cosine towards the sun, 0 behind
    moving: np.ndarray  # bool


def describe(
    hits: Hits, looks: Looks, drawn: ground_.GroundMap, tiles: texture.Atlas, weather: Weather
) -> Surface:
    """Describes every pixel's surface; `tiles` is the atlas of the camera's own band."""
    n = len(hits.solid)
    on, off = np.flatnonzero(hits.solid >= 0), np.flatnonzero(hits.solid == GROUND)
    s = hits.solid[on]
    label = np.full(n, LABEL["sky"], np.uint8)
    label[on] = looks.label[s]
    label[off] = ground_.nearest(drawn.label, drawn, hits.point[off, :2])
    style = np.zeros(n, np.int64)
    style[on] = materials.column("style")[looks.material[s]]
    style[off] = ground_.nearest(drawn.style, drawn, hits.point[off, :2])
    grain = np.zeros(n, np.float32)
    seen = np.flatnonzero(hits.solid != SKY)
    grain[seen] = texture.sample(
        tiles, style[seen], hits.uv[seen, 0], hits.uv[seen, 1], hits.minor[seen], hits.along[seen]
    )
    windows, window_draw = np.zeros(n, np.float32), np.zeros(n, np.float32)
    glazed = on[(looks.windows[s, 0] > 0) & (hits.face[on] < 2)]
    if len(glazed):
        windows[glazed], window_draw[glazed] = _windows(hits, looks, glazed)
    sunlit = np.clip(hits.normal @ weather.sun.astype(np.float32), 0, 1)
    moving = np.zeros(n, bool)
    moving[on] = looks.owner[s] >= 0
    return Surface(label, on, off, grain, windows, window_draw, sunlit, moving)


def _windows(hits: Hits, looks: Looks, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows' share of each pixel's footprint (a box-filtered pulse train each way) and a draw per window."""
    solid = hits.solid[k]
    share, cells, blur = np.ones(len(k), np.float32), [], np.zeros(len(k), np.float32)
    for axis in (0, 1):
        pitch, filled = looks.windows[solid, axis], looks.windows[solid, 2 + axis]
        at = hits.uv[k, axis] / pitch
        width = np.hypot(hits.minor[k], hits.along[k, axis]) / pitch + 1e-4
        total = lambda q, f=filled: np.floor(q) * f + np.minimum(q - np.floor(q), f)  # noqa: E731
        share *= (total(at + width / 2) - total(at - width / 2)) / width
        cells.append(np.floor(at).astype(np.int64))
        blur = np.maximum(blur, width)
    draw = _hash(cells[0], cells[1], hits.face[k], solid)
    fade = np.clip(blur - 0.5, 0, 1)  # far off, windows can no longer be told apart
    return share, draw + fade * (0.5 - draw)
