"""Intrinsics as users have them: fx,fy,cx,cy, a Kalibr file, or a field of view."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from tdepth_jax.errors import UserError

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclasses.dataclass(frozen=True)
class Given:
    """Intrinsics for images of `size` (height, width), where they come from, and what to know of them."""

    K: Float32[np.ndarray, "3 3"]
    origin: str
    notes: tuple[str, ...] = ()


def matrix(fx: float, fy: float, cx: float, cy: float) -> Float32[np.ndarray, "3 3"]:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def from_fov(degrees: float, size: tuple[int, int], *, option: str = "--fov-x") -> Given:
    """Square pixels, the principal point in the middle, the given horizontal field of view.

    Raises:
      UserError: an angle that no plane image has.
    """
    height, width = size
    if not 1 < degrees < 170:
        raise UserError(f"{option} {degrees:g} is no horizontal field of view; give degrees, e.g. 45")
    focal = width / 2 / math.tan(math.radians(degrees) / 2)
    K = matrix(focal, focal, (width - 1) / 2, (height - 1) / 2)
    return Given(K, f"assumed from a horizontal field of view of {degrees:g} degrees")


def parse(
    text: str, size: tuple[int, int], *, option: str = "--intrinsics", number: int | None = None
) -> Given:
    """`fx,fy,cx,cy` in pixels (centres at integers), or a Kalibr camera chain `FILE.yaml` or `FILE.yaml:cam1`.

    `number` is the camera of a chain that names none (its first, said so, when None).

    Raises:
      UserError: neither, or a calibration of another image size.
    """
    file = chain(text)
    if file is not None:
        return _kalibr(*file, size, number)
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise UserError(f"{option} {text!r} is not fx,fy,cx,cy in pixels, nor a Kalibr .yaml")
    return Given(matrix(*numbers), "given as fx,fy,cx,cy")


def chain(text: str) -> tuple[Path, int | None] | None:
    """(file, number of its camera where one is named) of `FILE.yaml` or `FILE.yaml:cam1`; None for other text."""
    found = re.fullmatch(r"(.+\.ya?ml)(?::cam(\d+))?", text, flags=re.IGNORECASE)
    return (Path(found[1]), None if found[2] is None else int(found[2])) if found else None


@dataclasses.dataclass(frozen=True)
class KalibrCamera:
    """A camera of a Kalibr chain. `distortion` is its model's name ("radtan", "equidistant", "none")."""

    fx_fy_cx_cy: tuple[float, float, float, float]
    size: tuple[int, int] | None  # height, width
    distortion: str
    coefficients: tuple[float, ...]
    cameras: int


def kalibr_camera(path: Path, number: int = 0) -> KalibrCamera:
    """A camera of a Kalibr `camchain.yaml`, its first by default.

    Raises:
      UserError: not readable, or no such pinhole camera in it.
    """
    cameras = _kalibr_cameras(path)
    camera = _numbered(path, cameras, number)
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
        len(cameras),
    )


def kalibr_motion(path: Path, to: int, of: int) -> Float64[np.ndarray, "4 4"]:
    """Pose of camera `of` in camera `to` of a Kalibr chain, x_to = T x_of: products of its `T_cn_cnm1`.

    Raises:
      UserError: not readable, no such camera, or a link of the chain without its matrix.
    """
    cameras = _kalibr_cameras(path)
    from_first = [np.eye(4)]  # pose of cam0 in cam0, cam1, ...
    for number in range(1, max(to, of) + 1):
        text = re.search(
            rf"^\s*T_cn_cnm1:((?:[\s,\[\]-]|{_NUMBER})*)",
            _numbered(path, cameras, number),
            flags=re.MULTILINE,
        )
        numbers = re.findall(_NUMBER, text[1]) if text else []
        if len(numbers) != 16:
            raise UserError(
                f"{path} has no 4x4 `T_cn_cnm1` of cam{number}: calibrate both cameras in one chain"
            )
        from_first.append(np.array(numbers, np.float64).reshape(4, 4) @ from_first[-1])
    return from_first[to] @ np.linalg.inv(from_first[of])


def _kalibr_cameras(path: Path) -> dict[int, str]:
    """The text of every camera; a file without `camN:` is its only one."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a Kalibr file ({error})") from error
    _, *parts = re.split(r"^cam(\d+):", text, flags=re.MULTILINE)
    return dict(zip(map(int, parts[::2]), parts[1::2], strict=True)) or {0: text}


def _numbered(path: Path, cameras: dict[int, str], number: int) -> str:
    if number not in cameras:
        raise UserError(f"{path} has no cam{number}; it has {', '.join(f'cam{n}' for n in cameras)}")
    return cameras[number]


def _kalibr(path: Path, named: int | None, size: tuple[int, int], number: int | None) -> Given:
    chosen = named if named is not None else number
    camera = kalibr_camera(path, chosen or 0)
    if camera.size is not None and camera.size != size:
        raise UserError(
            f"{path} is the calibration of {camera.size[1]}x{camera.size[0]} images, these are {size[1]}x{size[0]}; "
            "scale it (K rows and the principal point), or use the images it was made with"
            + (
                f" (cam{chosen or 0} of {camera.cameras}; {path}:camN names another)"
                if camera.cameras > 1
                else ""
            )
        )
    notes = []
    if any(abs(k) > 1e-9 for k in camera.coefficients):
        notes.append(
            f"{path} has lens distortion, which is not taken out here: undistort the images first if they are not"
        )
    if camera.cameras > 1 and chosen is None:
        notes.append(
            f"{path} has {camera.cameras} cameras; the first, cam0, is used ({path}:cam1 names another)"
        )
    origin = f"from {path.name}" + (f", cam{chosen}" if chosen is not None else "")
    return Given(matrix(*camera.fx_fy_cx_cy), origin, tuple(notes))


def _list(text: str, key: str) -> list[float]:
    """The numbers of a YAML list in either style, [] when there is none."""
    inline = re.search(rf"^\s*{key}:\s*\[([^\]]*)\]", text, flags=re.MULTILINE)
    block = re.search(rf"^\s*{key}:\s*\n((?:\s*-\s*{_NUMBER}\s*\n?)+)", text, flags=re.MULTILINE)
    found = inline or block
    if not found:
        return []
    items = found[1].split(",") if inline else re.findall(rf"-\s+({_NUMBER})", found[1])
    try:
        return [float(item) for item in items]
    except ValueError:
        return []
