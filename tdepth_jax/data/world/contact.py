"""The contact sheet: one row a condition, one column a modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from tdepth_jax.data.world.facts import LABEL_NAMES, MAX_DEPTH

# RGB per label, in the order of LABEL_NAMES.
_COLOURS = np.array(
    [[110, 90, 120], [190, 160, 170], [140, 110, 90], [70, 140, 60], [90, 150, 200], [40, 60, 200], [220, 40, 60],
     [240, 230, 110], [150, 30, 160], [255, 140, 0], [120, 120, 120]], np.uint8)  # fmt: skip


def _stretch(image: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((image.astype(np.float32) - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)


def _depth(depth: np.ndarray) -> np.ndarray:
    nearness = np.where(depth > 0, 1 - np.log(np.maximum(depth, 1)) / np.log(MAX_DEPTH), 0)
    coloured = cv2.applyColorMap((nearness * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].copy()
    coloured[depth == 0] = (40, 40, 60)
    return coloured


def _radar(frame: dict[str, Any], back: np.ndarray) -> np.ndarray:
    """Returns over a darkened thermal picture, coloured by distance."""
    out = (back * 0.5).astype(np.uint8)
    K = frame["thermal/K"]
    for x, y, z, _, _ in frame["radar"]:
        if z > 0.5:
            u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
            tone = np.array([[[int(255 * max(0, 1 - z / 60))]]], np.uint8).reshape(1, 1)
            colour = cv2.applyColorMap(tone, cv2.COLORMAP_TURBO)[0, 0, ::-1]
            cv2.circle(out, (round(float(u)), round(float(v))), 2, tuple(int(k) for k in colour), -1)
    return out


def _row(frame: dict[str, Any]) -> np.ndarray:
    raw = frame["thermal/image"]
    own = cv2.cvtColor(_stretch(raw, *np.percentile(raw, [1, 99])), cv2.COLOR_GRAY2RGB)
    # The same range for all rows (about -10 to 40 degrees Celsius) shows how contrast comes and goes.
    same = cv2.applyColorMap(_stretch(raw, 1600, 3940), cv2.COLORMAP_INFERNO)[..., ::-1]
    cells = [own, same, frame["rgb/image"], _depth(frame["thermal/depth"]), _depth(frame["rgb/depth"])]
    labels = frame.get("thermal/labels")
    cells.append(_COLOURS[labels] if labels is not None else np.zeros_like(own))
    cells.append(_radar(frame, own))
    return np.hstack([np.pad(c, ((1, 1), (1, 1), (0, 0))) for c in cells])


def contact_sheet(frames: Sequence[dict[str, Any]]) -> UInt8[np.ndarray, "rows columns 3"]:
    """All modalities of `frames` (records' frame dicts of one size), one row each.

    Columns: thermal stretched to its own 1-99 %, thermal on one scale for all rows (counts 1600-3940), RGB,
    depth of the thermal and of the RGB camera, thermal labels (black if there are none), radar.
    """
    titles = ("thermal", "thermal, one scale", "rgb", "depth (thermal)", "depth (rgb)", "labels", "radar")
    rows = [_row(frame) for frame in frames]
    cell = rows[0].shape[1] // len(titles)
    head = np.zeros((14, rows[0].shape[1], 3), np.uint8)
    for i, title in enumerate(titles):
        cv2.putText(
            head, title, (i * cell + 3, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (230, 230, 230), 1, cv2.LINE_AA
        )
    for frame, row in zip(frames, rows, strict=True):
        text = f"{frame['sequence']} #{frame['index']}"
        cv2.putText(
            row, text, (4, row.shape[0] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.27, (255, 255, 0), 1, cv2.LINE_AA
        )
    return np.vstack([head, *rows])


assert len(_COLOURS) == len(LABEL_NAMES)
