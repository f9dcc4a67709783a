"""Evaluation protocols: named rules by which a predicted depth map is compared with ground truth.

Two numbers compare only under the same protocol, so a protocol is one value that holds every choice, and every
table prints its name. The published ones are read from the authors' evaluation programs, not from the papers
alone; what neither says is listed at `PUBLISHED` with the choice taken here.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tdepth_jax.errors import UserError

ALIGNMENTS = ("none", "median", "lstsq")
AVERAGINGS = ("per_image", "pooled", "per_sequence", "per_range")
DOMAINS = ("inverse_depth", "depth")
CLAMPS = ("after_alignment", "before_alignment", "none")
MIDDLES = ("mean", "lower")
CROPS = ("none", "sparse_border")
RESIZES = (
    "inverse_bilinear",
    "inverse_bilinear_eps",
    "bilinear",
    "bilinear_corners",
    "nearest",
    "nearest_floor",
)
RANGE_WIDTH = 5.0  # metres, of the ranges that "per_range" averages over
INDOOR_DEPTH = 10.0  # metres: the far end of what the published protocols score indoors


def choice(value: str, allowed: Sequence[str], what: str) -> None:
    """Raises UserError, with the nearest name, when `value` is not one of `allowed`."""
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
      averaging: "per_image" (mean over images of an image's metric), "pooled" (over all pixels alike),
        "per_sequence" (mean over sequences of their mean over images) or "per_range" (mean over images of the
        mean over those 5 m ranges of ground truth that hold pixels: far pixels are few and count as much).
      min_depth, max_depth: range of scored ground truth and of the clamp, metres.
      clamp: whether predictions are clamped after or before alignment, or not at all.
      resize: how predictions reach the ground truth's size. "inverse_bilinear", "bilinear" and "nearest" put
        pixel centres at integers; "inverse_bilinear_eps" adds 1e-6 both ways and "nearest_floor" takes
        floor(i·h/H), as published; "bilinear_corners" maps corner pixels on corner pixels.
      lstsq_domain: where scale and shift are fitted; "inverse_depth" is the affine-invariant models' habit.
      middle: the median of an even number of pixels, "mean" of the two middle ones (NumPy) or the "lower" (PyTorch).
      crop: "sparse_border" leaves out rows and columns at the border that hold little ground truth.
      published: the name of the publication whose evaluation this is; changes no figure.
    """

    alignment: str = "median"
    averaging: str = "per_image"
    min_depth: float = 1e-3
    max_depth: float = 80.0
    clamp: str = "after_alignment"
    resize: str = "inverse_bilinear"
    lstsq_domain: str = "inverse_depth"
    middle: str = "mean"
    crop: str = "none"
    published: str = ""

    def __post_init__(self):
        choice(self.alignment, ALIGNMENTS, "alignment protocol")
        choice(self.averaging, AVERAGINGS, "averaging")
        choice(self.clamp, CLAMPS, "clamp order")
        choice(self.resize, RESIZES, "resize rule")
        choice(self.lstsq_domain, DOMAINS, "least-squares domain")
        choice(self.middle, MIDDLES, "median")
        choice(self.crop, CROPS, "crop")
        if not 0 < self.min_depth < self.max_depth:
            raise UserError(
                f"a protocol needs 0 < min_depth < max_depth; got min_depth={self.min_depth:g}, "
                f"max_depth={self.max_depth:g}"
            )

    @property
    def name(self) -> str:
        """ "median/per_image", or the publication's."""
        return self.published or f"{self.alignment}/{self.averaging}"

    @property
    def short_name(self) -> str:
        """For a log: "median", "median_pooled", or the publication's."""
        own = self.alignment if self.averaging == "per_image" else f"{self.alignment}_{self.averaging}"
        return self.published or own

    @property
    def sums_key(self) -> Protocol:
        """The same for protocols that share their sums (they differ in name and averaging alone)."""
        kept = self.averaging if self.averaging == "per_range" else "per_image"
        return dataclasses.replace(self, averaging=kept, published="")

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
            "per_sequence": "mean over sequences of their mean over images",
            "per_range": f"mean over images of the mean over {RANGE_WIDTH:g} m ranges of ground truth",
        }[self.averaging]
        order = "then clamped" if self.clamp == "after_alignment" else "after clamping"
        limits = f"{order} to {self.min_depth:g}-{self.max_depth:g} m"
        if self.clamp == "none":
            limits = f"not clamped, scored from {self.min_depth:g} to {self.max_depth:g} m"
        size = {
            "inverse_bilinear": "bilinear on inverse depth",
            "inverse_bilinear_eps": "bilinear on inverse depth, 1/(d + 1e-6) both ways",
            "bilinear": "bilinear on depth",
            "bilinear_corners": "bilinear on depth, corners aligned",
            "nearest": "nearest neighbour",
            "nearest_floor": "nearest neighbour, rounded down",
        }[self.resize]
        crop = (
            "no crop" if self.crop == "none" else "border rows and columns with little ground truth left out"
        )
        return f"{aligned}, {limits}; {mean}; predictions resized to the ground truth ({size}); {crop}"


# Read in UkcheolShin/ThermalMonoDepth (eval_vivid/eval_depth.py), UkcheolShin/SupDepth4Thermal
# (models/metrics/eval_metric.py) and ZuoJiaxing/monother_depth (zoedepth/utils/misc.py, data loaders).
#
# shin2022: Shin et al., RA-L 2022. Scored indoors to 10 m, else to 80 m. The program prints one mean per sequence;
#   how the two night sequences became one row of the table is not published. Here all their images weigh alike;
#   the sequences stand below, so that any other mean can be formed.
# fan2024: Fan et al., ICRA 2024. No program is public. Its Table I prints shin2022's rows with shin2022's figures, so
#   its protocol is taken to be the same, merged the same way. For its zero-shot tables (ViViD++, MS2) the scaling is
#   not stated; median scaling is taken, the lineage's default.
# sup4thermal: Shin et al., CVPR 2023 and its extension. Median-scaled although the models are supervised, to 80 m
#   whatever the data set, predictions resized by nearest neighbour, PyTorch's lower median. The extension's figures
#   are of every 10th test frame and of filtered depth (the conference paper's: unfiltered).
# sup4thermal_affine: the same for affine-invariant models (MiDaS, DPT): scale and shift by least squares in depth.
# monother: MonoTher-Depth, RA-L 2025. Metric; clamped first, which without scaling is no matter.
# monother_balanced: its "weighted" metrics, the mean over 5 m ranges.
# xdrc50, xdrc70, xdrc80: depth from radar and camera as the programs of CaFNet and LiRCDepth score it, whose authors'
#   XD-RCDepth is (its own program is not public): metric, per-image means, true depth below 50, 70 or 80 m, predictions
#   clamped to the range.
# radarcam50, radarcam70, radarcam80: the same as RadarCam-Depth and Singh et al. (CVPR 2023) score it: nothing is
#   clamped. Both papers print MAE and RMSE in mm, here they are in m; iMAE and iRMSE in 1/km.
# monother_vivid: as monother, without the borders its RGB-thermal loader blanks in the ground truth.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "shin2022": {"resize": "inverse_bilinear_eps"},
    "fan2024": {"resize": "inverse_bilinear_eps"},
    "sup4thermal": {"resize": "nearest_floor", "middle": "lower"},
    "sup4thermal_affine": {"alignment": "lstsq", "lstsq_domain": "depth", "resize": "nearest_floor"},
    "monother": {"alignment": "none", "clamp": "before_alignment", "resize": "bilinear_corners"},
    "monother_balanced": {
        "alignment": "none",
        "clamp": "before_alignment",
        "resize": "bilinear_corners",
        "averaging": "per_range",
    },
    "monother_vivid": {
        "alignment": "none",
        "clamp": "before_alignment",
        "resize": "bilinear_corners",
        "crop": "sparse_border",
    },
    **{
        f"{name}{far}": {"alignment": "none", "clamp": clamp, "resize": "bilinear", "max_depth": float(far)}
        for name, clamp in (("xdrc", "after_alignment"), ("radarcam", "none"))
        for far in (50, 70, 80)
    },
}
_TWO_RANGES = ("shin2022", "fan2024")  # those that score less far indoors


def published(name: str, *, indoor: bool = False) -> Protocol:
    """A published protocol with its own range; of those that know one, the indoor range where asked for.

    Raises:
      UserError: no such name.
    """
    choice(name, tuple(PUBLISHED), "published protocol")
    high = INDOOR_DEPTH if indoor and name in _TWO_RANGES else 80.0
    return Protocol(**{"published": name, "max_depth": high, **PUBLISHED[name]})


def is_indoor(metadata: Mapping[str, Any]) -> bool:
    """Whether a data set's metadata say `indoor`, or that its depth ends within the indoor range."""
    far = metadata.get("max_depth")
    return bool(metadata.get("indoor", far is not None and 0 < float(far) <= INDOOR_DEPTH))


def protocols(
    names: Iterable[str] = ALIGNMENTS,
    averagings: Iterable[str] = ("per_image",),
    *,
    indoor: bool = False,
    **fields: Any,
) -> tuple[Protocol, ...]:
    """The protocols of `names`, duplicates dropped, order kept.

    Args:
      names: alignments, each scored under every averaging, and published protocols, which bring their own.
      averagings: see `Protocol`.
      indoor: whether published protocols score their indoor range.
      **fields: further fields of `Protocol`, for the alignments alone.

    Raises:
      UserError: a name, averaging or field value that does not exist.
    """
    known = (*ALIGNMENTS, *PUBLISHED)
    found: list[Protocol] = []
    for name in names:
        choice(name, known, "protocol")
        if name in PUBLISHED:
            found.append(published(name, indoor=indoor))
        else:
            found += [Protocol(alignment=name, averaging=m, **fields) for m in averagings]
    return tuple(dict.fromkeys(found))
