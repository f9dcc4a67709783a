"""Trajectories as pictures: seen from above, one PNG each, with or without the true path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from tdepth_jax.reports import charts

_ZOOM = 3  # pixels of the picture per pixel of the page's drawing
_INK, _GRID, _TRUE, _OURS = (28, 29, 31), (223, 224, 226), (140, 144, 150), (179, 71, 29)  # RGB


def file_name(trajectory: Mapping[str, Any]) -> str:
    """ "trajectory-<sequence>-<first frame>.png", with nothing in it that a file system minds."""
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in trajectory["name"])
    return f"trajectory-{name}-{trajectory['first']}.png"


def picture(trajectory: Mapping[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
    """The true path in grey, where there is one, and the predicted one in red: [right, ahead] to one scale, captioned.

    Args:
      trajectory: as `trajectories.evaluate` lists them; or, without truth, "name", "first", "last", "length", "unit"
        ("m", or "" for a scale of the model's own) and "path" with "predicted" alone.
    """
    path, unit = trajectory["path"], trajectory.get("unit", "m")
    every = np.concatenate([np.asarray(line, float) for line in path.values()])
    x, z, rows = charts.top_view_spans(every)
    left, top, right, bottom = 46, 34, 10, 24
    inner = charts.WIDTH - left - right
    image = np.full((_ZOOM * (rows + top + bottom), _ZOOM * charts.WIDTH, 3), 255, np.uint8)

    def at(a: float, b: float) -> tuple[int, int]:
        u, v = (a - x[0]) / (x[1] - x[0]), (b - z[0]) / (z[1] - z[0])
        return round(_ZOOM * (left + u * inner)), round(_ZOOM * (top + (1 - v) * rows))

    for value in charts.ticks(*z):
        cv2.line(image, at(x[0], value), at(x[1], value), _GRID, 1)
        _write(image, f"{charts.short(value)} {unit}", at(x[0], value), (-38, 3))
    for value in charts.ticks(*x, about=5):
        cv2.line(image, at(value, z[0]), at(value, z[1]), _GRID, 1)
        _write(image, charts.short(value), at(value, z[0]), (-6, 14))
    for name, colour in (("truth", _TRUE), ("predicted", _OURS)):
        line = np.array([at(a, b) for a, b in path.get(name, ())], np.int32).reshape(-1, 2)
        cv2.polylines(image, [line], isClosed=False, color=colour, thickness=_ZOOM, lineType=cv2.LINE_AA)
    cv2.circle(image, at(*path.get("truth", path["predicted"])[0]), 4 * _ZOOM, _INK, -1, cv2.LINE_AA)
    _write(image, caption(trajectory), (0, 0), (left, 14))
    drawn = (
        "truth grey, prediction red (Sim3-aligned), start black"
        if "truth" in path
        else "prediction, start black"
    )
    _write(image, f"from above: {drawn}", (0, 0), (left, 27))
    return image


def caption(trajectory: Mapping[str, Any]) -> str:
    frames = f"{trajectory['name']}, frames {trajectory['first']}-{trajectory['last']}"
    if "truth" not in trajectory["path"]:
        unit = trajectory["unit"] or "(a scale of its own)"
        return f"{frames}: predicted path of {trajectory['length']:.3g} {unit}"
    ate, metres = trajectory["ate_sim3"], trajectory["metres"]
    return f"{frames}: ATE {ate:.3g} m (Sim3) over {metres:.3g} m"


def encode(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    done, coded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape} and type {image.dtype}")
    return coded.tobytes()


def _write(image: np.ndarray, text: str, origin: Sequence[int], offset: tuple[int, int]) -> None:
    where = (origin[0] + _ZOOM * offset[0], origin[1] + _ZOOM * offset[1])
    cv2.putText(image, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.33 * _ZOOM, _INK, 1, cv2.LINE_AA)
