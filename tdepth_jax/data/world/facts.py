"""The world's constants: splits, names, camera rigs and the thermal sensor's response.

Counts follow the Planck form used for the FLIR A65 family (the MS2 data set's tools):
counts = R / (exp(B / T) - F) + O with T in kelvin, hence T = B / ln(R / (counts - O) + F).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

# In the order that seeds are drawn from: append only.
SPLITS = ("train", "test", "new_scene", "new_scene_train", "rgb_train")
NEW_SCENE = ("new_scene", "new_scene_train")  # another place, climate, lens, rig and sensor
CONDITIONS = ("day", "night", "fog", "crossover")
LABEL_NAMES = (
    "road",
    "ground",
    "building",
    "vegetation",
    "sky",
    "car",
    "person",
    "pole",
    "bike",
    "animal",
    "wall",
)
RADAR_COLUMNS = ("x", "y", "z", "radial_velocity", "rcs_dbsm")
FRAMES_PER_SECOND = 10
DEPTH_SCALE = 1 / 256
MAX_DEPTH = 110.0  # metres of z-depth; what lies beyond is drawn but has depth 0 (none), as has the sky


@dataclasses.dataclass(frozen=True)
class SensorFacts:
    """One thermal sensor: its response, and how far it is from ideal. Temperatures in kelvin, rates per frame."""

    planck_R: float = 380747.0
    planck_B: float = 1428.0
    planck_F: float = 1.0
    planck_O: float = -88.539
    bit_depth: int = 14
    netd: float = 0.05  # temporal noise, one standard deviation
    pixel_pattern: float = 0.06  # fixed pattern left by the last shutter correction, per pixel
    column_pattern: float = 0.05  # the same, per column
    vignetting: float = 0.015  # relative loss of signal in the corners
    dead_fraction: float = 0.0004  # pixels stuck at some level of their own
    blur: float = 0.55  # standard deviation of the lens and detector spread, pixels
    drift: float = 0.004  # random walk of the whole frame's offset
    seed: int = 65  # which specimen: draws the fixed pattern and the dead pixels


# Another specimen, noisier and with a stronger pattern, behind another lens.
_OTHER_SENSOR = SensorFacts(
    netd=0.07, pixel_pattern=0.09, column_pattern=0.09, vignetting=0.03, blur=0.7, seed=9
)
SENSORS = {split: _OTHER_SENSOR if split in NEW_SCENE else SensorFacts() for split in SPLITS}

METADATA = {
    "sensor": {
        "name": "ThermalWorld simulated LWIR camera",
        "unit": "raw",
        "bit_depth": 14,
        "planck": {"R": 380747.0, "B": 1428.0, "F": 1.0, "O": -88.539},
        "netd_kelvin": {split: SENSORS[split].netd for split in SPLITS},
        "frames_per_second": FRAMES_PER_SECOND,
    },
    "depth_scale": DEPTH_SCALE,
    "max_depth": MAX_DEPTH,
    "radar_columns": list(RADAR_COLUMNS),
    "radar_frame": "thermal camera; metres, metres per second (positive when receding), decibels of one m^2",
    "label_names": list(LABEL_NAMES),
    "conditions": list(CONDITIONS),
    "synthetic": True,
}


def counts_from_celsius(
    celsius: Float[np.ndarray, "*shape"] | float, sensor: SensorFacts
) -> Float[np.ndarray, "*shape"]:
    """Counts (not rounded) of a black body at `celsius`."""
    kelvin = np.maximum(np.asarray(celsius) + 273.15, 120.0)  # float32 overflows below
    return sensor.planck_R / (np.exp(sensor.planck_B / kelvin) - sensor.planck_F) + sensor.planck_O


def celsius_from_counts(
    counts: Float[np.ndarray, "*shape"], sensor: SensorFacts
) -> Float[np.ndarray, "*shape"]:
    """The temperature of a black body that gives `counts`: the inverse of `counts_from_celsius`."""
    signal = np.maximum(np.asarray(counts, np.float64) - sensor.planck_O, 1e-6)
    return sensor.planck_B / np.log(sensor.planck_R / signal + sensor.planck_F) - 273.15
