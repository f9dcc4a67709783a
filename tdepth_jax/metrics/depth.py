"""Depth metrics under named protocols: accumulate sums per image and distance band, then finish.

The sums of one image (`SUMS` columns, one row per distance band) are all that any table needs: rows of
several hosts are concatenated, rows of several bands are added, and `finish` turns them into metrics under
any averaging. Nothing is averaged before the end, so padding, batching and sharding change no digit.

Definitions, with prediction p and ground truth g in metres over the scored pixels (Eigen et al., 2014):
abs_rel = mean |p-g|/g; sq_rel = mean (p-g)²/g; rmse = sqrt mean (p-g)²; rmse_log = sqrt mean (ln p - ln g)²;
mae = mean |p-g|; silog = 100 sqrt(mean d² - (mean d)²) with d = ln p - ln g (KITTI's form);
d1, d2, d3 = share of pixels with max(p/g, g/p) < 1.25, 1.25², 1.25³; imae = mean |1/p-1/g| and
irmse = sqrt mean (1/p-1/g)², in 1/km as depth completion gives them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float

from tdepth_jax.metrics.protocols import AVERAGINGS, RANGE_WIDTH, Protocol, choice

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "mae", "silog", "d1", "d2", "d3", "imae", "irmse")
HIGHER_IS_BETTER = frozenset({"d1", "d2", "d3"})
SUMS = ("pixels", "abs_rel", "sq_rel", "se", "sle", "ae", "log", "d1", "d2", "d3", "iae", "ise")

BAND_EDGES = (10.0, 20.0, 40.0)
REGIONS = ("cold", "hot")
REGION_SHARE = 10.0  # percent of an image's scored pixels that are its cold, and its hot region

_PER_KM = 1000.0  # 1/m in 1/km
_TINY = 1e-6  # metres; added to a depth before its inverse is taken


@dataclasses.dataclass(frozen=True)
class Band:
    """A half-open range of ground-truth distance [near, far), metres."""

    near: float
    far: float

    @property
    def name(self) -> str:
        return f"{self.near:g}-{self.far:g} m" if self.near >= 0.1 else f"0-{self.far:g} m"


def bands(protocol: Protocol, edges: Sequence[float] = BAND_EDGES) -> tuple[Band, ...]:
    """The protocol's range cut at `edges`; edges outside the range are dropped. Always a partition.

    A protocol that averages over ranges is cut into those, whatever the edges.
    """
    if protocol.averaging == "per_range":
        edges = np.arange(RANGE_WIDTH, protocol.max_depth, RANGE_WIDTH).tolist()
    inner = sorted({e for e in edges if protocol.min_depth < e < protocol.max_depth})
    cuts = [protocol.min_depth, *inner, protocol.max_depth]
    return tuple(Band(a, b) for a, b in itertools.pairwise(cuts))


def resize_depth(
    depth: Float[np.ndarray, "h w"], size: tuple[int, int], rule: str = "inverse_bilinear"
) -> Float[np.ndarray, "H W"]:
    """A depth map at another size under one of the protocols' `RESIZES`, borders repeated.

    Pixel centres are at integers (x' = (x+.5)·s-.5) but for the rules that say otherwise.
    """
    depth = np.ascontiguousarray(depth, np.float32)
    h, w = size
    if rule == "inverse_bilinear_eps":  # as published: not the identity, even at the same size
        return 1.0 / (cv2.resize(1.0 / (depth + _TINY), (w, h), interpolation=cv2.INTER_LINEAR) + _TINY)
    if depth.shape == tuple(size):
        return depth
    if rule == "nearest_floor":
        rows, columns = (np.arange(n) * m // n for n, m in zip(size, depth.shape, strict=True))
        return depth[rows[:, None], columns]
    if rule == "bilinear_corners":
        return _corners(_corners(depth, h).T, w).T
    if rule == "nearest":
        return cv2.resize(depth, (w, h), interpolation=cv2.INTER_NEAREST_EXACT)
    if rule == "bilinear":
        return cv2.resize(depth, (w, h), interpolation=cv2.INTER_LINEAR)
    inverse = 1.0 / (np.maximum(depth, 0.0) + _TINY)
    return 1.0 / cv2.resize(inverse, (w, h), interpolation=cv2.INTER_LINEAR) - _TINY


def _corners(rows: Float[np.ndarray, "h w"], count: int) -> Float[np.ndarray, "n w"]:
    """`count` rows between the first and the last, linearly."""
    at = np.linspace(0, len(rows) - 1, count, dtype=np.float64)
    low = np.minimum(at.astype(int), max(len(rows) - 2, 0))
    part = (at - low)[:, None].astype(np.float32)
    return rows[low] * (1 - part) + rows[np.minimum(low + 1, len(rows) - 1)] * part


def scored(
    truth: Float[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"] | None, protocol: Protocol
) -> Bool[np.ndarray, "h w"]:
    """Which pixels count: known ground truth strictly inside the protocol's range and crop, and `valid`."""
    inside = (truth > protocol.min_depth) & (truth < protocol.max_depth)
    if protocol.crop == "sparse_border":
        inside = inside & _away_from_sparse_border(truth)
    return inside if valid is None else inside & valid.astype(bool)


def _away_from_sparse_border(truth: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """MonoTher-Depth's crop of ViViD: 40 pixels at every side, and rows and columns of which more than 40 % are
    empty (< 0.01 m) inwards from there, up to about 100 pixels from the side."""
    keep = np.ones(truth.shape, bool)
    empty = np.abs(truth) < 0.01
    for axis in (0, 1):
        share, size = empty.mean(1 - axis), truth.shape[axis]
        low, high = 40, size - 40
        while low < size - 1 and low <= 100 and share[low] > 0.4:
            low += 1
        while high > 0 and size - high <= 100 and share[high] > 0.4:
            high -= 1
        outside = np.ones(size, bool)
        outside[max(low, 0) : max(high, 0)] = False
        keep[(outside, slice(None)) if axis == 0 else (slice(None), outside)] = False
    return keep


def align(
    predicted: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"], protocol: Protocol
) -> Float[np.ndarray, " n"]:
    """One image's scored predictions, aligned and clamped as the protocol says.

    Predictions that are not finite take no part in the alignment and come out as `min_depth`, about 100 %
    wrong whatever the truth is: a failure is never flattered, nor does it spoil its neighbours.
    """
    return _apply(predicted, *_fit(predicted, truth, protocol), protocol)


def align_map(
    predicted: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "H W"],
    protocol: Protocol,
    valid: Bool[np.ndarray, "H W"] | None = None,
) -> Float[np.ndarray, "H W"]:
    """The whole prediction at the truth's size, aligned on the scored pixels: what a picture should show."""
    use = scored(truth, valid, protocol)
    full = resize_depth(predicted, (truth.shape[0], truth.shape[1]), protocol.resize)
    return _apply(full, *_fit(full[use], truth[use], protocol), protocol).astype(np.float32)


def _apply(p: np.ndarray, scale: float, shift: float, protocol: Protocol) -> np.ndarray:
    low, high = protocol.min_depth, protocol.max_depth
    ok = np.isfinite(p)
    p = np.where(ok, p, low).astype(np.float64)
    if protocol.clamp == "before_alignment":
        p = np.clip(p, low, high)
    if protocol.alignment == "lstsq" and protocol.lstsq_domain == "inverse_depth":
        p = 1.0 / np.maximum(scale / np.maximum(p, _TINY) + shift, 1.0 / high)
    else:
        p = scale * p + shift
    if protocol.clamp == "after_alignment":
        p = np.clip(p, low, high)
    # Metrics take logarithms: even when clamped first, a depth is positive.
    return np.where(ok, np.maximum(p, _TINY), low)


def _fit(p: np.ndarray, g: np.ndarray, protocol: Protocol) -> tuple[float, float]:
    """Scale and shift of the protocol for one image; (1, 0) where there is nothing to align."""
    ok = np.isfinite(p)
    if protocol.alignment == "none" or not ok.any():
        return 1.0, 0.0
    p, g = p[ok].astype(np.float64), g[ok].astype(np.float64)
    if protocol.clamp == "before_alignment":
        p = np.clip(p, protocol.min_depth, protocol.max_depth)
    if protocol.alignment == "median":
        middle = _median(p, protocol.middle)
        return (_median(g, protocol.middle) / middle, 0.0) if middle > 0 else (1.0, 0.0)
    if protocol.lstsq_domain == "inverse_depth":
        p, g = 1.0 / np.maximum(p, _TINY), 1.0 / g
    dp, dg = p - p.mean(), g - g.mean()
    spread = float((dp * dp).sum())  # not `@`: on a busy machine BLAS' threads wait for each other
    if spread <= 1e-12 * p.size * float(p.mean()) ** 2:  # a constant prediction: the shift says it all
        return 0.0, float(g.mean())
    scale = float((dp * dg).sum()) / spread
    return scale, float(g.mean() - scale * p.mean())


def _median(values: Float[np.ndarray, " n"], middle: str) -> float:
    if middle == "mean":
        return float(np.median(values))
    return float(np.partition(values, (len(values) - 1) // 2)[(len(values) - 1) // 2])


def image_sums(
    predicted: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "H W"],
    protocol: Protocol,
    *,
    valid: Bool[np.ndarray, "H W"] | None = None,
    thermal: Float[np.ndarray, "H W"] | None = None,
    edges: Sequence[float] = BAND_EDGES,
) -> Float[np.ndarray, "rows sums"]:
    """The sums (columns `SUMS`) of one image in every band of distance, then, with `thermal`, in every region.

    Args:
      valid: usable pixels of the sensor; None: all.
      thermal: the thermal image in any unit that grows with temperature. Of the scored pixels, those strictly
        below the 10th percentile of their values are the "cold" region and those strictly above the 90th the
        "hot" one: a tenth each, fewer where values tie. Pixels without ground truth (the sky) take no part.
    """
    use = scored(truth, valid, protocol)
    cuts = bands(protocol, edges)
    extra = 0 if thermal is None else len(REGIONS)
    if not use.any():
        return np.zeros((len(cuts) + extra, len(SUMS)))
    g = truth[use].astype(np.float64)
    p = align(resize_depth(predicted, truth.shape, protocol.resize)[use], g, protocol)
    terms = _pixel_terms(p, g)
    if len(cuts) == 1:
        rows = np.array([[g.size if t is None else t.sum() for t in terms]])
    else:
        which = np.searchsorted([b.near for b in cuts[1:]], g, side="right")
        rows = np.stack([np.bincount(which, weights=t, minlength=len(cuts)) for t in terms], axis=1)
    if thermal is None:
        return rows
    parts = [[r.sum() if t is None else t[r].sum() for t in terms] for r in regions(thermal[use])]
    return np.concatenate([rows, np.array(parts)])


def regions(heat: Float[np.ndarray, " n"]) -> tuple[Bool[np.ndarray, " n"], ...]:
    """Which of an image's scored pixels lie in each of `REGIONS`, from their thermal values."""
    low, high = np.percentile(heat, [REGION_SHARE, 100 - REGION_SHARE])
    return heat < low, heat > high


def _pixel_terms(p: np.ndarray, g: np.ndarray) -> tuple[np.ndarray | None, ...]:
    """Each pixel's part of each column of `SUMS`; None counts ones."""
    difference = p - g
    absolute = np.abs(difference)
    square = difference * difference
    log = np.log(p / g)
    ratio = np.maximum(p / g, g / p)
    inside = [(ratio < 1.25**k).astype(np.float64) for k in (1, 2, 3)]
    inverse = _PER_KM * np.abs(1 / p - 1 / g)
    return (
        None,
        absolute / g,
        square / g,
        square,
        log * log,
        absolute,
        log,
        *inside,
        inverse,
        inverse * inverse,
    )


def batch_sums(
    predicted: Float[np.ndarray, "b h w 1"],
    truth: Float[np.ndarray, "b H W 1"],
    protocol: Protocol,
    *,
    mask: Bool[np.ndarray, " b"] | None = None,
    valid: Bool[np.ndarray, "b H W 1"] | None = None,
    thermal: Float[np.ndarray, "b H W 1"] | None = None,
    edges: Sequence[float] = BAND_EDGES,
) -> Float[np.ndarray, "b rows sums"]:
    """`image_sums` of a batch; rows where `mask` is False (padding) are zero."""
    count = len(bands(protocol, edges)) + (0 if thermal is None else len(REGIONS))
    rows = np.zeros((len(predicted), count, len(SUMS)))
    for i in range(len(predicted)):
        if mask is None or mask[i]:
            ok, heat = (None if x is None else x[i, ..., 0] for x in (valid, thermal))
            rows[i] = image_sums(
                predicted[i, ..., 0], truth[i, ..., 0], protocol, valid=ok, thermal=heat, edges=edges
            )
    return rows


def from_sums(sums: Float[np.ndarray, "*n sums"]) -> Float[np.ndarray, "*n metrics"]:
    """Metrics (columns `METRICS`) of each row of sums; NaN where a row has no pixel."""
    sums = np.asarray(sums, np.float64)
    count = sums[..., :1]
    mean = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)
    of = dict(zip(SUMS, np.moveaxis(mean, -1, 0), strict=True))
    variance = np.maximum(of["sle"] - of["log"] ** 2, 0.0)
    return np.stack(
        [
            of["abs_rel"],
            of["sq_rel"],
            np.sqrt(of["se"]),
            np.sqrt(of["sle"]),
            of["ae"],
            100 * np.sqrt(variance),
            of["d1"],
            of["d2"],
            of["d3"],
            of["iae"],
            np.sqrt(of["ise"]),
        ],
        axis=-1,
    )


def of_images(sums: Float[np.ndarray, "n *ranges sums"], averaging: str) -> Float[np.ndarray, "n metrics"]:
    """Each image's own metrics; under "per_range" the mean over those ranges that hold pixels."""
    if averaging != "per_range":
        return from_sums(sums)
    each = from_sums(sums)
    known = sums[..., :1] > 0
    total, count = np.where(known, each, 0.0).sum(1), known.sum(1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def finish(
    sums: Float[np.ndarray, "n *ranges sums"], averaging: str, sequences: np.ndarray | None = None
) -> dict[str, float]:
    """The metrics of a set of images from their sums; NaN when no pixel was scored.

    Args:
      sums: a row per image; under "per_range" a row per image and range.
      averaging: one of `protocols.AVERAGINGS`.
      sequences: which sequence each image is of; only "per_sequence" asks. None: one sequence.
    """
    choice(averaging, AVERAGINGS, "averaging")
    known = sums[..., 0].reshape(len(sums), -1).sum(1) > 0
    sums = sums[known]
    if averaging == "pooled" or not len(sums):
        values = from_sums(sums.reshape(-1, len(SUMS)).sum(0))
    elif averaging == "per_sequence" and sequences is not None:
        each, of = of_images(sums, averaging), sequences[known]
        values = np.mean([each[of == name].mean(0) for name in np.unique(of)], axis=0)
    else:
        values = of_images(sums, averaging).mean(0)
    return dict(zip(METRICS, map(float, values), strict=True))
