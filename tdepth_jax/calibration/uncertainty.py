"""How far a calibration would move with other pairs, and whether a given one has drifted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tdepth_jax.calibration import objective, search
from tdepth_jax.calibration.levels import Rig
from tdepth_jax.calibration.objective import Freedom, Level

SAMPLES = 1000
LEAST_DRIVES = 8  # of so many recordings whole ones are drawn, of fewer single pairs


@dataclasses.dataclass(frozen=True)
class Spread:
    """Of the bootstrap: `draws` of the change x, and by what they were drawn ("drives" or "pairs").

    `curvature` is of the agreement at its top (k x k): its eigenvectors of small eigenvalue are what the pairs say
    little about.
    """

    draws: Float[np.ndarray, "samples k"]
    curvature: Float[np.ndarray, "k k"]
    drawn: str

    @property
    def covariance(self) -> Float[np.ndarray, "k k"]:
        return np.atleast_2d(np.cov(self.draws.T))


@dataclasses.dataclass(frozen=True)
class Drift:
    """How far the best calibration round about is from the current one.

    Attributes:
      pixels: root mean square shift of edges between the two, finest level.
      sigma: how unlikely it is by chance, as standard deviations of a normal distribution.
      current, best: agreement of the two.
      x: from the current to the best.
    """

    pixels: float
    sigma: float
    current: float
    best: float
    x: Float[np.ndarray, " k"]

    def has_drifted(self, *, sigma: float, pixels: float) -> bool:
        """Both: many pairs make the least shift certain, and few make a large one by chance."""
        return self.sigma > sigma and self.pixels > pixels


def bootstrap(
    level: Level, rig: Rig, free: Freedom, x: Float[np.ndarray, " k"], drives: Sequence[str], *, seed: int = 0
) -> Spread:
    """Pairs drawn anew with replacement, each draw's best calibration by one Newton step from that of all pairs.

    One step is enough since draws move the top by fractions of a pixel (Schucany and Wang 1991, "One-step
    bootstrapping for smooth iterative procedures"). It says nothing of what all pairs share: a wrong K, a depth
    that is wrong everywhere, edges that heat and light put in different places.
    """
    base, directions, _ = search.arrays(rig, free)
    slopes, bends = (
        np.asarray(a, np.float64) for a in _by_pair(jnp.asarray(x, jnp.float32), level, base, directions)
    )
    names, owner = np.unique(np.asarray(drives), return_inverse=True)
    whole = len(names) >= LEAST_DRIVES
    owner = owner if whole else np.arange(len(slopes))
    groups = int(owner.max()) + 1
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(groups, np.full(groups, 1 / groups), size=SAMPLES)[:, owner] / len(slopes)
    H = np.einsum("sp,pij->sij", weight, bends)
    g = weight @ (slopes - slopes.mean(0))  # the search stops a little before the top: that is no spread
    low = search.FLATTEST * np.abs(np.linalg.eigvalsh(bends.mean(0))).max()
    bent, axes = np.linalg.eigh(-(H + H.transpose(0, 2, 1)) / 2)
    steps = np.einsum("sij,sj->si", axes, np.einsum("sji,sj->si", axes, g) / np.maximum(bent, low))
    return Spread(x + steps, -bends.mean(0), "drives" if whole else "pairs")


@jax.jit
def _by_pair(x: Array, level: Level, base: Array, directions: Array) -> tuple[Array, Array]:
    """Slope and curvature of each pair's own agreement."""
    slope = jax.jacfwd(lambda y: objective.per_pair(y, level, base, directions))
    h = search.CURVATURE_STEP
    rows = jax.lax.map(lambda e: (slope(x + e) - slope(x - e)) / (2 * h), h * jnp.eye(len(x)))
    bends = jnp.moveaxis(rows, 0, 1)
    return slope(x), (bends + jnp.swapaxes(bends, 1, 2)) / 2


def drift(pyramid: Sequence[Level], rig: Rig, free: Freedom, drives: Sequence[str]) -> Drift:
    """Compares the calibration `rig` with the best in the neighbourhood that `free` bounds.

    The distance between the two, in the metric of the bootstrap's covariance, has a chi-squared distribution with as
    many degrees of freedom as there are directions if nothing but chance moved them.
    """
    found = search.solve(pyramid, rig, free, starts=False)
    spread = bootstrap(pyramid[-1], rig, free, found.x, drives)
    square = float(found.x @ np.linalg.pinv(spread.covariance) @ found.x)
    return Drift(
        pixels=search.shift_in_pixels(pyramid[-1], rig, free, found.x),
        sigma=as_sigma(square, len(found.x)),
        current=found.before,
        best=found.agreement,
        x=found.x,
    )


def as_sigma(square: float, freedom: int) -> float:
    """Standard deviations of a normal distribution as unlikely (two-sided) as a chi-squared of `square` or more."""
    chance = float(jax.scipy.special.gammaincc(freedom / 2, square / 2))
    if chance < 1e-12:  # beyond what float32 tells: the normal approximation of the root (Fisher)
        return max(7.0, (2 * square) ** 0.5 - (2 * freedom - 1) ** 0.5)
    return NormalDist().inv_cdf(1 - chance / 2)


@dataclasses.dataclass(frozen=True)
class Interval:
    """Of one direction's change: one standard deviation and 95 % of the draws, in `unit`."""

    name: str
    unit: str
    deviation: float
    low: float
    high: float


def in_words(free: Freedom, spread: Spread) -> list[Interval]:
    """The spread along every direction, in units that people use."""
    rows = []
    for k, name in enumerate(free.names):
        scale, unit = unit_of(free, k)
        draws = spread.draws[:, k] * scale
        low, high = np.percentile(draws, [2.5, 97.5])
        rows.append(Interval(name, unit, float(draws.std()), float(low), float(high)))
    return rows


def unit_of(free: Freedom, k: int) -> tuple[float, str]:
    """(how much a step of 1 along direction k is, its unit): cm, degrees, or per cent of the focal length."""
    size = float(free.directions[k][np.argmax(np.abs(free.directions[k]))])
    if free.names[k].startswith("t"):
        return 100 * size, "cm"
    if free.names[k].startswith("r"):
        return float(np.degrees(size)), "°"
    return 100 * size, "%"
