"""Time of day and weather: what it does to temperatures, to the sky, to light and to sight."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from tdepth_jax.data.world import materials


@dataclasses.dataclass(frozen=True)
class Weather:
    """One scene's conditions. Temperatures in Celsius, extinctions in 1/m, light relative to full daylight."""

    condition: str
    air: float
    zenith: float  # apparent temperature of the sky overhead
    sky_scale: float  # how quickly the sky cools with elevation (radians)
    clouds: float  # kelvin, patches of cloud
    sun: Float[np.ndarray, 3]  # direction towards the sun
    sun_strength: float
    contrast: float  # of the materials' excess over the air; small at crossover
    detail: float  # of the texture
    night: float  # 0: the day's table of excesses, 1: the night's
    haze_thermal: float
    haze_visible: float
    light: float  # ambient visible light
    lamps: bool
    exposure: float
    fog_light: float

    def excess(self, material: np.ndarray, lit: np.ndarray) -> np.ndarray:
        """Excess over the air, kelvin, of materials by index where the sun's share on them is `lit` (0..1)."""
        day = materials.column("shade")[material] + materials.column("sun")[material] * lit
        mixed = (1 - self.night) * day + self.night * materials.column("night")[material]
        scale = np.where(materials.column("fixed")[material], 1.0, self.contrast)
        return (mixed * scale).astype(np.float32)


def draw(condition: str, rng: np.random.Generator, *, warmer: float = 0.0) -> Weather:
    """The weather of a scene; `warmer` shifts the air (another climate)."""
    u = rng.uniform
    around, high = u(0, 2 * np.pi), u(0.35, 1.0)
    sun = np.array([np.cos(around) * np.cos(high), np.sin(around) * np.cos(high), np.sin(high)])
    common: dict[str, Any] = {"condition": condition, "sun": sun}
    if condition == "day":
        air = u(12, 24) + warmer
        return Weather(air=air, zenith=air - u(20, 42), sky_scale=u(0.15, 0.3), clouds=u(0, 8),
                       sun_strength=u(0.6, 1.0), contrast=u(0.9, 1.15), detail=u(0.85, 1.2), night=0.0,
                       haze_thermal=0.0006, haze_visible=0.001, light=0.45, lamps=False,
                       exposure=1.55, fog_light=0.75, **common)  # fmt: skip
    if condition == "night":
        air = u(3, 13) + warmer
        return Weather(air=air, zenith=air - u(18, 36), sky_scale=u(0.15, 0.3), clouds=u(0, 5), sun_strength=0.0,
                       contrast=u(0.8, 1.1), detail=u(0.5, 0.8), night=1.0, haze_thermal=0.0008,
                       haze_visible=0.002, light=0.006, lamps=True, exposure=2.2, fog_light=0.02, **common)  # fmt: skip
    if condition == "fog":
        air = u(4, 12) + warmer
        return Weather(air=air, zenith=air - u(6, 12), sky_scale=u(0.3, 0.5), clouds=u(0, 1), sun_strength=0.12,
                       contrast=u(0.45, 0.65), detail=u(0.45, 0.65), night=0.4, haze_thermal=u(0.004, 0.008),
                       haze_visible=u(0.045, 0.09), light=0.5, lamps=False,
                       exposure=1.4, fog_light=0.42, **common)  # fmt: skip
    if condition == "crossover":
        air = u(7, 17) + warmer
        return Weather(air=air, zenith=air - u(7, 14), sky_scale=u(0.2, 0.4), clouds=u(0, 3), sun_strength=0.05,
                       contrast=u(0.12, 0.22), detail=u(0.16, 0.26), night=u(0.4, 0.6), haze_thermal=0.0008,
                       haze_visible=0.002, light=0.11, lamps=True, exposure=1.9, fog_light=0.12, **common)  # fmt: skip
    raise ValueError(condition)
