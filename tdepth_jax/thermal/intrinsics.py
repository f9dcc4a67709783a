"""Intrinsics as users have them: fx,fy,cx,cy, a Kalibr file, or a field of view."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tdepth_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Given:
    """Intrinsics for images of `size` (height, width), where they come from, and what to know of them."""

    K: Float32[np.ndarray, "3 3"]
    origin: str
    notes: tuple[str, ...] = ()


def matrix(fx: float, fy: float, cx: float, cy: float) -> Float32[np.ndarray, "3 3"]:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def from_fov(degrees: float, size: tuple[int, int]) -> Given:
    """Square pixels, the principal point in the middle, the given horizontal field of view.

    Raises:
      UserError: an angle that no plane image has.
    """
    height, width = size
    if not 1 < degrees < 170:
        raise UserError(f"--fov-x {degrees:g} is no horizontal field of view; give degrees, e.g. 45")
    focal = width / 2 / math.tan(math.radians(degrees) / 2)
    K = matrix(focal, focal, (width - 1) / 2, (height - 1) / 2)
    return Given(K, f"assumed from a horizontal field of view of {degrees:g} degrees")


def parse(text: str, size: tuple[int, int]) -> Given:
    """`fx,fy,cx,cy` in pixels (centres at integers), or a Kalibr camera chain `.yaml` (its first camera).

    Raises:
      UserError: neither, or a calibration of another image size.
    """
    if text.lower().endswith((".yaml", ".yml")):
        return _kalibr(Path(text), size)
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise UserError(f"--intrinsics {text!r} is not fx,fy,cx,cy in pixels, nor a Kalibr .yaml")
    return Given(matrix(*numbers), "given as fx,fy,cx,cy")


def _kalibr(path: Path, size: tuple[int, int]) -> Given:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a Kalibr file ({error})") from error
    cameras = re.split(r"^cam\d+:", text, flags=re.MULTILINE)
    camera = cameras[1] if len(cameras) > 1 else text
    fx_fy_cx_cy = _list(camera, "intrinsics")
    if len(fx_fy_cx_cy) != 4:
        raise UserError(f"{path} has no `intrinsics: [fx, fy, cx, cy]` of a pinhole camera")
    resolution = _list(camera, "resolution")
    if resolution and resolution != [size[1], size[0]]:
        raise UserError(
            f"{path} is the calibration of {resolution[0]:g}x{resolution[1]:g} images, these are {size[1]}x{size[0]}; "
            "scale it (K rows and the principal point), or use the images it was made with"
        )
    notes = []
    if any(abs(k) > 1e-9 for k in _list(camera, "distortion_coeffs")):
        notes.append(
            f"{path} has lens distortion, which is not taken out here: undistort the images first if they are not"
        )
    if len(cameras) > 2:
        notes.append(f"{path} has {len(cameras) - 1} cameras; the first, cam0, is used")
    return Given(matrix(*fx_fy_cx_cy), f"from {path.name}", tuple(notes))


def _list(text: str, key: str) -> list[float]:
    """The numbers of a YAML list in either style, [] when there is none."""
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    inline = re.search(rf"^\s*{key}:\s*\[([^\]]*)\]", text, flags=re.MULTILINE)
    block = re.search(rf"^\s*{key}:\s*\n((?:\s*-\s*{number}\s*\n?)+)", text, flags=re.MULTILINE)
    found = inline or block
    if not found:
        return []
    items = found[1].split(",") if inline else re.findall(rf"-\s+({number})", found[1])
    try:
        return [float(item) for item in items]
    except ValueError:
        return []
