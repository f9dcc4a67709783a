"""What heat and light have in common: where gradients are and along which line, not their sign and not their size.

A gradient g becomes the tensor g gᵀ / (|g|² + ε²), with ε the strength of gradients round about: 0 where nothing
stands out, of trace 1 on an edge, and the same for g and -g, since what is bright in light may be cold or warm. The
inner product of two such tensors is the squared inner product of normalised gradients (Haber and Modersitzki 2006,
"Intensity gradient based registration and fusion of multi-modal images").
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

SIGMA = 0.7  # pixels; of the Gaussian before the gradient, and of the one that widens the field's edges
AROUND = 12.0  # pixels; how far "round about" reaches
FLOOR = 0.1  # of the image's mean gradient, added to ε: noise in an even patch is no edge
DENSITY = 8.0  # pixels; a field is counted from its mean over so many
BORDER = 3  # pixels; edges nearer to the image's border are not used
UNKNOWN = 3  # pixels; nor those nearer to where depth is not known
JUMP = 0.15  # second difference of inverse depth, as a share of it, that a plane does not have


@dataclasses.dataclass(frozen=True)
class EdgePoints:
    """Pixels of one RGB image at which there is an edge. Points that are none have weight 0.

    Attributes:
      pixels: (x, y), centres at integers; found to parts of a pixel across the edge.
      inverse_depth: 1 / metres; 0 at infinity.
      tensor: xx, xy, yy.
      weight: trace of the tensor: 0 to 1.
    """

    pixels: Float32[np.ndarray, "n 2"]
    inverse_depth: Float32[np.ndarray, " n"]
    tensor: Float32[np.ndarray, "n 3"]
    weight: Float32[np.ndarray, " n"]


def tensors(image: Float[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Of every pixel: xx, xy, yy of its normalised gradient's tensor; all 0 for an image of one value."""
    smooth = cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), SIGMA)
    gx, gy = (cv2.Sobel(smooth, cv2.CV_32F, *along, ksize=3) / 8 for along in ((1, 0), (0, 1)))
    strength = np.hypot(gx, gy)
    around = cv2.GaussianBlur(strength, (0, 0), AROUND) + FLOOR * strength.mean()
    rounding = 1e-5 * float(np.abs(smooth).max(initial=0)) + 1e-12
    size = strength**2 + (around + rounding) ** 2
    return np.where(strength > rounding, np.stack([gx * gx, gx * gy, gy * gy]) / size, 0).transpose(1, 2, 0)


def field(
    image: Float[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"] | None = None
) -> Float32[np.ndarray, "h w 3"]:
    """The tensors of a thermal image to be sampled at points: widened, and counted from their mean round about.

    Without the second, points would gain by moving to wherever there are more edges of any kind. Pixels that are not
    `valid` (bonnet, dead pixels) and their neighbours are 0, which speaks neither for nor against.
    """
    found = tensors(image)
    usable = np.ones(found.shape[:2], np.float32)
    if valid is not None and not valid.all():
        usable = cv2.erode(np.asarray(valid, np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    found = cv2.GaussianBlur(found * usable[..., None], (0, 0), SIGMA)
    mean = cv2.GaussianBlur(found, (0, 0), DENSITY)
    share = cv2.GaussianBlur(usable, (0, 0), DENSITY)
    return (found - mean / np.maximum(share, 0.1)[..., None]) * usable[..., None]


def points(
    grey: Float[np.ndarray, "h w"],
    inverse_depth: Float[np.ndarray, "h w"],
    front: Float[np.ndarray, "h w"],
    known: Bool[np.ndarray, "h w"],
    *,
    count: int,
    reach: float,
) -> EdgePoints:
    """The `count` strongest edges, a pixel wide, of an RGB image: those with depth that the other camera can see.

    - An edge where depth jumps is the nearer surface's outline, so it takes the nearer depth.
    - An edge against pixels without depth is left out: most are outlines before the sky, which a bright sky eats into.
    - Background so close to an outline that the other camera may see it covered is left out: nearer things move
      against it by `reach` (focal length times baseline, pixels metres) times the difference of inverse depths.

    Args:
      inverse_depth: mean over each pixel, 1 / metres.
      front: the largest of each pixel.
    """
    found = tensors(grey)
    inverse_depth = np.asarray(inverse_depth, np.float32)
    near = cv2.dilate(np.asarray(front, np.float32), np.ones((3, 3), np.uint8))
    jumps = np.abs(cv2.Laplacian(inverse_depth, cv2.CV_32F)) > JUMP * near
    depth = np.where(jumps, near, inverse_depth)
    usable = _away_from(~known, UNKNOWN) & _inner(known.shape) & ~_coverable(depth, near, reach)
    # Ridges only: an outline's flanks belong to one thing on one side and to another on the other.
    usable &= _ridge(found)
    weight = np.where(usable, found[..., 0] + found[..., 2], 0)
    # The strongest first; of equals the first in reading order, so that the choice is the same everywhere.
    order = np.argsort(-weight, axis=None, kind="stable")[:count]
    if len(order) < count:
        order = np.pad(order, (0, count - len(order)), mode="edge")
    y, x = np.unravel_index(order, weight.shape)
    some = np.where(np.arange(count) < weight.size, weight[y, x], 0)
    pixels = np.stack([x, y], -1) + _offset(found)[y, x]
    return EdgePoints(
        pixels.astype(np.float32), depth[y, x].astype(np.float32), found[y, x], some.astype(np.float32)
    )


def distance(
    image: Float[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"] | None = None
) -> Float32[np.ndarray, "h w"]:
    """Pixels from every pixel to the nearest edge of a thermal image: the published measure is its mean at RGB edges.

    Edges are ridges among the strongest 15 % of the pixels.
    """
    found = tensors(image)
    strength = found[..., 0] + found[..., 2]
    if valid is not None:
        strength = strength * _away_from(~np.asarray(valid, bool), 2)
    strong = _ridge(found) & (strength > max(float(np.quantile(strength, 0.85)), 1e-6))
    if not strong.any():
        return np.full(strength.shape, np.inf, np.float32)
    return cv2.distanceTransform((~strong).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _ridge(found: Float32[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Where the trace is no less than that of both neighbours across the edge, left and right or above and below."""
    strength = np.ascontiguousarray(found[..., 0] + found[..., 2])
    beside, above = (strength >= cv2.dilate(strength, np.ones(n, np.uint8)) for n in ((1, 3), (3, 1)))
    return np.where(found[..., 0] >= found[..., 2], beside, above)


def _offset(found: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 2"]:
    """How far (x, y) the top of a ridge is from its pixel: that of the parabola through it and its two neighbours.

    Whole pixels would be a trap where two images share their pixels: between pixels a sampled field is blurred by the
    sampling, so that no change at all would look best.
    """
    strength = found[..., 0] + found[..., 2]
    padded = np.pad(strength, 1, mode="edge")
    offsets = []
    for before, after in (
        (padded[1:-1, :-2], padded[1:-1, 2:]),
        (padded[:-2, 1:-1], padded[2:, 1:-1]),
    ):
        bend = before - 2 * strength + after
        offsets.append(np.where(bend < -1e-6, (before - after) / (2 * np.minimum(bend, -1e-6)), 0))
    across_x = found[..., 0] >= found[..., 2]
    x, y = (np.clip(one, -0.5, 0.5) for one in offsets)
    return np.stack([np.where(across_x, x, 0), np.where(across_x, 0, y)], -1)


def _inner(shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    inside = np.zeros(shape, bool)
    inside[BORDER : shape[0] - BORDER, BORDER : shape[1] - BORDER] = True
    return inside


def _away_from(what: Bool[np.ndarray, "h w"], pixels: int) -> Bool[np.ndarray, "h w"]:
    side = 2 * pixels + 1
    return cv2.dilate(what.astype(np.uint8), np.ones((side, side), np.uint8)) == 0


def _coverable(depth: np.ndarray, near: np.ndarray, reach: float) -> Bool[np.ndarray, "h w"]:
    """Where something within r pixels is nearer by so much that it moves r pixels against this one."""
    covered = np.zeros(depth.shape, bool)
    most = int(np.ceil(reach * float(near.max(initial=0)))) if reach > 0 else 0
    for r in range(2, min(most, 12) + 1):
        window = np.ones((2 * r + 1, 2 * r + 1), np.uint8)
        covered |= reach * (cv2.dilate(depth, window) - depth) >= r
    return covered
