"""A calibration from pairs to result, and the check of one that is in use."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tdepth_jax.calibration import edges, levels, objective, search, uncertainty
from tdepth_jax.calibration.levels import Rig
from tdepth_jax.calibration.objective import Freedom, Level
from tdepth_jax.calibration.pairs import Taken
from tdepth_jax.calibration.search import Found
from tdepth_jax.calibration.uncertainty import Drift, Spread

FAR = 10.0  # pixels; an edge farther than this from the next is counted as this far
REACH = 6.0  # pixels; how far the landscapes look


@dataclasses.dataclass(frozen=True)
class Search:
    """What is looked for: within `degrees` and `metres` of the start; see `objective.freedom` for `intrinsics`."""

    degrees: float = 4.0
    metres: float = 0.15
    intrinsics: str = "given"


@dataclasses.dataclass(frozen=True)
class Result:
    """A calibration and what is known of it.

    Attributes:
      start, rig: before and after.
      held_out: agreement before and after on pairs that the calibration did not see (each half by the other's).
      halves: pixels between the calibrations of the two halves.
      distance: mean distance from RGB edges to thermal ones, pixels of the finest level, before and after.
      landscapes: by direction, (pixels away, agreement).
      warnings: what makes it doubtful.
    """

    start: Rig
    rig: Rig
    free: Freedom
    found: Found
    spread: Spread
    level: Level
    held_out: tuple[float, float]
    halves: float
    distance: tuple[float, float]
    landscapes: dict[str, tuple[list[float], list[float]]]
    warnings: tuple[str, ...]


def calibrate(taken: Taken, want: Search) -> Result:
    """The calibration that fits the pairs best, cross-fitted and bootstrapped."""
    pyramid, free = prepared(taken, want)
    rig, finest = taken.rig, pyramid[-1]
    found = search.solve(pyramid, rig, free)
    spread = uncertainty.bootstrap(finest, rig, free, found.x, taken.drives)
    half = _halves(taken.drives)
    fits = [search.solve([_only(level, half == k) for level in pyramid], rig, free).x for k in (0, 1)]
    base, directions, _ = search.arrays(rig, free)
    by_pair = lambda x: np.asarray(objective.per_pair(jnp.asarray(x, jnp.float32), finest, base, directions))  # noqa: E731
    others = np.where(half == 0, by_pair(fits[1]), by_pair(fits[0]))
    result = Result(
        start=rig,
        rig=search.applied(rig, free, found.x),
        free=free,
        found=found,
        spread=spread,
        level=finest,
        held_out=(float(by_pair(np.zeros_like(found.x)).mean()), float(others.mean())),
        halves=search.shift_in_pixels(finest, rig, free, *fits),
        distance=(
            distance(taken, finest, rig, free, np.zeros_like(found.x)),
            distance(taken, finest, rig, free, found.x),
        ),
        landscapes=search.landscape(finest, rig, free, found.x, reach=REACH),
        warnings=(),
    )
    return dataclasses.replace(result, warnings=tuple(_doubts(result)))


def check(taken: Taken, want: Search) -> Drift:
    """Has the calibration `taken.rig` drifted?"""
    pyramid, free = prepared(taken, want)
    return uncertainty.drift(pyramid, taken.rig, free, taken.drives)


def watch(taken: Taken, want: Search, window: int) -> Iterator[tuple[str, Drift]]:
    """(name of the first pair, drift) of each `window` pairs in a row; what is left over at the end is not used."""
    for first in range(0, len(taken.pairs) - window + 1, window):
        some = dataclasses.replace(taken, pairs=taken.pairs[first : first + window])
        yield some.pairs[0].name, check(some, want)


def prepared(taken: Taken, want: Search) -> tuple[list[Level], Freedom]:
    """(levels, what may change). A depth that is assumed tells nothing of a shift, which then stays as it is."""
    measured = taken.depth in ("measured", "stereo")
    pyramid = levels.build(taken.pairs, taken.rig, margin=want.metres if measured else 0.0)
    finest = pyramid[-1]
    free = objective.freedom(
        np.asarray(finest.K),
        (finest.field.shape[1], finest.field.shape[2]),
        search.typical_inverse_depth(finest),
        shift=want.metres if measured else 0.0,
        turn=float(np.radians(want.degrees)),
        intrinsics=want.intrinsics,
    )
    return pyramid, free


def distance(taken: Taken, level: Level, rig: Rig, free: Freedom, x: Float[np.ndarray, " k"]) -> float:
    """Mean distance in pixels of the level, at most `FAR`, from the RGB edges to the nearest thermal edge."""
    u, v, seen = where(level, rig, free, x)
    weight = np.asarray(level.weight) * seen
    factor = levels.factors(rig.thermal_size[1])[-1]
    total = 0.0
    for pair, column, row, some in zip(taken.pairs, u, v, weight, strict=True):
        valid = None if pair.valid is None else levels.shrunk(pair.valid, factor, np.all)
        away = edges.distance(levels.shrunk(pair.thermal, factor), valid)
        total += float((some * np.minimum(away[row, column], FAR)).sum())
    return total / max(float(weight.sum()), 1e-12)


def where(
    level: Level, rig: Rig, free: Freedom, x: Float[np.ndarray, " k"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(columns, rows, whether inside) of the points in the level's thermal images, [pairs, points], whole pixels."""
    base, directions, _ = search.arrays(rig, free)
    motion, K = objective.moved(jnp.asarray(x, jnp.float32), directions, base, level.K)
    u, v, z = (np.asarray(a) for a in objective.project(level, motion, K))
    h, w = level.field.shape[1:3]
    seen = (u >= 0) & (u <= w - 1) & (v >= 0) & (v <= h - 1) & (z > 0)
    column, row = (np.round(np.where(seen, a, 0)).astype(int) for a in (u, v))
    return column, row, seen


def _halves(drives: Sequence[str]) -> np.ndarray:
    """0 or 1 for each pair, whole recordings together where there are several."""
    names, owner = np.unique(np.asarray(drives), return_inverse=True)
    return owner % 2 if len(names) > 1 else (np.arange(len(drives)) * 2 // len(drives))


def _only(level: Level, kept: np.ndarray) -> Level:
    """The level with the weights of other pairs at 0: shapes stay, so nothing is compiled anew."""
    return level._replace(weight=level.weight * jnp.asarray(kept, jnp.float32)[:, None])


def _doubts(result: Result) -> Iterator[str]:
    found = result.found
    if found.at_bound:
        yield (
            f"{', '.join(found.at_bound)} ended at the bound of the search; widen it (--search-degrees, "
            "--search-metres) or give a better start"
        )
    if found.agreed < 0.5:
        yield (
            f"only {found.agreed:.0%} of the starts ended at the same place: the best of them may be by chance; give "
            "more pairs"
        )
    before, after = result.held_out
    if after <= before:
        yield (
            f"pairs that were held out agree no better than before ({before:.4f}, then {after:.4f}): keep the "
            "calibration that you had"
        )
    bent = np.linalg.eigvalsh(result.spread.curvature)
    if bent[0] <= search.FLATTEST * bent[-1]:
        yield "one direction is hardly seen in these pairs: give pairs with near and far things, and edges of all kinds"
