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


@dataclasses.dataclass(frozen=True)
class KalibrCamera:
    """The first camera of a Kalibr chain. `distortion` is its model's name ("radtan", "equidistant", "none")."""

    fx_fy_cx_cy: tuple[float, float, float, float]
    size: tuple[int, int] | None  # height, width
    distortion: str
    coefficients: tuple[float, ...]
    cameras: int


def kalibr_camera(path: Path) -> KalibrCamera:
    """The first camera of a Kalibr `camchain.yaml`.

    Raises:
      UserError: not readable, or no pinhole camera in it.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a Kalibr file ({error})") from error
    cameras = re.split(r"^cam\d+:", text, flags=re.MULTILINE)
    camera = cameras[1] if len(cameras) > 1 else text
    found = _list(camera, "intrinsics")
    if len(found) != 4:
        raise UserError(f"{path} has no `intrinsics: [fx, fy, cx, cy]` of a pinhole camera")
    resolution = _list(camera, "resolution")
    model = re.search(r"^\s*distortion_model:\s*(\w+)", camera, flags=re.MULTILINE)
    return KalibrCamera(
        (found[0], found[1], found[2], found[3]),
        (int(resolution[1]), int(resolution[0])) if len(resolution) == 2 else None,
        model[1] if model else "none",
        tuple(_list(camera, "distortion_coeffs")),
        max(1, len(cameras) - 1),
    )


def _kalibr(path: Path, size: tuple[int, int]) -> Given:
    camera = kalibr_camera(path)
    if camera.size is not None and camera.size != size:
        raise UserError(
            f"{path} is the calibration of {camera.size[1]}x{camera.size[0]} images, these are {size[1]}x{size[0]}; "
            "scale it (K rows and the principal point), or use the images it was made with"
        )
    notes = []
    if any(abs(k) > 1e-9 for k in camera.coefficients):
        notes.append(
            f"{path} has lens distortion, which is not taken out here: undistort the images first if they are not"
        )
    if camera.cameras > 1:
        notes.append(f"{path} has {camera.cameras} cameras; the first, cam0, is used")
    return Given(matrix(*camera.fx_fy_cx_cy), f"from {path.name}", tuple(notes))


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
