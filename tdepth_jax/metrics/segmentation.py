"""Label metrics: one confusion matrix per image, added up over what a table asks for, then finished.

With the matrix's rows the true classes and its columns the predicted ones: Acc = TP / row (recall), precision =
TP / column, IoU = TP / (row + column - TP). Matrices are integers, so batching and sharding change no digit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

IGNORE = 255
EDGE_THRESHOLDS = (*(i / 10 for i in range(10)), 0.99)  # CEKD, section IV-C


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelProtocol:
    """How per-class figures become one; two figures compare only under the same.

    Attributes:
      absent: what a class counts in a mean whose figure does not exist: "zero", or nothing ("left_out"). Acc does not
        exist for a class that no pixel is labelled with, IoU for one that is neither labelled nor predicted.
      left_out: names of classes that no mean counts; their pixels count in the unions of the others.
      combined: conditions whose figures, class by class, are averaged into one more group, "combined". A class that one
        of them has no figure for has none there.
    """

    name: str
    absent: str
    describe: str
    left_out: tuple[str, ...] = ()
    combined: tuple[str, ...] = ()


# rtfnet: the test programs of RTFNet (util/util.py, compute_results) and CEKD, whose tables average nan_to_num. It
# matters for splits by day and night, where MFNet's guardrail may be missing. MFNet's own program drops the background
# from IoU and divides Acc by columns; its figures do not compare, and it is not offered.
PROTOCOLS: Mapping[str, LabelProtocol] = {
    p.name: p
    for p in (
        LabelProtocol(
            name="rtfnet",
            absent="zero",
            describe="means over all classes, the background among them; a class that is absent counts 0",
        ),
        LabelProtocol(
            name="present",
            absent="left_out",
            describe="means over the classes that occur, the background among them; absent ones are left out",
        ),
        # HeatNet's evaluate.py, in evaluation mode: its own validates with batch statistics and dropout.
        LabelProtocol(
            name="heatnet",
            absent="left_out",
            describe="means over the classes that occur without the background, whose pixels count in the others' "
            "unions; combined: the mean of day and night, class by class",
            left_out=("background", "unlabeled"),
            combined=("day", "night"),
        ),
    )
}


def confusion(
    predicted: Int[np.ndarray, "*s"], truth: Int[np.ndarray, "*s"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Pixels by true (row) and predicted (column) class. Pixels labelled 255 are left out.

    Raises:
      ValueError: shapes that differ, or a class outside [0, classes).
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted labels are {predicted.shape}, true ones {truth.shape}")
    known = truth != IGNORE
    rows, columns = truth[known].astype(np.int64), predicted[known].astype(np.int64)
    for what, found in (("true", rows), ("predicted", columns)):
        if found.size and (found.min() < 0 or found.max() >= classes):
            raise ValueError(f"a {what} label is {found.max()}, and there are {classes} classes")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def finish(
    matrix: Int[np.ndarray, "n n"], protocol: LabelProtocol, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Figures of a summed confusion matrix, whose classes have these names.

    Returns:
      "acc", "precision", "iou": lists by class, None where there is none; "macc", "miou": their means under the
      protocol (None if no class occurs); "absent": classes without a labelled pixel.
    """
    hit = np.diag(matrix).astype(np.float64)
    labelled, claimed = matrix.sum(1), matrix.sum(0)
    acc, precision, iou = (
        np.where(n > 0, hit / np.maximum(n, 1), np.nan) for n in (labelled, claimed, labelled + claimed - hit)
    )
    return {
        "acc": _listed(acc),
        "precision": _listed(precision),
        "iou": _listed(iou),
        "macc": _mean(acc, protocol, names),
        "miou": _mean(iou, protocol, names),
        "absent": np.nonzero(labelled == 0)[0].tolist(),
    }


def combine(
    found: Sequence[Mapping[str, Any]], protocol: LabelProtocol, names: Sequence[str]
) -> dict[str, Any]:
    """Figures of several conditions (`finish`) as one: their mean, class by class, and the means of those."""
    means = {
        key: np.mean([[np.nan if v is None else v for v in one[key]] for one in found], axis=0)
        for key in ("acc", "precision", "iou")
    }
    return {
        **{key: _listed(values) for key, values in means.items()},
        "macc": _mean(means["acc"], protocol, names),
        "miou": _mean(means["iou"], protocol, names),
        "absent": sorted({i for one in found for i in one["absent"]}),
    }


def _mean(values: Float[np.ndarray, " n"], protocol: LabelProtocol, names: Sequence[str]) -> float | None:
    kept = [name not in protocol.left_out for name in names] or [True] * len(values)
    values = values[kept]
    if np.isnan(values).all():
        return None
    return float(np.nan_to_num(values).mean() if protocol.absent == "zero" else np.nanmean(values))


def _listed(values: Float[np.ndarray, " n"]) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def edge_counts(
    edges: Float[np.ndarray, "h w"], truth: Float[np.ndarray, "h w"], known: Float[np.ndarray, "h w"]
) -> Int[np.ndarray, "thresholds 2"]:
    """(intersection, union) pixels of true edges and of the map above each of `EDGE_THRESHOLDS`.

    The map is first stretched to [0, 1], as published; a flat one has no edge.
    """
    low, high = float(edges.min()), float(edges.max())
    unit = (edges - low) / (high - low) if high > low else np.zeros_like(edges)
    yes, use = truth > 0.5, known > 0.5
    counts = []
    for threshold in EDGE_THRESHOLDS:
        found = unit > threshold
        counts.append(((found & yes & use).sum(), ((found | yes) & use).sum()))
    return np.array(counts, np.int64)


def edge_iou(counts: Int[np.ndarray, "thresholds 2"]) -> float | None:
    """Mean over the thresholds of the IoU of edge pixels, their counts added up over images; None without any."""
    if not counts[:, 1].any():
        return None
    return float((counts[:, 0] / np.maximum(counts[:, 1], 1)).mean())
