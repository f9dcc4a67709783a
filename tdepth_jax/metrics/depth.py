"""Depth metrics under named protocols: accumulate sums per image and distance band, then finish.

The sums of one image (`Sums` columns, one row per distance band) are all that any table needs: rows of
several hosts are concatenated, rows of several bands are added, and `finish` turns them into metrics under
either averaging. Nothing is averaged before the end, so padding, batching and sharding change no digit.

Definitions, with prediction p and ground truth g in metres over the scored pixels (Eigen et al., 2014):
abs_rel = mean |p-g|/g; sq_rel = mean (p-g)²/g; rmse = sqrt mean (p-g)²; rmse_log = sqrt mean (ln p - ln g)²;
mae = mean |p-g|; silog = 100 sqrt(mean d² - (mean d)²) with d = ln p - ln g (KITTI's form);
d1, d2, d3 = share of pixels with max(p/g, g/p) < 1.25, 1.25², 1.25³.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float

from tdepth_jax.errors import UserError

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "mae", "silog", "d1", "d2", "d3")
HIGHER_IS_BETTER = frozenset({"d1", "d2", "d3"})
SUMS = ("pixels", "abs_rel", "sq_rel", "se", "sle", "ae", "log", "d1", "d2", "d3")

ALIGNMENTS = ("none", "median", "lstsq")
AVERAGINGS = ("per_image", "pooled")
DOMAINS = ("inverse_depth", "depth")
CLAMPS = ("after_alignment", "before_alignment")
RESIZES = ("inverse_bilinear", "bilinear", "nearest")
BAND_EDGES = (10.0, 20.0, 40.0)

_TINY = 1e-6  # metres; added to a depth before its inverse is taken


def _choice(value: str, allowed: Sequence[str], what: str) -> None:
    if value in allowed:
        return
    near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"there is no {what} {value!r}: choose among {', '.join(allowed)}{hint}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a prediction is compared with ground truth; two numbers compare only under the same one.

    Defaults follow the field's evaluation of thermal depth outdoors (Shin et al., RA-L 2022): prediction
    resized to the ground truth's size by bilinear interpolation of inverse depth, pixels with
    min_depth < g < max_depth, alignment first and clamping to the same range second, no crop.

    Attributes:
      alignment: "none" (metric), "median" (per image, p·median(g)/median(p)) or "lstsq" (per image, scale
        and shift by least squares in `lstsq_domain`).
      averaging: "per_image" (mean over images of an image's metric) or "pooled" (over all pixels alike).
      min_depth, max_depth: range of scored ground truth and of the clamp, metres.
      clamp: whether predictions are clamped after or before alignment.
      resize: how predictions reach the ground truth's size.
      lstsq_domain: where scale and shift are fitted; "inverse_depth" is the affine-invariant models' habit.
    """

    alignment: str = "median"
    averaging: str = "per_image"
    min_depth: float = 1e-3
    max_depth: float = 80.0
    clamp: str = "after_alignment"
    resize: str = "inverse_bilinear"
    lstsq_domain: str = "inverse_depth"

    def __post_init__(self):
        _choice(self.alignment, ALIGNMENTS, "alignment protocol")
        _choice(self.averaging, AVERAGINGS, "averaging")
        _choice(self.clamp, CLAMPS, "clamp order")
        _choice(self.resize, RESIZES, "resize rule")
        _choice(self.lstsq_domain, DOMAINS, "least-squares domain")
        if not 0 < self.min_depth < self.max_depth:
            raise UserError(
                f"a protocol needs 0 < min_depth < max_depth; got min_depth={self.min_depth:g}, "
                f"max_depth={self.max_depth:g}"
            )

    @property
    def name(self) -> str:
        return f"{self.alignment}/{self.averaging}"

    @property
    def sums_key(self) -> Protocol:
        """The same for protocols that share their sums (they differ in averaging alone)."""
        return dataclasses.replace(self, averaging="per_image")

    def describe(self) -> str:
        """One sentence for a table's caption."""
        aligned = {
            "none": "no alignment: predictions are read as metres",
            "median": "per-image median scaling to the ground truth",
            "lstsq": "per-image least-squares scale and shift to the ground truth in "
            + self.lstsq_domain.replace("_", " "),
        }[self.alignment]
        mean = {
            "per_image": "mean over images of each image's metric",
            "pooled": "all scored pixels of all images weigh alike",
        }[self.averaging]
        order = "then clamped" if self.clamp == "after_alignment" else "after clamping"
        size = {
            "inverse_bilinear": "bilinear on inverse depth",
            "bilinear": "bilinear on depth",
            "nearest": "nearest neighbour",
        }[self.resize]
        return (
            f"{aligned}, {order} to {self.min_depth:g}-{self.max_depth:g} m; {mean}; predictions resized to "
            f"the ground truth ({size}); no crop"
        )


def protocols(
    alignments: Iterable[str] = ALIGNMENTS, averagings: Iterable[str] = ("per_image",), **fields
) -> tuple[Protocol, ...]:
    """Every alignment under every averaging, duplicates dropped, order kept."""
    pairs = dict.fromkeys((a, m) for a in alignments for m in averagings)
    return tuple(Protocol(alignment=a, averaging=m, **fields) for a, m in pairs)


@dataclasses.dataclass(frozen=True)
class Band:
    """A half-open range of ground-truth distance [near, far), metres."""

    near: float
    far: float

    @property
    def name(self) -> str:
        return f"{self.near:g}-{self.far:g} m" if self.near >= 0.1 else f"0-{self.far:g} m"


def bands(protocol: Protocol, edges: Sequence[float] = BAND_EDGES) -> tuple[Band, ...]:
    """The protocol's range cut at `edges`; edges outside the range are dropped. Always a partition."""
    inner = sorted({e for e in edges if protocol.min_depth < e < protocol.max_depth})
    cuts = [protocol.min_depth, *inner, protocol.max_depth]
    return tuple(Band(a, b) for a, b in itertools.pairwise(cuts))


def resize_depth(
    depth: Float[np.ndarray, "h w"], size: tuple[int, int], rule: str = "inverse_bilinear"
) -> Float[np.ndarray, "H W"]:
    """A depth map at another size, pixel centres at integers (x' = (x+.5)·s-.5), borders repeated."""
    depth = np.ascontiguousarray(depth, np.float32)
    if depth.shape == tuple(size):
        return depth
    h, w = size
    if rule == "nearest":
        return cv2.resize(depth, (w, h), interpolation=cv2.INTER_NEAREST_EXACT)
    if rule == "bilinear":
        return cv2.resize(depth, (w, h), interpolation=cv2.INTER_LINEAR)
    inverse = 1.0 / (np.maximum(depth, 0.0) + _TINY)
    return 1.0 / cv2.resize(inverse, (w, h), interpolation=cv2.INTER_LINEAR) - _TINY


def scored(
    truth: Float[np.ndarray, "*s"], valid: Bool[np.ndarray, "*s"] | None, protocol: Protocol
) -> Bool[np.ndarray, "*s"]:
    """Which pixels count: known ground truth strictly inside the protocol's range, and `valid`."""
    inside = (truth > protocol.min_depth) & (truth < protocol.max_depth)
    return inside if valid is None else inside & valid.astype(bool)


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
        middle = np.median(p)
        return (float(np.median(g) / middle), 0.0) if middle > 0 else (1.0, 0.0)
    if protocol.lstsq_domain == "inverse_depth":
        p, g = 1.0 / np.maximum(p, _TINY), 1.0 / g
    dp, dg = p - p.mean(), g - g.mean()
    spread = float((dp * dp).sum())  # not `@`: on a busy machine BLAS' threads wait for each other
    if spread <= 1e-12 * p.size * float(p.mean()) ** 2:  # a constant prediction: the shift says it all
        return 0.0, float(g.mean())
    scale = float((dp * dg).sum()) / spread
    return scale, float(g.mean() - scale * p.mean())


def image_sums(
    predicted: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "H W"],
    protocol: Protocol,
    *,
    valid: Bool[np.ndarray, "H W"] | None = None,
    edges: Sequence[float] = BAND_EDGES,
) -> Float[np.ndarray, "bands sums"]:
    """The sums (columns `SUMS`) of one image in every band of distance."""
    use = scored(truth, valid, protocol)
    cuts = bands(protocol, edges)
    if not use.any():
        return np.zeros((len(cuts), len(SUMS)))
    g = truth[use].astype(np.float64)
    p = align(resize_depth(predicted, truth.shape, protocol.resize)[use], g, protocol)
    terms = _pixel_terms(p, g)
    if len(cuts) == 1:
        return np.array([[g.size if t is None else t.sum() for t in terms]])
    which = np.searchsorted([b.near for b in cuts[1:]], g, side="right")
    return np.stack([np.bincount(which, weights=t, minlength=len(cuts)) for t in terms], axis=1)


def _pixel_terms(p: np.ndarray, g: np.ndarray) -> tuple[np.ndarray | None, ...]:
    """Each pixel's part of each column of `SUMS`; None counts ones."""
    difference = p - g
    absolute = np.abs(difference)
    square = difference * difference
    log = np.log(p / g)
    ratio = np.maximum(p / g, g / p)
    inside = [(ratio < 1.25**k).astype(np.float64) for k in (1, 2, 3)]
    return (None, absolute / g, square / g, square, log * log, absolute, log, *inside)


def batch_sums(
    predicted: Float[np.ndarray, "b h w 1"],
    truth: Float[np.ndarray, "b H W 1"],
    protocol: Protocol,
    *,
    mask: Bool[np.ndarray, " b"] | None = None,
    valid: Bool[np.ndarray, "b H W 1"] | None = None,
    edges: Sequence[float] = BAND_EDGES,
) -> Float[np.ndarray, "b bands sums"]:
    """`image_sums` of a batch; rows where `mask` is False (padding) are zero."""
    rows = np.zeros((len(predicted), len(bands(protocol, edges)), len(SUMS)))
    for i in range(len(predicted)):
        if mask is None or mask[i]:
            ok = None if valid is None else valid[i, ..., 0]
            rows[i] = image_sums(predicted[i, ..., 0], truth[i, ..., 0], protocol, valid=ok, edges=edges)
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
        ],
        axis=-1,
    )


def finish(sums: Float[np.ndarray, "n sums"], averaging: str) -> dict[str, float]:
    """The metrics of a set of images from the rows of their sums; NaN when no pixel was scored."""
    _choice(averaging, AVERAGINGS, "averaging")
    sums = sums[sums[:, 0] > 0]
    values = from_sums(sums).mean(0) if averaging == "per_image" and len(sums) else from_sums(sums.sum(0))
    return dict(zip(METRICS, map(float, values), strict=True))


def intervals(
    sums: Float[np.ndarray, "n sums"],
    averaging: str,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals over images (Efron and Tibshirani, 1993, §13.3).

    Images are redrawn with replacement. Neighbouring frames of a video are alike, so the intervals say how
    far the result depends on the choice of frames, not how it would change on a new sequence.
    """
    _choice(averaging, AVERAGINGS, "averaging")
    sums = sums[sums[:, 0] > 0]
    n = len(sums)
    if n < 2:
        return {}
    rng = np.random.default_rng(seed)
    rows = from_sums(sums) if averaging == "per_image" else sums
    drawn = np.empty((samples, len(METRICS)))
    step = max(1, 4_000_000 // n)  # bounds the memory of the table of draws
    for start in range(0, samples, step):
        size = min(step, samples - start)
        times = rng.multinomial(n, np.full(n, 1.0 / n), size=size).astype(np.float64)
        totals = times @ rows
        drawn[start : start + size] = totals / n if averaging == "per_image" else from_sums(totals)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return {m: (float(a), float(b)) for m, a, b in zip(METRICS, low, high, strict=True)}
