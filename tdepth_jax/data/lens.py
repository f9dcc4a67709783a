"""Lenses and how their distortion is taken out of images: OpenCV's fisheye and radial-tangential models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Shaped

from tdepth_jax.errors import UserError
from tdepth_jax.thermal import intrinsics

# Kalibr's names for the two models that OpenCV has.
MODELS = {"equidistant": "fisheye", "radtan": "radtan", "none": "none"}


@dataclasses.dataclass(frozen=True)
class Lens:
    """A calibrated camera.

    Attributes:
      fx_fy_cx_cy: pixels, centres at integers.
      size: (height, width) of its images.
      model: "fisheye" (Kannala-Brandt k1..k4), "radtan" (k1, k2, p1, p2) or "none".
      coefficients: of the model.
    """

    fx_fy_cx_cy: tuple[float, float, float, float]
    size: tuple[int, int]
    model: str = "none"
    coefficients: tuple[float, ...] = ()

    @classmethod
    def of_kalibr(cls, path: Path) -> Lens:
        """The first camera of a Kalibr chain.

        Raises:
          UserError: not readable, without resolution, or of a model that is not known here.
        """
        camera = intrinsics.kalibr_camera(path)
        if camera.distortion not in MODELS:
            raise UserError(
                f"{path} has the distortion model {camera.distortion}; known are {', '.join(MODELS)}"
            )
        if camera.size is None:
            raise UserError(f"{path} has no `resolution: [width, height]`; add it")
        return cls(camera.fx_fy_cx_cy, camera.size, MODELS[camera.distortion], camera.coefficients)

    @property
    def K(self) -> Float64[np.ndarray, "3 3"]:
        """Of the distorted image and, by choice, of the undistorted one too."""
        return intrinsics.matrix(*self.fx_fy_cx_cy).astype(np.float64)


class Undistorter:
    """Takes a lens's distortion out of images: the result is a pinhole camera's with the same K and size."""

    def __init__(self, lens: Lens) -> None:
        self.lens = lens
        size = lens.size[::-1]
        K, D = lens.K, np.array(lens.coefficients, np.float64)
        if lens.model == "none":
            self._maps = None
        elif lens.model == "fisheye":
            self._maps = cv2.fisheye.initUndistortRectifyMap(K, D, np.eye(3), K, size, cv2.CV_32FC1)
        else:
            self._maps = cv2.initUndistortRectifyMap(K, D, np.eye(3), K, size, cv2.CV_32FC1)

    def image(self, image: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "h w *c"]:
        """Bilinear between pixels (counts stay counts of one sensor); 0 where the sensor saw nothing."""
        if self._maps is None:
            return image
        return cv2.remap(image, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def valid(self) -> Bool[np.ndarray, "h w"]:
        """Where all four neighbours lie within the distorted image."""
        height, width = self.lens.size
        if self._maps is None:
            return np.ones((height, width), bool)
        x, y = self._maps
        return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
