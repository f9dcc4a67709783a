"""Resize, crop and flip of images together with their intrinsics, exactly; and the augmentation drawn.

Pixel centres lie at integers, so scaling an axis by s moves x to (x + 0.5) s - 0.5, cropping at x0 moves it
to x - x0, and mirroring an image of width W to W - 1 - x. Pure numpy and OpenCV; no randomness of their own.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped, UInt8

Size = tuple[int, int]  # height, width


@dataclasses.dataclass(frozen=True)
class Augment:
    """What may be drawn for a training snippet, once for all its frames.

    Attributes:
      flip: mirror left-right with probability 1/2 (all cameras together).
      scale_crop: enlarge by a factor of U(1, scale_crop) on each axis and crop back at random; 1 = off.
    """

    flip: bool = True
    scale_crop: float = 1.15

    def __post_init__(self) -> None:
        if not 1.0 <= self.scale_crop <= 4.0:
            raise ValueError(f"scale_crop is {self.scale_crop}; it must lie in [1, 4]")


@dataclasses.dataclass(frozen=True)
class View:
    """A window of an image, resized to `size` and perhaps mirrored: all that happens to a camera's arrays.

    Attributes:
      top, left, height, width: the window, in whole pixels of the stored image.
      size: (height, width) of the result.
      flip: mirrored left-right after resizing.
    """

    top: int
    left: int
    height: int
    width: int
    size: Size
    flip: bool = False

    def intrinsics(self, K: Float[np.ndarray, "3 3"]) -> Float32[np.ndarray, "3 3"]:
        """K of the result from K of the stored image."""
        K = crop_intrinsics(K, self.left, self.top)
        K = resize_intrinsics(K, self.size[1] / self.width, self.size[0] / self.height)
        if self.flip:
            K = flip_intrinsics(K, self.size[1])
        return K.astype(np.float32)

    def _cut(self, array: np.ndarray) -> np.ndarray:
        return array[self.top : self.top + self.height, self.left : self.left + self.width]

    def _mirrored(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[:, ::-1]) if self.flip else np.ascontiguousarray(array)

    def image(self, image: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "h2 w2 *c"]:
        """An image of counts or colours."""
        return self._mirrored(resize_image(self._cut(image), self.size))

    def nearest(self, array: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "h2 w2"]:
        """Depth or labels: values are taken, never mixed."""
        return self._mirrored(resize_nearest(self._cut(array), self.size))

    def valid(self, mask: Shaped[np.ndarray, "h w"]) -> Bool[np.ndarray, "h2 w2"]:
        """A mask of usable pixels: usable only where every pixel mixed into the result is."""
        return self._mirrored(resize_valid(self._cut(mask), self.size))


def full_view(stored: Size, size: Size) -> View:
    """The whole image, resized."""
    return View(0, 0, stored[0], stored[1], size)


def draw_view(
    draw: Float[np.ndarray, " four"], stored: Size, size: Size, scale_crop: float, flip: bool
) -> View:
    """A window of 1/U(1, scale_crop) of each axis at a random whole-pixel place, from 4 draws of U(0, 1).

    Scaling up and cropping back is the same as resizing a smaller window; one resampling instead of two.
    """
    height, width = (
        max(1, round(n / (1 + (scale_crop - 1) * u))) for n, u in zip(stored, draw, strict=False)
    )
    top, left = int(draw[2] * (stored[0] - height + 1)), int(draw[3] * (stored[1] - width + 1))
    return View(top, left, height, width, size, flip)


def resize_intrinsics(K: Float[np.ndarray, "3 3"], sx: float, sy: float) -> Float[np.ndarray, "3 3"]:
    """Intrinsics after the axes are scaled by sx, sy."""
    scale = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
    return scale @ np.asarray(K, np.float64)


def crop_intrinsics(K: Float[np.ndarray, "3 3"], left: float, top: float) -> Float[np.ndarray, "3 3"]:
    """Intrinsics after `left` columns and `top` rows are cut away."""
    return np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ np.asarray(K, np.float64)


def flip_intrinsics(K: Float[np.ndarray, "3 3"], width: int) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of the mirrored image: cx' = width - 1 - cx, skew changes its sign.

    Pixels of the mirror see the mirrored world (x to -x): see `flip_transform`.
    """
    K = np.array(K, np.float64)
    K[0, 1:] = -K[0, 1], width - 1 - K[0, 2]
    return K


def flip_transform(a_from_b: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
    """A rigid motion as the mirrored world sees it: F T F with F = diag(-1, 1, 1, 1); still a rotation."""
    sign = np.array([-1.0, 1, 1, 1], np.float32)
    return a_from_b * sign[:, None] * sign


def flip_points(points: Float[np.ndarray, "n k"], columns: list[str]) -> Float[np.ndarray, "n k"]:
    """Radar points of the mirrored world: the columns that point along x change their sign."""
    lateral = np.array([name == "x" or name.startswith("vx") for name in columns], bool)
    return np.where(lateral, -points, points)


def resize_image(image: Shaped[np.ndarray, "h w *c"], size: Size) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """Area-weighted where both axes shrink, else bilinear; in float32, rounded, so 16-bit levels stay.

    Of uint8, uint16 or float32 images.
    """
    if image.shape[:2] == size:
        return image
    # OpenCV mixes 8 bits in integers, up to a level off, and 16 bits in float32.
    wide = image.astype(np.uint16) if image.dtype == np.uint8 else image
    resized = cv2.resize(wide, size[::-1], interpolation=_interpolation(image, size))
    return resized.astype(image.dtype, copy=False)


def resize_nearest(array: Shaped[np.ndarray, "h w"], size: Size) -> Shaped[np.ndarray, "h2 w2"]:
    """The value of the pixel whose area holds the new pixel's centre."""
    rows = ((np.arange(size[0]) + 0.5) * (array.shape[0] / size[0])).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * (array.shape[1] / size[1])).astype(np.intp)
    return array[rows].take(columns, axis=1)


def resize_valid(
    mask: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"], size: Size
) -> Bool[np.ndarray, "h2 w2"]:
    """True where every pixel that `resize_image` mixes is true."""
    if mask.shape == size:
        return mask != 0
    bad = cv2.resize((mask == 0).astype(np.float32), size[::-1], interpolation=_interpolation(mask, size))
    return bad < 1e-4


def _interpolation(image: np.ndarray, size: Size) -> int:
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
