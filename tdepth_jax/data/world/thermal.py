"""The thermal camera: surface temperatures, emission and reflection, air on the way, lens, and sensor.

Counts add up linearly in radiance, so mixtures are made in counts: emissivity * counts(T_surface)
+ (1 - emissivity) * counts(T_surroundings), then the same along the path through the air.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt16

from tdepth_jax.data.world import ground as ground_
from tdepth_jax.data.world import materials
from tdepth_jax.data.world.facts import SensorFacts, counts_from_celsius
from tdepth_jax.data.world.raycast import SKY, Hits
from tdepth_jax.data.world.scene import Looks
from tdepth_jax.data.world.surface import Surface
from tdepth_jax.data.world.weather import Weather


def sky_temperature(direction: np.ndarray, weather: Weather) -> Float[np.ndarray, " p"]:
    """Apparent temperature of the sky: near the air's at the horizon, colder with elevation, patchy with cloud."""
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    rise = np.maximum(np.arcsin(unit[:, 2].clip(-1, 1)), 0)
    clear = weather.zenith + (weather.air - weather.zenith) * np.exp(-rise / weather.sky_scale)
    a, b = np.arctan2(unit[:, 1], unit[:, 0]), rise
    cloud = np.sin(3 * a + 4 * b + 1) * np.sin(9 * b - 2 * a) + 0.5 * np.sin(11 * a + 7 * b) * np.sin(
        17 * b - 5 * a
    )
    return clear + weather.clouds * np.maximum(cloud, 0) * np.minimum(rise * 5, 1)


def radiance(
    hits: Hits,
    surface: Surface,
    looks: Looks,
    drawn: ground_.GroundMap,
    weather: Weather,
    sensor: SensorFacts,
) -> Float[np.ndarray, " p"]:
    """Ideal counts of every pixel before lens and detector."""
    celsius = np.full(len(hits.solid), weather.air, np.float32)
    emissivity = np.full(len(hits.solid), 0.95, np.float32)
    k, s = surface.solid, hits.solid[surface.solid]
    material = looks.material[s]
    lit = surface.sunlit[k] * weather.sun_strength
    patchy = materials.column("patchy").astype(np.float32)[material] * weather.detail
    own = looks.warmth[s] * np.maximum(weather.detail, np.where(materials.column("fixed")[material], 0.8, 0))
    wall = weather.excess(material, lit) + own + patchy * surface.texture[k]
    celsius[k] = weather.air + wall + surface.windows[k] * (_glass(surface.window_draw[k], weather) - wall)
    emissivity[k] = materials.column("emissivity").astype(np.float32)[material] - 0.06 * surface.windows[k]
    g = surface.ground
    heat = ground_.sample(drawn.heat, drawn, hits.point[g, :2], hits.minor[g], hits.along[g])
    celsius[g] = weather.air + heat[:, 0] + heat[:, 1] * surface.texture[g]
    counts = counts_from_celsius(celsius, sensor)
    around = np.where(hits.normal[:, 2] > 0.5, weather.zenith * 0.6 + weather.air * 0.4, weather.air - 3)
    counts = emissivity * counts + (1 - emissivity) * counts_from_celsius(around, sensor)
    sky = hits.solid == SKY
    counts[sky] = counts_from_celsius(sky_temperature(hits.ray[sky], weather), sensor)
    distance = np.where(sky, 0, hits.depth) * np.linalg.norm(hits.ray, axis=1)
    clear = np.exp(-weather.haze_thermal * np.where(sky, 0, distance))
    return (clear * counts + (1 - clear) * counts_from_celsius(weather.air, sensor)).astype(np.float32)


def _glass(draw: np.ndarray, weather: Weather) -> np.ndarray:
    """Excess of windows over the air: by day they mirror a cold sky, by night some leak warmth."""
    day = -7.0 + 6.0 * draw
    night = np.where(draw > 0.6, 5.0 + 6.0 * (draw - 0.6), -2.0 + 3.0 * draw)
    level = (1 - weather.night) * day + weather.night * night
    return level * max(weather.contrast, 0.25)


@dataclasses.dataclass
class Detector:
    """One specimen of the sensor at work on one sequence: fixed faults, and the state that moves with time."""

    sensor: SensorFacts
    pattern: Float[np.ndarray, "h w"]  # kelvin
    gain: Float[np.ndarray, "h w"]
    dead: np.ndarray  # bool [h, w]
    stuck: UInt16[np.ndarray, "h w"]
    rng: np.random.Generator
    offset: float = 0.0  # kelvin

    @staticmethod
    def make(sensor: SensorFacts, height: int, width: int, seed: np.random.SeedSequence) -> Detector:
        """The fixed faults come from the sensor's own seed alone, noise and drift from the sequence's."""
        fixed = np.random.default_rng([sensor.seed, height, width])
        pattern = sensor.pixel_pattern * fixed.standard_normal((height, width))
        pattern += sensor.column_pattern * fixed.standard_normal((1, width))
        y, x = np.mgrid[:height, :width]
        r2 = ((x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2) / (
            (width / 2) ** 2 + (height / 2) ** 2
        )
        dead = fixed.random((height, width)) < sensor.dead_fraction
        stuck = fixed.integers(1200, 5200, (height, width)).astype(np.uint16)
        return Detector(sensor, pattern, 1 - sensor.vignetting * r2, dead, stuck, np.random.default_rng(seed))

    def recalibrate(self) -> None:
        """What a shutter correction does: the drift goes, a little new pattern stays."""
        self.offset = 0.0
        self.pattern = self.pattern + 0.3 * self.sensor.pixel_pattern * self.rng.standard_normal(
            self.pattern.shape
        )

    def expose(self, counts: Float[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
        """Raw counts of one frame."""
        sensor = self.sensor
        counts = cv2.GaussianBlur(
            counts.astype(np.float32), (0, 0), sensor.blur, borderType=cv2.BORDER_REPLICATE
        )
        self.offset += sensor.drift * self.rng.standard_normal()
        per_kelvin = counts_from_celsius(15.5, sensor) - counts_from_celsius(14.5, sensor)
        error = self.pattern + self.offset + sensor.netd * self.rng.standard_normal(counts.shape, np.float32)
        raw = np.round(counts * self.gain + per_kelvin * error)
        raw = np.clip(raw, 0, 2**sensor.bit_depth - 1).astype(np.uint16)
        return np.where(self.dead, self.stuck, raw)
