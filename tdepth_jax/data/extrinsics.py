"""Where the RGB camera stands beside the thermal one: its K and rgb_from_thermal as users have them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from tdepth_jax.data import transforms
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, intrinsics, rgb_faults
from tdepth_jax.thermal.faults import Fault

IDENTITY = "identity"
OPTION = "--rgb-from-thermal"


@dataclasses.dataclass(frozen=True)
class Given:
    """The RGB camera of a rig, for images of `size` (height, width).

    Attributes:
      rgb_from_thermal: pose of the thermal camera in the RGB one, metres.
      origin: where K comes from.
      registered: RGB and thermal images share their pixels.
    """

    K: Float[np.ndarray, "3 3"]
    rgb_from_thermal: Float64[np.ndarray, "4 4"]
    size: tuple[int, int]
    origin: str
    registered: bool
    notes: tuple[str, ...] = ()

    def faults(self) -> list[Fault]:
        """A K that no lens has; cameras too far apart for one rig."""
        far = rgb_faults.baseline_fault(self.rgb_from_thermal, OPTION)
        return faults.intrinsics_faults(self.K, self.size, "the RGB camera") + ([far] if far else [])


def given(
    *,
    rgb_intrinsics: str | None,
    rgb_fov_x: float | None,
    rgb_from_thermal: str,
    thermal_intrinsics: str | None,
    thermal_K: Float[np.ndarray, "3 3"],
    thermal_size: tuple[int, int],
    size: tuple[int, int],
) -> Given:
    """The RGB camera from what was given of it and of the thermal one.

    Raises:
      UserError: no K and none to be taken over, or what is no rigid motion.
    """
    cameras = _cameras(thermal_intrinsics, rgb_intrinsics)
    pose = motion(rgb_from_thermal, *cameras)
    shared = rgb_from_thermal == IDENTITY and rgb_intrinsics is None and rgb_fov_x is None
    if rgb_intrinsics is not None:
        file = intrinsics.chain(rgb_intrinsics)
        alone = file is not None and intrinsics.kalibr_camera(file[0]).cameras == 1
        number = 0 if alone else cameras[1]
        found = intrinsics.parse(rgb_intrinsics, size, option="--rgb-intrinsics", number=number)
    elif rgb_fov_x is not None:
        found = intrinsics.from_fov(rgb_fov_x, size, option="--rgb-fov-x")
    elif shared:
        found = intrinsics.Given(_taken_over(thermal_K, thermal_size, size), "the thermal camera's")
    else:
        raise UserError(
            f"the RGB camera's K is not given: add --rgb-intrinsics or --rgb-fov-x (only {OPTION}=identity can take "
            "the thermal camera's)"
        )
    return Given(found.K, pose, size, found.origin, shared and size == thermal_size, found.notes)


def _taken_over(K: np.ndarray, of: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """K of co-registered images, which may be of another resolution but not of another shape."""
    sx, sy = size[1] / of[1], size[0] / of[0]
    if abs(sx / sy - 1) > 0.01:
        raise UserError(
            f"{OPTION}=identity, but RGB frames are {size[1]}x{size[0]} and thermal ones {of[1]}x{of[0]}: images of "
            "different shape are not co-registered; crop them alike, or give --rgb-intrinsics"
        )
    return transforms.resize_intrinsics(K, sx, sy)


def _cameras(thermal: str | None, rgb: str | None) -> tuple[int, int]:
    """Numbers of the two in a Kalibr chain: those that are named (FILE.yaml:cam1), else cam0 and the other one."""
    files = [intrinsics.chain(text) if text else None for text in (thermal, rgb)]
    first, second = (file[1] if file else None for file in files)
    first = (1 if second == 0 else 0) if first is None else first
    return first, (1 if first == 0 else 0) if second is None else second


def motion(text: str, thermal: int = 0, rgb: int = 1) -> Float64[np.ndarray, "4 4"]:
    """rgb_from_thermal from numbers, a Kalibr chain (whose cameras have these numbers) or `identity`, metres.

    Raises:
      UserError: a file that cannot be read, or what is no rigid motion.
    """
    if text == IDENTITY:
        return np.eye(4)
    file = intrinsics.chain(text)
    if file is not None:
        return _rigid(intrinsics.kalibr_motion(file[0], to=rgb, of=thermal), text)
    numbers = _read(Path(text))
    if numbers.size not in (12, 16):
        raise UserError(
            f"{OPTION}: {text} holds {numbers.size} numbers; wanted 16 (4x4) or 12 (3x4), row after row, metres"
        )
    found = np.eye(4)
    found[: numbers.size // 4] = numbers.reshape(-1, 4)
    return _rigid(found, text)


def _read(path: Path) -> Float64[np.ndarray, " n"]:
    """The numbers of a text file, lines that begin with # left out, or of a `.npy`."""
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float64).reshape(-1)
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        return np.array(" ".join(lines).replace(",", " ").replace(";", " ").split(), np.float64)
    except FileNotFoundError:
        raise UserError(
            f"{OPTION}: there is no file {path}; give numbers (4x4 or 3x4, text or .npy), a Kalibr .yaml, or "
            f"{IDENTITY}"
        ) from None
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise UserError(f"{OPTION}: {path} cannot be read as 4x4 or 3x4 numbers ({error})") from error


def _rigid(motion: Float64[np.ndarray, "4 4"], where: str) -> Float64[np.ndarray, "4 4"]:
    turn = motion[:3, :3]
    if not np.isfinite(motion).all():
        raise UserError(f"{OPTION}: {where} holds NaN or infinity")
    if not np.allclose(motion[3], (0, 0, 0, 1)):
        looks = ": it looks transposed" if np.allclose(motion[:3, 3], 0) else ""
        raise UserError(
            f"{OPTION}: the last row of {where} is {motion[3].tolist()}, not 0 0 0 1{looks}; write x_rgb = T x_thermal"
        )
    off = float(np.abs(turn @ turn.T - np.eye(3)).max())
    if off > 1e-3 or np.linalg.det(turn) < 0:
        said = "mirrors" if off <= 1e-3 else f"is no rotation (R R^T is {off:.2g} from the identity)"
        raise UserError(
            f"{OPTION}: the 3x3 part of {where} {said}; write the rotation and the shift in metres, row after row"
        )
    return motion
