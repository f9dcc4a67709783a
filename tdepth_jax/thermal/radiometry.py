"""Sensor counts and temperatures: the Planck form of radiometric cameras, and linear centikelvin.

A calibrated microbolometer's counts follow S(T) = R / (exp(B / T) - F) + O, T in kelvin. The constants belong
to one camera; `FLIR_A65` are the defaults that the MS2 data set's tools use for its A65C cameras.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Num

ZERO_CELSIUS = 273.15


@dataclasses.dataclass(frozen=True)
class Planck:
    """The four constants of a camera's response to a black body. FLIR writes R as R1 / R2."""

    R: float
    B: float
    F: float
    O: float

    def as_dict(self) -> dict[str, float]:
        return dataclasses.asdict(self)


FLIR_A65 = Planck(R=380747.0, B=1428.0, F=1.0, O=-88.539)


def counts_from_celsius(
    celsius: Float[np.ndarray, "*shape"] | float, planck: Planck = FLIR_A65
) -> Float[np.ndarray, "*shape"]:
    """Counts (not rounded) of a black body at `celsius`."""
    kelvin = np.maximum(np.asarray(celsius, np.float64) + ZERO_CELSIUS, 1.0)
    with np.errstate(over="ignore"):  # nothing radiates at 1 K: R / infinity = 0
        return planck.R / (np.exp(planck.B / kelvin) - planck.F) + planck.O


def celsius_from_counts(
    counts: Num[np.ndarray, "*shape"],
    planck: Planck = FLIR_A65,
    *,
    emissivity: float = 1.0,
    reflected_celsius: float = 20.0,
    transmission: float = 1.0,
    air_celsius: float = 20.0,
) -> Float[np.ndarray, "*shape"]:
    """Temperature of a surface seen at `counts`.

    The signal is what the surface emits, what it reflects of its surroundings and what the air adds:
    counts = tau (e S(T) + (1 - e) S(reflected)) + (1 - tau) S(air). With e = tau = 1, a black body seen
    without air, it is the plain inverse of `counts_from_celsius`. Counts below what any temperature gives
    become NaN.

    Args:
      emissivity: e in (0, 1].
      reflected_celsius: apparent temperature of the surroundings.
      transmission: tau in (0, 1] of the air (`air_transmission`) and of a window.
      air_celsius: temperature of the air.
    """
    signal = np.asarray(counts, np.float64)
    if emissivity != 1.0 or transmission != 1.0:
        added = transmission * (1 - emissivity) * counts_from_celsius(reflected_celsius, planck)
        added = added + (1 - transmission) * counts_from_celsius(air_celsius, planck)
        signal = (signal - added) / (emissivity * transmission)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = planck.R / (signal - planck.O) + planck.F
        kelvin = planck.B / np.log(np.where(ratio > 1.0, ratio, np.nan))
    return kelvin - ZERO_CELSIUS


@dataclasses.dataclass(frozen=True)
class Air:
    """FLIR's model of how air absorbs between camera and object; the coefficients are in the file."""

    alpha1: float = 0.006569
    alpha2: float = 0.01262
    beta1: float = -0.002276
    beta2: float = -0.00667
    x: float = 1.9


def air_transmission(
    *, metres: float, celsius: float, relative_humidity: float, air: Air | None = None
) -> float:
    """Transmission of `metres` of air; relative humidity in [0, 1].

    tau = X exp(-sqrt(d) (a1 + b1 sqrt(w))) + (1 - X) exp(-sqrt(d) (a2 + b2 sqrt(w))), w = water vapour in g/m^3
    by FLIR's fit in the air's temperature.
    """
    air = air or Air()
    exponent = 1.5587 + 6.939e-2 * celsius - 2.7816e-4 * celsius**2 + 6.8455e-7 * celsius**3
    root = np.sqrt(relative_humidity * np.exp(exponent))
    path = np.sqrt(max(metres, 0.0))
    thin = np.exp(-path * (air.alpha1 + air.beta1 * root))
    thick = np.exp(-path * (air.alpha2 + air.beta2 * root))
    return float(np.clip(air.x * thin + (1 - air.x) * thick, 1e-3, 1.0))


def celsius_from_centikelvin(counts: Num[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """TLinear counts (0.01 K each) to °C."""
    return np.asarray(counts, np.float64) / 100 - ZERO_CELSIUS
