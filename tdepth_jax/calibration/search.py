"""The calibration that fits best: many starts on the coarsest level, Newton steps from level to level."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from tdepth_jax.calibration import objective
from tdepth_jax.calibration.levels import Rig
from tdepth_jax.calibration.objective import Freedom, Level

STARTS, FOLLOWED = 6, 2  # of the grid's best that are climbed from, and of their ends that go on a level
CURVATURE_STEP = 0.5  # pixels of a level, between slopes that make a curvature
LONGEST = 1.5  # pixels of a level, of one Newton step
ROUNDS, STEPS = 2, 4  # a curvature serves so many steps
FLATTEST = 0.02  # of the strongest curvature: along flatter directions a step is no longer than this allows
SAME = 0.5  # pixels of the coarsest level and direction; starts that end closer than this found the same


@dataclasses.dataclass(frozen=True)
class Found:
    """The end of a search.

    Attributes:
      x: the change, along the freedom's directions.
      agreement: there, at the finest level; `before`: at the start.
      agreed: share of the starts that ended at the same place on the coarsest level.
      at_bound: names of what stopped at its bound.
    """

    x: Float[np.ndarray, " k"]
    agreement: float
    before: float
    agreed: float
    at_bound: tuple[str, ...]


def solve(pyramid: Sequence[Level], rig: Rig, free: Freedom, *, starts: bool = True) -> Found:
    """The change of `rig` at which pairs agree best.

    Args:
      pyramid: from coarse to fine.
      starts: from a grid of turns on the coarsest level; else from `rig` alone.
    """
    base, directions, bounds = arrays(rig, free)
    coarse = float(2 ** (len(pyramid) - 1))
    points = jnp.zeros((1, len(free.names)))
    if starts:
        grid = jnp.asarray(_grid(free, coarse), jnp.float32)
        points = _best_of(grid, pyramid[0], base, directions)
    agreed = 1.0
    for k, level in enumerate(pyramid):
        pixel = float(2 ** (len(pyramid) - 1 - k))
        ends, scores = climb(points, level, base, directions, bounds, pixel)
        order = np.argsort(-np.asarray(scores), kind="stable")
        if k == 0:
            away = np.linalg.norm(np.asarray(ends - ends[order[0]]), axis=1)
            agreed = float((away < SAME * pixel * len(free.names) ** 0.5).mean())
        points = ends[order[: FOLLOWED if k == 0 and len(pyramid) > 2 else 1]]
    x = points[0]
    return Found(
        x=np.asarray(x, np.float64),
        agreement=float(_agreement(x, pyramid[-1], base, directions)),
        before=float(_agreement(jnp.zeros_like(x), pyramid[-1], base, directions)),
        agreed=agreed,
        at_bound=tuple(n for n, v, b in zip(free.names, np.abs(x), free.bounds, strict=True) if v > 0.98 * b),
    )


def arrays(rig: Rig, free: Freedom) -> tuple[Array, Array, Array]:
    """(thermal_from_rgb, directions, bounds) as the objective takes them."""
    base = jnp.asarray(np.linalg.inv(rig.rgb_from_thermal), jnp.float32)
    return base, jnp.asarray(free.directions, jnp.float32), jnp.asarray(free.bounds, jnp.float32)


def typical_inverse_depth(level: Level) -> float:
    """Mean of the points' inverse depths, 1 / metres."""
    weight = np.asarray(level.weight, np.float64)
    return float((np.asarray(level.inverse_depth) * weight).sum() / max(weight.sum(), 1e-12))


def applied(rig: Rig, free: Freedom, x: Float[np.ndarray, " k"]) -> Rig:
    """The rig after the change `x`; what x holds of intrinsics goes into the thermal K."""
    change = x @ free.directions
    K = np.asarray(rig.thermal_K, np.float64).copy()
    S = np.diag([*np.exp(change[6:8]), 1.0])
    S[:2, 2] = change[8:]
    motion = rigid(change[:6]) @ np.linalg.inv(rig.rgb_from_thermal)
    return dataclasses.replace(rig, thermal_K=K @ S, rgb_from_thermal=np.linalg.inv(motion))


def between(start: Rig, end: Rig, free: Freedom) -> Float64[np.ndarray, " k"]:
    """The change x of shift and turn that leads from one rig to another: the inverse of `applied`."""
    motion = np.linalg.inv(end.rgb_from_thermal) @ start.rgb_from_thermal
    vector = np.concatenate([motion[:3, 3], cv2.Rodrigues(motion[:3, :3])[0][:, 0], np.zeros(4)])
    return np.linalg.lstsq(free.directions.T, vector, rcond=None)[0]


def shift_in_pixels(
    level: Level,
    rig: Rig,
    free: Freedom,
    x: Float[np.ndarray, " k"],
    other: Float[np.ndarray, " k"] | None = None,
) -> float:
    """Root mean square distance between where `x` and `other` (by default no change) put the points in the level."""
    base, directions, _ = arrays(rig, free)
    other = np.zeros_like(x) if other is None else other
    there, here = (
        objective.project(level, *objective.moved(jnp.asarray(y, jnp.float32), directions, base, level.K))
        for y in (x, other)
    )
    h, w = level.field.shape[1:3]
    seen = (here[0] >= 0) & (here[0] < w) & (here[1] >= 0) & (here[1] < h) & (here[2] > 0) & (there[2] > 0)
    square = (there[0] - here[0]) ** 2 + (there[1] - here[1]) ** 2
    weight = jnp.where(seen, level.weight, 0.0)
    return float(jnp.sqrt((weight * jnp.where(seen, square, 0.0)).sum() / jnp.maximum(weight.sum(), 1e-12)))


def landscape(
    level: Level, rig: Rig, free: Freedom, x: Float[np.ndarray, " k"], *, reach: float, count: int = 41
) -> dict[str, tuple[list[float], list[float]]]:
    """By direction: (steps of x around `x`, within `reach` pixels, agreement there)."""
    base, directions, _ = arrays(rig, free)
    steps = np.linspace(-reach, reach, count)
    found = {}
    for k, name in enumerate(free.names):
        line = np.tile(x, (count, 1))
        line[:, k] += steps
        scores = _agreements(jnp.asarray(line, jnp.float32), level, base, directions)
        found[name] = (steps.tolist(), np.asarray(scores, float).tolist())
    return found


@jax.jit
def climb(
    starts: Float[Array, "s k"],
    level: Level,
    base: Float[Array, "4 4"],
    directions: Float[Array, "k 10"],
    bounds: Float[Array, " k"],
    pixel: float | Array,
) -> tuple[Float[Array, "s k"], Float[Array, " s"]]:
    """(where Newton steps end, agreement there) from each start; a pixel of this level is `pixel` of the finest."""
    value = functools.partial(objective.agreement, level=level, base=base, directions=directions)
    slope = jax.grad(value)

    def around(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        x, score = state
        H = objective.curvature(x, level, base, directions, CURVATURE_STEP * pixel)
        bent, axes = jnp.linalg.eigh(-H)
        bent = jnp.maximum(jnp.abs(bent), FLATTEST * jnp.abs(bent).max() + 1e-12)

        def step(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            x, score, longest = state
            ahead = axes @ ((axes.T @ slope(x)) / bent)
            ahead *= jnp.minimum(1.0, longest / jnp.maximum(jnp.linalg.norm(ahead), 1e-12))
            tried = jnp.clip(x + ahead, -bounds, bounds)
            reached = value(tried)
            better = reached > score
            return (
                jnp.where(better, tried, x),
                jnp.where(better, reached, score),
                jnp.where(better, longest, longest / 4),
            ), None

        longest = LONGEST * pixel * jnp.sqrt(float(len(x)))
        end, _ = jax.lax.scan(step, (x, score, longest), None, length=STEPS)
        return end[:2], None

    def one(x: Array) -> tuple[Array, Array]:
        (x, score), _ = jax.lax.scan(around, (x, value(x)), None, length=ROUNDS)
        return x, score

    return jax.lax.map(one, starts)


@jax.jit
def _agreements(xs: Array, level: Level, base: Array, directions: Array) -> Array:
    return jax.lax.map(lambda x: objective.agreement(x, level, base, directions), xs)


_agreement = jax.jit(objective.agreement)


def _best_of(grid: Array, level: Level, base: Array, directions: Array) -> Array:
    scores = np.asarray(_agreements(grid, level, base, directions))
    return grid[np.argsort(-scores, kind="stable")[:STARTS]]


def _grid(free: Freedom, pixel: float) -> Float64[np.ndarray, "n k"]:
    """Turns about every axis over their bounds, 1.5 of the coarsest level's pixels apart; the rest at 0."""
    lines = []
    for name, bound in zip(free.names, free.bounds, strict=True):
        around = name in ("rx", "ry", "rz")
        count = 1 + 2 * int(np.ceil(bound / (1.5 * pixel))) if around else 1
        lines.append(np.linspace(-bound, bound, count) * (count > 1) if count > 1 else np.zeros(1))
    return np.array(list(itertools.product(*lines)))


def rigid(vector: Float[np.ndarray, " 6"]) -> Float64[np.ndarray, "4 4"]:
    """As `se3.from_vector` with "axis_angle", in double precision: what is written is a rotation to the last digit."""
    motion = np.eye(4)
    motion[:3, :3] = cv2.Rodrigues(np.asarray(vector[3:], np.float64))[0]
    motion[:3, 3] = vector[:3]
    return motion
