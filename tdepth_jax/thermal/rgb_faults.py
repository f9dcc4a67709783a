"""What is wrong with a colour camera beside the thermal one: its frames, where it stands, and what it looks at.

As `faults`, detectors on plain arrays, each fault with its mend; nothing changes a pixel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from tdepth_jax.thermal.faults import Fault, Frame

Colour = UInt8[np.ndarray, "h w 3"]

FAR = 5.0  # metres; cameras of one rig are nearer to each other
WIDTH = 160  # pixels; at which edges are compared
LEAST_PAIRS = 5  # fewer say nothing about all
LEAST_SEEN = 0.2  # share of the thermal image that the RGB camera must see


def colour_faults(frames: Sequence[Colour], where: str) -> list[Fault]:
    """Of frames spread over a recording: grey ones called RGB, and ones of a single value."""
    if not frames:
        return []
    blank = sum(int(frame.min() == frame.max()) for frame in frames)
    if 2 * blank > len(frames):
        said = f"{blank} of {len(frames)} frames looked at have one value throughout"
        fix = "a closed lens or a failed recording: give the RGB camera's frames"
        return [Fault("rgb_constant", where, said, fix, grave=True)]
    if all((frame == frame[..., :1]).all() for frame in frames):
        said = f"all {len(frames)} frames looked at are grey: red, green and blue are equal"
        fix = "are they the RGB camera's? An RGB teacher expects colours"
        return [Fault("rgb_grey", where, said, fix)]
    return []


def baseline_fault(rgb_from_thermal: Float[np.ndarray, "4 4"], where: str) -> Fault | None:
    """Two cameras too far apart for one rig."""
    metres = float(np.linalg.norm(rgb_from_thermal[:3, 3]))
    if metres <= FAR:
        return None
    said = f"it puts the two cameras {metres:.4g} m apart; is its shift in millimetres?"
    return Fault("rgb_baseline", where, said, "give metres", grave=True)


def scene_fault(
    thermals: Sequence[Frame],
    colours: Sequence[Colour],
    where: str,
    *,
    K_thermal: Float[np.ndarray, "3 3"],
    K_rgb: Float[np.ndarray, "3 3"],
    rgb_from_thermal: Float[np.ndarray, "4 4"],
) -> Fault | None:
    """Pairs whose edges agree no better than those of frames that are no pair.

    RGB is laid over the thermal image as if everything were far away (K_rgb R K_thermal^-1), which a rig's short
    baseline shifts by little at the coarse size that is compared.
    """
    if len(thermals) < LEAST_PAIRS:
        return None
    view = _View.of(thermals[0].shape, K_thermal)
    laid = [view.over(frame, K_rgb, rgb_from_thermal) for frame in colours]
    inside = np.all([seen for _, seen in laid], axis=0)
    if inside.mean() < LEAST_SEEN:
        said = f"by its calibration the RGB camera sees {inside.mean():.0%} of what the thermal one sees"
        fix = "do --rgb-from-thermal (not its inverse) and both K belong to these frames?"
        return Fault("rgb_scene", where, said, fix)
    one = np.stack(
        [_edges(cv2.resize(_float(f), view.size, interpolation=cv2.INTER_AREA), inside) for f in thermals]
    )
    other = np.stack([_edges(image, inside) for image, _ in laid])
    agreement = one @ other.T  # correlations of every thermal frame with every RGB frame
    own, strangers = np.diag(agreement), agreement[~np.eye(len(one), dtype=bool)]
    # Rows and columns share frames: as many independent strangers as pairs.
    if own.mean() > strangers.mean() + 2 * strangers.std() * (2 / len(own)) ** 0.5:
        return None
    said = (
        f"the edges of thermal and RGB pairs agree no better ({own.mean():.2f}) than those of frames that are no pair "
        f"({strangers.mean():.2f})"
    )
    fix = "are the pairs of one moment, and are --rgb-from-thermal (not its inverse) and both K theirs?"
    return Fault("rgb_scene", where, said, fix)


@dataclasses.dataclass(frozen=True)
class _View:
    """The thermal image at the size edges are compared at: (width, height), and its K."""

    size: tuple[int, int]
    K: Float[np.ndarray, "3 3"]

    @classmethod
    def of(cls, shape: tuple[int, int], K: Float[np.ndarray, "3 3"]) -> _View:
        scale = min(WIDTH / shape[1], 1.0)
        size = max(round(shape[1] * scale), 1), max(round(shape[0] * scale), 1)
        return cls(size, _scaled(K, size[0] / shape[1], size[1] / shape[0]))

    def over(
        self, colour: Colour, K: Float[np.ndarray, "3 3"], rgb_from_thermal: Float[np.ndarray, "4 4"]
    ) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """(an RGB frame's brightness as the thermal camera would see what is far away, where it sees it)."""
        grey = _float(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY))
        scale = min(
            self.K[0, 0] / K[0, 0], 1.0
        )  # first to the same pixels an angle: a warp alone would alias
        small = max(round(grey.shape[1] * scale), 1), max(round(grey.shape[0] * scale), 1)
        K = _scaled(K, small[0] / grey.shape[1], small[1] / grey.shape[0])
        grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
        there = K @ rgb_from_thermal[:3, :3] @ np.linalg.inv(self.K)
        x, y = np.meshgrid(np.arange(self.size[0]), np.arange(self.size[1]))
        u, v, w = np.moveaxis(np.stack([x, y, np.ones_like(x)], -1) @ there.T, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = u / w, v / w
        seen = (w > 0) & (u > 1) & (v > 1) & (u < small[0] - 2) & (v < small[1] - 2)
        u, v = (np.where(seen, a, 0).astype(np.float32) for a in (u, v))
        return cv2.remap(grey, u, v, cv2.INTER_LINEAR), cv2.erode(seen.astype(np.uint8), np.ones((5, 5))) > 0


def _scaled(K: Float[np.ndarray, "3 3"], sx: float, sy: float) -> Float[np.ndarray, "3 3"]:
    """K of the resized image; pixel centres at integers."""
    return np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]]) @ np.asarray(K, np.float64)


def _float(image: np.ndarray) -> Float32[np.ndarray, "h w"]:
    return image.astype(np.float32)


def _edges(image: Float32[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, " n"]:
    """Strength of edges against their surroundings, of mean 0 and length 1: what heat and light have in common."""
    strength = cv2.magnitude(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))
    around = cv2.GaussianBlur(strength, (0, 0), 12)
    local = cv2.GaussianBlur(strength / (around + 0.05 * strength.mean() + 1e-6), (0, 0), 1)[inside]
    local -= local.mean()
    return local / max(float(np.linalg.norm(local)), 1e-6)
