"""What a predicted spread of depth is worth: does it order the errors, and is it as large as it says?

A spread b is the scale of a Laplace distribution of ln(depth) around ln(predicted depth), so it promises
P(|ln p - ln g| <= q) = 1 - exp(-q / b). Scaling depth leaves it as it is. Two questions are apart:

- *Order* (sparsification; Ilg et al., ECCV 2018, section 5; Poggi et al., CVPR 2020, section 4.1): pixels are removed
  by falling spread, and the error of the rest is compared with that when they are removed by falling error (the
  oracle). AUSE is the area between the two curves over the share removed, 0 for a perfect order; AURG the area gained
  on removing at random. Areas as in Poggi et al.'s program: 50 steps of 2 %, trapezoids, 0 once all is removed, in the
  metric's unit. Here pixels of equal spread are removed in random order (its expectation), and the random curve ends at
  0 as the others do, so a constant spread has AURG 0; their program leaves it up, which adds 1 % of the error.
- *Size* (calibration; Kuleshov et al., ICML 2018): of z = |ln p - ln g| / b a share 1 - exp(-z) should lie below z.
  z is kept as a histogram, so that coverage can be read off under any temperature t (b -> t b) afterwards.

Rows accumulate as in `depth`: one per image; whatever is grouped is formed from rows, every image weighing alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from tdepth_jax.metrics import depth
from tdepth_jax.metrics.protocols import Protocol

LEVELS = (0.5, 0.8, 0.9, 0.95)  # nominal coverages of the tables
FIT_LEVELS = np.arange(1, 20) / 20  # and those a temperature is fitted to
WITHIN = float(np.log(1.25))  # |ln p - ln g| below it is delta_1
ERRORS = ("abs_rel", "rmse")
STEPS = 50  # of sparsification

_Z = np.geomspace(1e-5, 1e4, 361)  # upper ends of the bins of z; 40 in a decade
_B = np.geomspace(1e-4, 1e2, 241)  # and of those of b
_PIXELS, _UNUSABLE = 0, 1  # columns of a row
_OF_Z = slice(2, 2 + len(_Z) + 1)
_OF_B = slice(_OF_Z.stop, _OF_Z.stop + len(_B) + 1)
_HITS = slice(_OF_B.stop, _OF_B.stop + len(_B) + 1)
_CURVES = slice(_HITS.stop, _HITS.stop + 2 * len(ERRORS) * STEPS)
COLUMNS = _CURVES.stop


def confidence(spread: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The probability that depth is within 25 % of the truth (|ln p - ln g| < ln 1.25), from a spread above 0."""
    return -np.expm1(-WITHIN / np.asarray(spread))


def image_row(
    predicted: Float[np.ndarray, "h w"],
    spread: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "H W"],
    protocol: Protocol,
    *,
    valid: Bool[np.ndarray, "H W"] | None = None,
) -> Float[np.ndarray, " columns"]:
    """One image's row, over the pixels that `protocol` scores, its depth aligned and clamped by it.

    A spread that is not finite or not above 0 is taken as a claim to be right: a failure is never flattered.

    Raises:
      ValueError: the protocol aligns with a shift too, after which a spread means nothing.
    """
    if protocol.alignment == "lstsq":
        raise ValueError(
            f"a spread cannot be scored under {protocol.name}: its shift changes relative errors"
        )
    row = np.zeros(COLUMNS)
    use = depth.scored(truth, valid, protocol)
    if not use.any():
        return row
    g = truth[use].astype(np.float64)
    p = depth.align(depth.resize_depth(predicted, truth.shape, protocol.resize)[use], g, protocol)
    b = depth.resize_depth(spread, (truth.shape[0], truth.shape[1]), "bilinear")[use].astype(np.float64)
    usable = np.isfinite(b) & (b > 0)
    b = np.where(usable, b, 0.0)
    error = np.abs(np.log(p / g))
    row[_PIXELS], row[_UNUSABLE] = g.size, (~usable).sum()
    absolute, square = np.abs(p - g) / g, (p - g) ** 2
    order = np.argsort(b)
    ranked = b[order]
    below = np.searchsorted(ranked, _B, side="right")
    row[_OF_Z] = _histogram(np.searchsorted(np.sort(error / np.maximum(b, 1e-12)), _Z, side="right"), g.size)
    row[_OF_B] = _histogram(below, g.size)
    hits = np.cumsum(np.concatenate([[0], error[order] < WITHIN]))
    row[_HITS] = _histogram(hits[below], hits[-1])
    ties = (
        np.flatnonzero(ranked[1:] != ranked[:-1]) + 1
    )  # where one group of equal spread ends and another begins
    curves = [_sparsified(absolute[order], ties), _sparsified(np.sort(absolute))]
    curves += [np.sqrt(c) for c in (_sparsified(square[order], ties), _sparsified(np.sort(square)))]
    row[_CURVES] = np.concatenate(curves)
    return row


def batch_rows(
    predicted: Float[np.ndarray, "b h w 1"],
    spread: Float[np.ndarray, "b h w 1"],
    truth: Float[np.ndarray, "b H W 1"],
    protocol: Protocol,
    *,
    mask: Bool[np.ndarray, " b"] | None = None,
    valid: Bool[np.ndarray, "b H W 1"] | None = None,
) -> Float[np.ndarray, "b columns"]:
    """`image_row` of a batch; rows where `mask` is False (padding) are zero."""
    rows = np.zeros((len(predicted), COLUMNS))
    for i in range(len(predicted)):
        if mask is None or mask[i]:
            ok = None if valid is None else valid[i, ..., 0]
            rows[i] = image_row(predicted[i, ..., 0], spread[i, ..., 0], truth[i, ..., 0], protocol, valid=ok)
    return rows


def pixels(rows: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, " n"]:
    """How many pixels of each image were scored."""
    return rows[:, _PIXELS]


def unusable(rows: Float[np.ndarray, "n columns"]) -> int:
    """Of those of all images, how many have no usable spread."""
    return int(rows[:, _UNUSABLE].sum())


def coverage(
    rows: Float[np.ndarray, "n columns"],
    temperatures: Float[np.ndarray, " n"] | float = 1.0,
    levels: Sequence[float] | Float[np.ndarray, " k"] = LEVELS,
) -> Float[np.ndarray, " k"]:
    """The share of truths inside the interval that should hold a share `levels` of them; mean over images.

    Args:
      temperatures: by which each image's spread is multiplied.
    """
    below = (
        np.cumsum(rows[:, _OF_Z], axis=1)[:, :-1] / rows[:, :1]
    )  # share of each image up to each end of a bin
    limits = -np.log1p(-np.asarray(levels))
    times = np.broadcast_to(temperatures, len(rows))
    each = [np.interp(np.log(t * limits), np.log(_Z), cdf) for t, cdf in zip(times, below, strict=True)]
    return np.mean(each, axis=0)


def miscalibration(
    rows: Float[np.ndarray, "n columns"], temperatures: Float[np.ndarray, " n"] | float = 1.0
) -> float:
    """Mean distance between nominal and measured coverage over `FIT_LEVELS`; 0 is right, 0.5 the worst."""
    return float(np.abs(coverage(rows, temperatures, FIT_LEVELS) - FIT_LEVELS).mean())


def temperature(rows: Float[np.ndarray, "n columns"]) -> float:
    """The t that makes t·b as large as the errors are: least squares between nominal and measured coverage.

    Over `FIT_LEVELS`, 5 to 95 % (the calibration error of Kuleshov et al.; a minimum-distance estimate in the sense of
    Cramér and von Mises). Maximum likelihood would be the mean of z, which a few pixels at the edges of things, wrong
    by tens of their spread, pull up until every interval holds too much; here a pixel weighs the same however wrong it
    is. For Laplace errors both find the same t. Between a thousandth and a thousand.
    """
    mean = rows[:, : _OF_Z.stop] / rows[:, :1]
    below = np.cumsum(mean.mean(0)[_OF_Z])[:-1]
    limits = -np.log1p(-FIT_LEVELS)

    def best(grid: np.ndarray) -> int:
        measured = np.interp(np.log(grid[:, None] * limits), np.log(_Z), below)
        return int(((measured - FIT_LEVELS) ** 2).sum(1).argmin())

    coarse = np.geomspace(1e-3, 1e3, 1201)
    at = best(coarse)
    fine = np.geomspace(coarse[max(at - 1, 0)], coarse[min(at + 1, len(coarse) - 1)], 201)
    return float(fine[best(fine)])


def promises(
    rows: Float[np.ndarray, "n columns"], temperatures: Float[np.ndarray, " n"] | float = 1.0, bins: int = 10
) -> Float[np.ndarray, "bins 3"]:
    """What `confidence` says against what is: per tenth of confidence the mean said, the share within 25 %, and the
    share of pixels (NaN, NaN, 0 where none is); mean over images, to a fortieth of a decade of the spread."""
    middle = np.concatenate([_B[:1], np.sqrt(_B[1:] * _B[:-1]), _B[-1:]])
    times = np.broadcast_to(temperatures, len(rows))
    said = confidence(times[:, None] * middle)
    share, hits = rows[:, _OF_B] / rows[:, :1], rows[:, _HITS] / rows[:, :1]
    which = np.minimum((said * bins).astype(int), bins - 1)
    found = np.full((bins, 3), np.nan)
    for k in range(bins):
        weight = share[which == k].sum()
        found[k, 2] = weight / len(rows)
        if weight > 0:
            found[k, :2] = (said * share)[which == k].sum() / weight, hits[which == k].sum() / weight
    return found


def sparsification(rows: Float[np.ndarray, "n columns"]) -> dict[str, Float[np.ndarray, "2 steps"]]:
    """Error of what is left after removing 0, 2 … 98 % of the pixels, by spread and by the oracle; mean over images."""
    curves = rows[:, _CURVES].mean(0).reshape(len(ERRORS), 2, STEPS)
    return dict(zip(ERRORS, curves, strict=True))


def areas(curves: Float[np.ndarray, "2 steps"]) -> tuple[float, float]:
    """(AUSE, AURG) from `sparsification`'s curves of one error, in its unit; to be divided by the error of all pixels,
    `curves[0, 0]`, where runs of different error are compared (as Ilg et al.)."""
    by_spread, oracle, random = (_area(c) for c in (*curves, np.full(STEPS, curves[0, 0])))
    return by_spread - oracle, random - by_spread


def _area(curve: Float[np.ndarray, " steps"]) -> float:
    return float(curve.sum() - curve[0] / 2) / STEPS


def _histogram(below: np.ndarray, count: int) -> np.ndarray:
    """How many values lie in each bin, from how many lie at or below its end; one more bin has what is above."""
    return np.diff(below, prepend=0, append=count)


def _sparsified(
    error: Float[np.ndarray, " n"], ties: np.ndarray | None = None
) -> Float[np.ndarray, " steps"]:
    """The mean of the first 100, 98 … 2 % of the errors; inside the groups that end at `ties` (None: each is one) they
    are in random order."""
    sums = np.concatenate([[0.0], np.cumsum(error)])
    ends = np.arange(len(sums)) if ties is None else np.concatenate([[0], ties, [len(error)]])
    kept = len(error) * (1 - np.arange(STEPS) / STEPS)
    return np.interp(kept, ends, sums[ends]) / kept
