"""Surface texture: tileable patterns in a mip atlas, read with a footprint so that they never shimmer.

A pattern is a function of metres on a surface. It is read at the size of the pixel's footprint: detail finer
than the footprint is averaged away beforehand (2x2 means), several taps follow the long axis of a slanted
footprint. The value at a surface point therefore hardly depends on where the camera stands.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, Int

SIZE = 256
LEVELS = 9
ASPHALT, SLABS, GRASS, FOLIAGE, BRICK, PANELS, STAINS, RIBS = range(8)
STYLES = 8
# Which pattern carries the middle scale of a surface whose finest scale is the index.
_MIDDLE = np.array([ASPHALT, STAINS, GRASS, FOLIAGE, STAINS, PANELS, STAINS, STAINS])
BANDS = ((3.1, 0.55), (13.7, 0.75), (61.0, 0.55))  # metres per tile, share of the amplitude
TAPS = 3


@dataclasses.dataclass(frozen=True)
class Atlas:
    """All patterns at all levels in one image, so that one `cv2.remap` reads any mixture of them."""

    image: Float[np.ndarray, "rows columns"]
    left: Float[np.ndarray, " levels"]


def _noise(rng: np.random.Generator, power: float, low: float = 1.0, high: float = 120.0) -> np.ndarray:
    """Periodic noise with spectrum f^-power between `low` and `high` cycles a tile, unit variance."""
    f = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
    gain = np.where((f >= low) & (f <= high), np.maximum(f, 1) ** -power, 0.0)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * gain, s=(SIZE, SIZE))
    return field / field.std()


def _blocks(rng: np.random.Generator, rows: int, columns: int, shift: bool) -> tuple[np.ndarray, np.ndarray]:
    """A random value per brick or panel, and 1 on the joints between them."""
    y, x = np.mgrid[:SIZE, :SIZE]
    row = y * rows // SIZE
    x = (x + np.where(shift & (row % 2 == 1), SIZE // columns // 2, 0)) % SIZE
    value = rng.standard_normal((rows, columns))[row, x * columns // SIZE]
    joint = (y % (SIZE // rows) < 2) | (x % (SIZE // columns) < 2)
    return value, joint.astype(np.float64)


def patterns(rng: np.random.Generator) -> Float[np.ndarray, "styles size size"]:
    """The eight patterns, zero mean and unit variance each."""
    ridge = np.exp(-((_noise(rng, 1.6) / 0.07) ** 2))
    brick, brick_joint = _blocks(rng, 16, 8, True)
    panel, panel_joint = _blocks(rng, 8, 4, False)
    slab, slab_joint = _blocks(rng, 4, 4, False)
    x = np.arange(SIZE)
    ribs = np.sin(2 * np.pi * 16 * x / SIZE)[None] * np.ones((SIZE, 1))
    made = [
        _noise(rng, 0.9) - 2.0 * ridge,
        slab - 1.5 * slab_joint + 0.8 * _noise(rng, 1.0),
        np.abs(_noise(rng, 0.9, 3)) * 1.5 + _noise(rng, 1.3),
        -np.abs(_noise(rng, 1.1, 4)) * 2.0 + 0.6 * _noise(rng, 0.6, 8),
        brick - 1.2 * brick_joint + 0.7 * _noise(rng, 1.1),
        panel - 1.5 * panel_joint + 0.5 * _noise(rng, 1.2),
        _noise(rng, 1.5) + 0.4 * _noise(rng, 0.7, 6),
        ribs + 0.8 * _noise(rng, 1.3),
    ]
    stack = np.stack(made)
    stack -= stack.mean((1, 2), keepdims=True)
    stack /= stack.std((1, 2), keepdims=True)
    return np.clip(stack, -2.8, 2.8).astype(np.float32)


def atlas(tiles: Float[np.ndarray, "styles size size"]) -> Atlas:
    """Packs tiles and their averages; one wrapped row and column after each serve bilinear reading."""
    left = np.cumsum([0] + [(SIZE >> level) + 1 for level in range(LEVELS)])
    image = np.zeros((len(tiles) * (SIZE + 1), left[-1]), np.float32)
    for level in range(LEVELS):
        side = SIZE >> level
        for style, tile in enumerate(tiles):
            top = style * (SIZE + 1)
            image[top : top + side + 1, left[level] : left[level] + side + 1] = np.pad(
                tile, ((0, 1), (0, 1)), mode="wrap"
            )
        if side > 1:
            tiles = tiles.reshape(len(tiles), side // 2, 2, side // 2, 2).mean((2, 4))
    return Atlas(image, left[:-1].astype(np.float32))


def _read(atlas_: Atlas, style: np.ndarray, u: np.ndarray, v: np.ndarray, level: np.ndarray) -> np.ndarray:
    scale = np.exp2(-level).astype(np.float32)
    side = SIZE * scale
    x = (u * SIZE + 0.5) * scale - 0.5
    y = (v * SIZE + 0.5) * scale - 0.5
    x -= np.floor(x / side) * side
    y -= np.floor(y / side) * side
    x = np.minimum(x, side) + atlas_.left[level]
    y = np.minimum(y, side) + style * np.float32(SIZE + 1)
    return remap(atlas_.image, x, y)


def remap(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values of `image` at a flat list of points (wrapped into rows to stay within OpenCV's limits)."""
    n, width = x.size, 512
    rows = max(1, -(-n // width))  # a frame may show no point of it at all
    xy = np.zeros((2, rows * width), np.float32)
    xy[0, :n], xy[1, :n] = x, y
    out = cv2.remap(
        image,
        xy[0].reshape(rows, width),
        xy[1].reshape(rows, width),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return out.reshape(rows * width, -1)[:n] if image.ndim == 3 else out.reshape(-1)[:n]


def sample(
    atlas_: Atlas,
    style: Int[np.ndarray, " n"],
    u: Float[np.ndarray, " n"],
    v: Float[np.ndarray, " n"],
    minor: Float[np.ndarray, " n"],
    along: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, " n"]:
    """The texture at surface points (u, v), metres; about zero mean, unit variance when seen from close by.

    `minor` is the footprint's short side, `along` its long axis as a vector in (u, v), both in metres.
    """
    major = np.hypot(along[:, 0], along[:, 1])
    foot = np.maximum(minor, major / TAPS)
    total = np.zeros(u.size, np.float32)
    offsets = (np.arange(TAPS, dtype=np.float32) + 0.5) / TAPS - 0.5
    tap_u = (u + offsets[:, None] * along[:, 0]).ravel()
    tap_v = (v + offsets[:, None] * along[:, 1]).ravel()
    for (metres, share), band in zip(
        BANDS, (style, _MIDDLE[style], np.full_like(style, STAINS)), strict=True
    ):
        level = np.clip(np.log2(np.maximum(foot * (SIZE / metres), 1e-6)), 0, LEVELS - 1.001)
        whole = level.astype(np.int32)
        part = (level - whole).astype(np.float32)
        whole, part, styles = np.tile(whole, TAPS), np.tile(part, TAPS), np.tile(band, TAPS)
        tu, tv = tap_u / np.float32(metres), tap_v / np.float32(metres)
        fine = _read(atlas_, styles, tu, tv, whole)
        coarse = _read(atlas_, styles, tu, tv, whole + 1)
        total += share * (fine + part * (coarse - fine)).reshape(TAPS, -1).mean(0)
    return total
