"""The ground's picture from above: materials, markings, tracks and shadows, with averaged copies for distance."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from tdepth_jax.data.world import materials, texture
from tdepth_jax.data.world.layout import Ground
from tdepth_jax.data.world.scene import LABEL, Builder

PER_METRE = 8
LEVELS = 6
MARGIN = 105.0
TAPS = 4


@dataclasses.dataclass(frozen=True)
class GroundMap:
    """`heat` [rows, columns, 2]: excess over the air and texture amplitude, kelvin; `paint`: albedo [.., 3].

    Both hold all levels (level k at row `tops[k]`, half the size of the one before); `label` and `style` the
    first level only.
    """

    origin: Float[np.ndarray, 2]
    heat: Float[np.ndarray, "rows columns 2"]
    paint: Float[np.ndarray, "rows columns 3"]
    tops: list[int]
    label: UInt8[np.ndarray, "r c"]
    style: UInt8[np.ndarray, "r c"]


class _Canvas:
    """Draws in metres on several layers at once."""

    def __init__(self, low: np.ndarray, high: np.ndarray, material: str):
        self.low = low
        size = np.ceil((high - low) * PER_METRE / 64).astype(int) * 64
        self.kind = np.full((size[1], size[0]), materials.INDEX[material], np.uint8)
        self.label = np.full(self.kind.shape, LABEL["ground"], np.uint8)
        self.mark = np.zeros(self.kind.shape, np.float32)  # share of white paint
        self.warm = np.zeros(self.kind.shape, np.float32)  # kelvin
        self.shade = np.zeros(self.kind.shape, np.float32)

    def to(self, xy) -> np.ndarray:
        """Fixed-point pixel coordinates (4 fractional bits) for OpenCV."""
        return np.round((np.asarray(xy, np.float64) - self.low) * PER_METRE * 16).astype(np.int32)

    def stroke(self, layer, xy, width: float, value) -> None:
        """A polyline of `width` metres."""
        thick = max(1, round(width * PER_METRE))
        kind = cv2.LINE_AA if layer.dtype != np.uint8 else cv2.LINE_8
        if layer.dtype == np.float32:
            mask = np.zeros(layer.shape, np.uint8)
            cv2.polylines(mask, [self.to(xy)], False, 255, thick, kind, 4)
            layer += (mask / np.float32(255)) * (np.float32(value) - layer)
        else:
            cv2.polylines(layer, [self.to(xy)], False, value, thick, kind, 4)

    def fill(self, layer, xy, value, soft: float = 0.0) -> None:
        """A polygon; `soft` blurs its edge by so many metres."""
        mask = np.zeros(layer.shape, np.uint8)
        cv2.fillPoly(mask, [self.to(xy)], 255, cv2.LINE_AA, 4)
        if layer.dtype == np.uint8:
            layer[mask > 127] = value
            return
        if soft:
            mask = cv2.GaussianBlur(mask, (0, 0), soft * PER_METRE)
        layer += (mask / np.float32(255)) * (np.float32(value) - layer)


def _marks(c: _Canvas, ground: Ground, rng: np.random.Generator) -> None:
    """Lines, arrows, crossings, manholes, patches, oil and wheel tracks."""
    way, road = ground.line, ground.road
    edge = min(ground.end + road, 115.0)
    s = np.arange(-20, edge, 1.0)
    along = lambda left, s=s: np.stack(way.at(s, left)[:2], 1)  # noqa: E731
    centre = rng.choice(["dashed", "solid", "double", "none"])
    if centre == "dashed":
        for k in np.arange(-18, edge, 6.0):
            c.stroke(c.mark, along(0, np.linspace(k, k + 3, 5)), 0.15, 1.0)
    elif centre != "none":
        for left in (-0.2, 0.2) if centre == "double" else (0.0,):
            c.stroke(c.mark, along(left), 0.14, 1.0)
    if rng.random() < 0.6:
        for left in (-road + 0.25, road - 0.25):
            c.stroke(c.mark, along(left), 0.12, 0.9)
    for left in (road / 2 - 0.8, road / 2 + 0.8, -road / 2 - 0.8, -road / 2 + 0.8):
        c.stroke(c.warm, along(left), 0.4, rng.uniform(0.3, 1.6))
    for _ in range(rng.integers(0, 3)):
        k = rng.uniform(3, 50)
        for left in np.arange(-road + 0.5, road - 0.4, 1.0):
            c.stroke(c.mark, along(left, np.linspace(k, k + 3, 4)), 0.5, 1.0)
    for _ in range(rng.integers(4, 12)):
        k, left = rng.uniform(-2, 60), rng.uniform(-road + 0.6, road - 0.6)
        shaft = along(left, np.linspace(k, k + 2.2, 3))
        c.stroke(c.mark, shaft, 0.2, 1.0)
        tip = np.stack([along(left - 0.5, np.array([k + 2.0]))[0], along(left, np.array([k + 3.2]))[0],
                        along(left + 0.5, np.array([k + 2.0]))[0]])  # fmt: skip
        c.fill(c.mark, tip, 1.0)


def _blotches(c: _Canvas, ground: Ground, rng: np.random.Generator, spread: float) -> None:
    """Manholes, mended patches, joints across, puddles and oil, on road or court."""
    way = ground.line
    for _ in range(rng.integers(25, 50)):
        k, left = rng.uniform(-5, 75), rng.uniform(-spread, spread)
        x, y, a = way.at(k, left)
        length, width = rng.uniform(0.4, 4.0), rng.uniform(0.3, 1.8)
        q = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [length / 2, width / 2]
        a = a + rng.choice([0, 0, rng.uniform(0, 3)])
        q = q @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + [x, y]
        c.fill(c.warm, q, rng.normal(0, 2.0))
    for _ in range(rng.integers(6, 16)):
        k, left = rng.uniform(-2, 60), rng.uniform(-spread, spread)
        x, y, _ = way.at(k, left)
        angle = np.linspace(0, 2 * np.pi, 16)
        c.fill(
            c.warm,
            np.stack([x + 0.33 * np.cos(angle), y + 0.33 * np.sin(angle)], 1),
            rng.choice([-4.0, 3.5, 5.0]),
        )
    for k in np.arange(-15, 90, rng.uniform(5, 12)):
        ends = np.linspace(-spread, spread, 5)
        x, y, _ = way.at(np.full(5, k), ends)
        c.stroke(c.warm, np.stack([x, y], 1), 0.13, rng.normal(0, 1.5))


def _shadows(c: _Canvas, b: Builder, sun: np.ndarray) -> None:
    """Shadows of boxes and crowns, thrown along the sun's rays."""
    throw = -sun[:2] / max(sun[2], 0.2)
    for corners, height in b.boxes:
        moved = corners + throw * height
        hull = cv2.convexHull(np.concatenate([corners, moved]).astype(np.float32))[:, 0]
        c.fill(c.shade, hull, 1.0)
    for x, y, radius, height in b.blobs:
        angle = np.linspace(0, 2 * np.pi, 14)
        r = radius * b.rng.uniform(0.7, 1.1, 14)
        circle = np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], 1) + throw * height
        c.fill(c.shade, circle, 0.9)


def draw(b: Builder, ground: Ground, weather) -> GroundMap:
    """Draws the ground of a scene under a `weather` (`tdepth_jax.data.world.weather.Weather`)."""
    rng = np.random.default_rng(ground.seed)
    way = ground.line
    spine = np.stack(way.at(np.arange(-10, 45, 5.0))[:2], 1)
    low, high = spine.min(0) - 60, spine.max(0) + 60
    ahead = np.stack(way.at(np.array([60.0, 90.0, 110.0]))[:2], 1)
    low, high = np.minimum(low, ahead.min(0) - 12), np.maximum(high, ahead.max(0) + 12)
    c = _Canvas(low, high, ground.verge)
    s = np.arange(-24, min(ground.end + ground.road, 145.0), 1.0)
    middle = np.stack(way.at(s)[:2], 1)
    if ground.road:
        cross = np.stack(way.at(np.full(121, min(ground.end, 140.0)), np.linspace(-60, 60, 121))[:2], 1)
        lines = [middle, cross] if np.isfinite(ground.end) else [middle]
        for xy in lines:
            c.stroke(c.kind, xy, 2 * (ground.road + ground.walk), materials.INDEX["paving"])
        for xy in lines:
            c.stroke(c.kind, xy, 2 * ground.road, materials.INDEX["asphalt"])
            c.stroke(c.label, xy, 2 * ground.road, LABEL["road"])
        for left in (-ground.road - 0.1, ground.road + 0.1):  # kerbstones
            c.stroke(
                c.warm, np.stack(way.at(s[s < ground.end - ground.road], left)[:2], 1), 0.2, rng.normal(-1, 2)
            )
        _marks(c, ground, rng)
        _blotches(c, ground, rng, ground.road + ground.walk)
    else:
        c.stroke(c.kind, middle, rng.uniform(3, 7), materials.INDEX[str(rng.choice(["paving", "asphalt"]))])
        for _ in range(rng.integers(2, 6)):  # paths and beds across the court
            k, angle = rng.uniform(3, 40), rng.uniform(0, 3.1)
            x, y, _ = way.at(k)
            reach = 30 * np.array([np.cos(angle), np.sin(angle)])
            kind = materials.INDEX[str(rng.choice(["paving", "grass", "asphalt", "soil"]))]
            centre = np.array([x, y])
            c.stroke(c.kind, np.stack([centre - reach, centre + reach]), rng.uniform(1.5, 5), kind)
        _blotches(c, ground, rng, 14.0)
    if weather.sun_strength > 0:
        _shadows(c, b, weather.sun)
    return _finish(c, weather)


def _finish(c: _Canvas, weather) -> GroundMap:
    """Turns drawn layers into heat and paint, and stacks their averaged copies."""
    shade = cv2.GaussianBlur(c.shade, (0, 0), 1.5)
    lit = weather.sun_strength * (1 - 0.85 * shade) * max(weather.sun[2], 0.0)
    excess = weather.excess(np.arange(len(materials.NAMES)), np.zeros(len(materials.NAMES)))
    sunny = weather.contrast * (1 - weather.night) * materials.column("sun").astype(np.float32)
    heat = np.empty((*c.kind.shape, 2), np.float32)
    # Paint sheds heat better than it takes it up: colder by day, slightly so by night.
    heat[..., 0] = excess[c.kind] + sunny[c.kind] * lit + weather.detail * (c.warm - 4.5 * c.mark)
    heat[..., 1] = weather.detail * materials.column("patchy").astype(np.float32)[c.kind]
    paint = materials.column("albedo").astype(np.float32)[c.kind] * (1 - 0.1 * c.warm[..., None].clip(-4, 4))
    paint = paint + c.mark[..., None] * (0.62 - paint)
    if weather.sun_strength > 0:
        paint = paint * (1 - 0.62 * weather.sun_strength * shade)[..., None]
    heat = np.asarray(cv2.GaussianBlur(heat, (0, 0), 0.7))  # soft edges: a texel is 12 cm wide
    heat_levels, tops = _stack(heat)
    paint_levels, _ = _stack(np.asarray(cv2.GaussianBlur(paint.astype(np.float32), (0, 0), 0.7)))
    style = materials.column("style").astype(np.uint8)[c.kind]
    return GroundMap(c.low, heat_levels, paint_levels, tops, c.label, style)


def _stack(image: np.ndarray) -> tuple[np.ndarray, list[int]]:
    levels, tops = [image], [0]
    for _ in range(LEVELS - 1):
        last = levels[-1]
        tops.append(tops[-1] + last.shape[0] + 1)
        levels.append(
            cv2.resize(last, (last.shape[1] // 2, last.shape[0] // 2), interpolation=cv2.INTER_AREA)
        )
    out = np.zeros((tops[-1] + levels[-1].shape[0], image.shape[1], image.shape[2]), np.float32)
    for top, level in zip(tops, levels, strict=True):
        out[top : top + level.shape[0], : level.shape[1]] = level
        if top + level.shape[0] < len(out):
            out[top + level.shape[0], : level.shape[1]] = level[-1]
    return out, tops


def sample(
    stack: np.ndarray, ground: GroundMap, xy: np.ndarray, minor: np.ndarray, along: np.ndarray
) -> np.ndarray:
    """Reads `heat` or `paint` at ground points [n, 2] over footprints as in `texture.sample`; [n, channels]."""
    major = np.hypot(along[:, 0], along[:, 1])
    foot = np.maximum(minor, major / TAPS) * PER_METRE
    level = np.clip(np.log2(np.maximum(foot, 1e-6)), 0, LEVELS - 1.001)
    whole = level.astype(np.int32)
    part = np.tile((level - whole).astype(np.float32), TAPS)[:, None]
    offsets = (np.arange(TAPS, dtype=np.float32) + 0.5) / TAPS - 0.5
    place = ((xy - ground.origin) * PER_METRE - 0.0 + (offsets[:, None, None] * along * PER_METRE)).reshape(
        -1, 2
    )
    whole = np.tile(whole, TAPS)
    rows, columns = ground.label.shape
    tops = np.asarray(ground.tops, np.float32)

    def read(k: np.ndarray) -> np.ndarray:
        scale = np.exp2(-k).astype(np.float32)
        x = np.clip((place[:, 0] + 0.5) * scale - 0.5, 0, columns * scale - 1)
        y = np.clip((place[:, 1] + 0.5) * scale - 0.5, 0, rows * scale - 1) + tops[k]
        return texture.remap(stack, x, y)

    fine = read(whole)
    return (fine + part * (read(whole + 1) - fine)).reshape(TAPS, len(xy), *fine.shape[1:]).mean(0)


def nearest(layer: np.ndarray, ground: GroundMap, xy: np.ndarray) -> np.ndarray:
    """The drawn value (`label` or `style`) nearest to ground points [n, 2]."""
    ij = np.round((xy - ground.origin) * PER_METRE).astype(np.int64)
    return layer[ij[:, 1].clip(0, layer.shape[0] - 1), ij[:, 0].clip(0, layer.shape[1] - 1)]
