"""The frames an evaluation shows: which ones, and how they look side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

from tdepth_jax.metrics import depth as metrics
from tdepth_jax.metrics.protocols import Protocol

ERROR_TOP = 0.5  # relative error at the end of the error map's colours
_WIDTH = 480  # pixels; a panel is never wider


@dataclasses.dataclass(frozen=True)
class Look:
    """One frame as it was scored. Depths are metres at the ground truth's size, 0 = none.

    Attributes:
      row: the frame's row of the result ("sequence", "index", "condition", scores by "frames_key").
      image: raw counts or colours as the network got them.
      predicted: the prediction, aligned.
      truth: ground truth; unscored pixels are 0.
      maps: by name, what the method explains its prediction by: 0 or more, in no unit.
    """

    row: Mapping[str, Any]
    image: np.ndarray
    predicted: Float[np.ndarray, "h w"]
    truth: Float[np.ndarray, "h w"]
    maps: Mapping[str, Float[np.ndarray, "u v"]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Picture:
    caption: str
    panels: Mapping[str, UInt8[np.ndarray, "h w 3"]]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Frames under headings, and the colour bars that explain them: (title, low end, high end, picture)."""

    groups: Mapping[str, Sequence[Picture]]
    legend: Sequence[tuple[str, str, str, UInt8[np.ndarray, "h w 3"]]]


def pick(rows: Sequence[Mapping[str, Any]], key: str, *, each: int = 4) -> dict[str, list[Mapping[str, Any]]]:
    """The worst, the most typical (around the median error) and the best frames by Abs Rel.

    `key` is a protocol's "frames_key": where a frame's row has its scores. Frames without any are left out.
    Frames of one sequence closer than 10 apart look alike, so of such neighbours only one is taken.
    """
    order = worst_first(rows, key)
    middle = order[len(order) // 2][key]["abs_rel"]
    typical = sorted(order, key=lambda row: abs(row[key]["abs_rel"] - middle))
    taken: list[Mapping[str, Any]] = []
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for title, candidates in (("Worst", order), ("Typical", typical), ("Best", order[::-1])):
        groups[title] = []
        for row in candidates:
            if len(groups[title]) == each:
                break
            near = (t for t in taken if t["sequence"] == row["sequence"])
            if all(abs(t["index"] - row["index"]) >= 10 for t in near):
                groups[title].append(row)
                taken.append(row)
    return groups


def worst_first(rows: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    """The frames that have scores under `key`, by falling Abs Rel."""
    return sorted((r for r in rows if r[key]["abs_rel"] is not None), key=lambda row: -row[key]["abs_rel"])


def gallery(groups: Mapping[str, Sequence[Look]], protocol: Protocol, key: str) -> Gallery:
    """Pictures with one range of depth colours for all, so that colours compare across frames."""
    known = [look.truth[look.truth > 0] for looks in groups.values() for look in looks]
    known = [k for k in known if k.size]
    near, far = np.percentile(np.concatenate(known), [1, 99]) if known else (1.0, protocol.max_depth)
    far = max(far, near * 1.01)
    shown = {title: [_picture(look, near, far, key) for look in looks] for title, looks in groups.items()}
    ramp = np.geomspace(near, far, 256, dtype=np.float32)[None]
    errors = np.linspace(0, ERROR_TOP, 256, dtype=np.float32)[None]
    legend = [
        ("depth", f"{near:.1f} m", f"{far:.0f} m", _bar(depth_colours(ramp, near, far))),
        ("relative error", "0", f"≥ {ERROR_TOP:g}", _bar(_error_colours(errors))),
    ]
    return Gallery(shown, legend)


def _picture(look: Look, near: float, far: float, key: str) -> Picture:
    row, scores = look.row, look.row[key]
    known = look.truth > 0
    error = np.abs(look.predicted - look.truth) / np.maximum(look.truth, 1e-6)
    condition = f", {row['condition']}" if row["condition"] else ""
    caption = (
        f"{row['sequence']}, frame {row['index']}{condition}: Abs Rel {scores['abs_rel']:.3f}, "
        f"RMSE {scores['rmse']:.2f} m"
    )
    image = look.image.squeeze()
    panels = {
        **({"thermal": stretch(image)} if image.ndim == 2 else {"RGB": image}),
        "predicted depth": depth_colours(look.predicted, near, far),
        "ground truth": _dark(depth_colours(look.truth, near, far), known),
        "relative error": _dark(_error_colours(error), known),
        **{name: overlaid(image, one) for name, one in look.maps.items()},
    }
    return Picture(caption, {name: _fit(image) for name, image in panels.items()})


def stretch(
    counts: UInt16[np.ndarray, "h w"], limits: tuple[float, float] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Counts as grey between `limits`, or their 1st and 99th percentile, warm bright. For the eye only."""
    low, high = np.percentile(counts, [1, 99]) if limits is None else limits
    level = np.clip((counts - low) / max(high - low, 1e-9), 0, 1)
    return np.repeat(np.round(level * 255).astype(np.uint8)[..., None], 3, axis=2)


def overlaid(image: np.ndarray, level: Float[np.ndarray, "u v"]) -> UInt8[np.ndarray, "h w 3"]:
    """A map, its largest value brightest, over the image in grey: where the map is 0 the image is seen."""
    grey = stretch(image) if image.ndim == 2 else np.repeat(image.mean(-1, keepdims=True), 3, -1)
    h, w = grey.shape[:2]
    level = level / max(float(level.max()), 1e-12)
    level = cv2.resize(level.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)[..., None]
    bright = _colours(level[..., 0], cv2.COLORMAP_INFERNO)
    return np.round(grey * (1 - level) * 0.6 + bright * level).astype(np.uint8)


def depth_colours(
    depth: Float[np.ndarray, "h w"], near: float, far: float, *, colour_map: int = cv2.COLORMAP_MAGMA
) -> UInt8[np.ndarray, "h w 3"]:
    """Near bright, far dark; equal ratios of depth are equal steps of colour. `colour_map` is one of OpenCV's."""
    level = np.log(far / np.clip(depth, near, far)) / np.log(far / near)
    return _colours(level, colour_map)


def _error_colours(error: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return _colours(np.clip(error / ERROR_TOP, 0, 1), cv2.COLORMAP_VIRIDIS)


def _colours(level: Float[np.ndarray, "h w"], colour_map: int) -> UInt8[np.ndarray, "h w 3"]:
    return cv2.applyColorMap(np.round(level * 255).astype(np.uint8), colour_map)[..., ::-1]


def _dark(image: UInt8[np.ndarray, "h w 3"], known: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    return np.where(known[..., None], image, np.uint8(48))


def _bar(image: UInt8[np.ndarray, "1 w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.repeat(image, 12, axis=0)


def _fit(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    h, w = image.shape[:2]
    if w <= _WIDTH:
        return image
    return cv2.resize(image, (_WIDTH, round(h * _WIDTH / w)), interpolation=cv2.INTER_AREA)


def look(
    row: Mapping[str, Any],
    image: np.ndarray,
    predicted: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "H W"],
    protocol: Protocol,
    valid: np.ndarray | None = None,
    maps: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Look:
    """A frame as `protocol` scored it."""
    use = metrics.scored(truth, valid, protocol)
    known = np.where(use, truth, 0).astype(np.float32)
    return Look(row, image, metrics.align_map(predicted, truth, protocol, valid), known, maps)
