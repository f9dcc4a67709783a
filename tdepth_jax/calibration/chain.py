"""A rig as a Kalibr camera chain: cam0 is the thermal camera, cam1 the RGB one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tdepth_jax.calibration.levels import Rig


def text(rig: Rig, notes: Sequence[str] = ()) -> str:
    """The chain as YAML, without distortion, since pictures that are calibrated here have none left.

    `prepare own` reads it as --intrinsics, --rgb-intrinsics and --rgb-from-thermal; so does Kalibr.
    """
    lines = [f"# {note}" for note in notes]
    lines += _camera(0, "thermal", rig.thermal_K, rig.thermal_size)
    lines += ["  cam_overlaps: [1]"]
    lines += _camera(1, "rgb", rig.rgb_K, rig.rgb_size)
    lines += ["  cam_overlaps: [0]", "  T_cn_cnm1:"]
    lines += [f"  - {_list(row)}" for row in rig.rgb_from_thermal]
    return "\n".join(lines) + "\n"


def _camera(number: int, topic: str, K: np.ndarray, size: tuple[int, int]) -> list[str]:
    return [
        f"cam{number}:",
        "  camera_model: pinhole",
        f"  intrinsics: {_list([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])}",
        "  distortion_model: radtan",
        "  distortion_coeffs: [0.0, 0.0, 0.0, 0.0]",
        f"  resolution: [{size[1]}, {size[0]}]",
        f"  rostopic: /{topic}",
    ]


def _list(numbers: Sequence[float] | np.ndarray) -> str:
    return "[" + ", ".join(repr(float(n)) for n in numbers) + "]"
