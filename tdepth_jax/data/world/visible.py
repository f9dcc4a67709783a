"""The RGB camera: sun and sky by day, lamps and headlights by night, airlight in fog."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from tdepth_jax.data.world import ground as ground_
from tdepth_jax.data.world import materials
from tdepth_jax.data.world.raycast import SKY, Hits
from tdepth_jax.data.world.scene import Looks
from tdepth_jax.data.world.surface import Surface
from tdepth_jax.data.world.weather import Weather

_WARM = np.array([1.0, 0.78, 0.5], np.float32)
_FOG = np.array([0.96, 0.99, 1.0], np.float32)


def _sky(direction: np.ndarray, weather: Weather) -> np.ndarray:
    rise = np.clip(direction[:, 2] / np.linalg.norm(direction, axis=1), 0, 1)[:, None]
    if weather.condition == "day":
        return np.array([0.75, 0.82, 0.9]) * (1 - rise) + np.array([0.28, 0.45, 0.8]) * rise
    if weather.condition == "fog":
        return weather.fog_light * _FOG * (1 + 0.15 * rise)
    if weather.condition == "crossover":
        return (np.array([0.42, 0.26, 0.16]) * (1 - rise) ** 3 + np.array([0.06, 0.09, 0.18])) * 0.8
    return np.array([0.012, 0.011, 0.012]) * (1 - 0.6 * rise)


def _lamplight(hits: Hits, lamps: np.ndarray) -> np.ndarray:
    """Irradiance of street lamps (positions [n, 3]), falling with the square of the distance."""
    total = np.zeros(len(hits.solid), np.float32)
    near = lamps[np.argsort(((lamps - hits.point.mean(0)) ** 2).sum(1))[:8]]
    for lamp in near.astype(np.float32):
        to = lamp - hits.point
        d2 = (to * to).sum(1) + 0.3
        facing = np.clip((to * hits.normal).sum(1) / np.sqrt(d2), 0, 1)
        total += 9.0 * facing * np.clip(to[:, 2], 0, 1) / d2
    return total


def _headlights(hits: Hits, forward: np.ndarray) -> np.ndarray:
    """The camera's own vehicle lights the way ahead, brightest low and straight on."""
    ray = hits.ray / np.linalg.norm(hits.ray, axis=1, keepdims=True)
    ahead = np.clip(ray @ forward.astype(np.float32), 0, 1) ** 14
    low = np.clip(0.6 - 5 * ray[:, 2], 0.05, 1)
    facing = 0.25 + 0.75 * np.clip(-(ray * hits.normal).sum(1), 0, 1)
    d = np.where(hits.solid == SKY, 1e3, hits.depth)
    return 60.0 * ahead * low * facing / (d * d + 25)


def image(
    hits: Hits, surface: Surface, looks: Looks, drawn: ground_.GroundMap, lamps: np.ndarray, weather: Weather,
    *, forward: np.ndarray, height: int, width: int, headlights: bool, rng: np.random.Generator,
) -> UInt8[np.ndarray, "h w 3"]:  # fmt: skip
    """An 8-bit sRGB-like picture."""
    n = len(hits.solid)
    albedo, glow = np.zeros((n, 3), np.float32), np.zeros((n, 3), np.float32)
    k, s = surface.solid, hits.solid[surface.solid]
    material = looks.material[s]
    mottle = materials.column("mottle").astype(np.float32)[material]
    base = materials.column("albedo").astype(np.float32)[material] * looks.tint[s]
    base = base * np.clip(1 + mottle * surface.texture[k], 0.2, 2)[:, None]
    pane = surface.windows[k, None]
    albedo[k] = base + pane * (np.array([0.10, 0.12, 0.15], np.float32) - base)
    if weather.lamps:
        warm = np.where(surface.window_draw[k] > 0.6, 0.55, 0.004)[:, None] * pane * _WARM
        shine = materials.column("glow").astype(np.float32)[material][:, None]
        glow[k] = warm + shine * materials.column("albedo").astype(np.float32)[material]
    g = surface.ground
    paint = ground_.sample(drawn.paint, drawn, hits.point[g, :2], hits.minor[g], hits.along[g])
    albedo[g] = paint * np.clip(1 + 0.22 * surface.texture[g], 0.2, 2)[:, None]
    # The ground's picture holds its shadows; solids shade themselves by their facing only.
    up = 0.6 + 0.4 * hits.normal[:, 2]
    light = (weather.light * up + weather.sun_strength * 0.9 * surface.sunlit)[:, None] * np.ones(
        3, np.float32
    )
    if weather.lamps:
        light = light + _lamplight(hits, lamps)[:, None] * _WARM if len(lamps) else light
        if headlights:
            light = light + _headlights(hits, forward)[:, None] * np.array([1, 0.97, 0.9], np.float32)
    linear = albedo * light + glow
    sky = hits.solid == SKY
    linear[sky] = _sky(hits.ray[sky], weather)
    path = np.where(sky, 0, hits.depth) * np.linalg.norm(hits.ray, axis=1)
    clear = np.exp(-weather.haze_visible * path)[:, None]
    linear = clear * linear + (1 - clear) * weather.fog_light * _FOG
    blurred = cv2.GaussianBlur(linear.reshape(height, width, 3).astype(np.float32), (0, 0), 0.5)
    noise = rng.standard_normal(blurred.shape, np.float32)
    exposed = blurred * weather.exposure * 0.8
    exposed += noise * (0.004 * np.sqrt(np.maximum(exposed, 0) + 0.02) + (0.003 if weather.lamps else 0.001))
    exposed = np.clip(exposed, 0, None)
    toned = exposed / (1 + 0.35 * exposed)  # a soft shoulder, as cameras have
    return np.round(255 * np.clip(toned, 0, 1) ** (1 / 2.2)).astype(np.uint8)
