"""Small charts as SVG text. Colours come from the page's style sheet, so they follow its light or dark mode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from jaxtyping import Float

WIDTH, HEIGHT = 420, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 24


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high] without leaving it."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A tick's label: 12500 -> '12.5k', 0.05 -> '0.05'."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:.4g}"


def curve(steps: Sequence[float], values: Sequence[float], name: str) -> str:
    """A line over training steps; long ones are averaged into buckets, with their range as a band."""
    x, y = np.asarray(steps, float), np.asarray(values, float)
    middle, low, high = _buckets(x, y, 240)
    frame = _Frame(_span(x), _span(np.concatenate([low[1], high[1]])))
    band = frame.points(*low) + frame.points(*high)[::-1]
    line = frame.points(*middle)
    parts = [frame.axes(), f'<polygon class="spread" points="{_text(band)}"/>']
    parts.append(f'<polyline class="line" points="{_text(line)}"/>')
    last = line[-1]
    parts.append(f'<circle class="dot" cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="2.5"/>')
    return _svg("".join(parts), f"{name} over training steps, last {y[-1]:.4g}")


def lines(
    drawn: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    alt: str,
    *,
    x: tuple[float, float],
    y: tuple[float, float],
) -> str:
    """Lines between fixed axes, the last on top: (class of the style sheet, x, y). One point is a dot."""
    frame = _Frame(x, y)
    parts = [frame.axes()]
    for kind, across, up in drawn:
        points = frame.points(np.asarray(across, float), np.asarray(up, float))
        parts.append(f'<polyline class="{kind}" points="{_text(points)}"/>')
        if len(points) == 1:
            (u, v), dot = points[0], kind.replace("line", "dot")
            parts.append(f'<circle class="{dot}" cx="{u:.1f}" cy="{v:.1f}" r="2.5"/>')
    return _svg("".join(parts), alt)


def histogram(
    values: Sequence[float], name: str, *, top: float, marks: Sequence[float] = (), bins: int = 30
) -> str:
    """How often each value in [0, top] occurs, what lies beyond gathered in the last bar; dashed lines at `marks`."""
    data = np.asarray(values, float)
    counts, edges = np.histogram(np.minimum(data, top * 0.9999), bins=bins, range=(0.0, top))
    frame = _Frame((0.0, top), (0.0, 1.05 * max(counts.max(initial=0), 1)))
    parts = [frame.axes()]
    for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True):
        if n:
            (x0, y0), (x1, y1) = frame.point(a, float(n)), frame.point(b, 0.0)
            parts.append(
                f'<rect class="bar" x="{x0 + 0.5:.1f}" y="{y0:.1f}" width="{max(x1 - x0 - 1, 0.6):.1f}" '
                f'height="{y1 - y0:.1f}"/>'
            )
    for value in marks:
        x, y = frame.point(min(value, top), 0.0)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y:.1f}"/>')
    return _svg("".join(parts), f"distribution of {name} over {len(data)} frames")


def bars(rows: Sequence[tuple[str, float, tuple[float, float] | None]]) -> str:
    """Horizontal bars, the first one emphasised: (label, value, interval or None)."""
    width, pitch, left, right = 480, 30, 150, 60
    top = max((max(v, i[1] if i else v) for _, v, i in rows), default=1.0) or 1.0
    scale = (width - left - right) / top
    parts = []
    for k, (label, value, spread) in enumerate(rows):
        y = k * pitch + 6
        end = left + value * scale
        parts.append(
            f'<text class="label" x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
        )
        kind = "bar first" if k == 0 else "bar other"
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{y}" width="{value * scale:.1f}" height="18" rx="2"/>'
        )
        if spread:
            a, b = (left + s * scale for s in spread)
            parts.append(f'<line class="whisker" x1="{a:.1f}" x2="{b:.1f}" y1="{y + 9}" y2="{y + 9}"/>')
            end = max(end, b)
        parts.append(f'<text class="value" x="{end + 6:.1f}" y="{y + 13}">{value:.3f}</text>')
    alt = "; ".join(f"{label} {value:.3f}" for label, value, _ in rows)
    return _svg("".join(parts), alt, width, len(rows) * pitch + 6)


def top_view(path: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """A trajectory from above, [right, ahead] in metres to one scale: "truth" in grey, "predicted" emphasised."""
    truth, predicted = (np.asarray(path[name], float) for name in ("truth", "predicted"))
    x, z, rows = top_view_spans(np.concatenate([truth, predicted]))
    height = rows + _TOP + _BOTTOM
    frame = _Frame(x, z, height)
    parts = [frame.axes()]
    for kind, points in (("path true", truth), ("path", predicted)):
        parts.append(f'<polyline class="{kind}" points="{_text(frame.points(*points.T))}"/>')
    start = frame.point(*truth[0])
    parts.append(f'<circle class="start" cx="{start[0]:.1f}" cy="{start[1]:.1f}" r="3.5"/>')
    return _svg("".join(parts), "trajectory from above, metres", height=height)


def top_view_spans(
    points: Float[np.ndarray, "n 2"],
) -> tuple[tuple[float, float], tuple[float, float], int]:
    """(span right, span ahead, rows of pixels) between axes on a drawing `WIDTH` wide, metres alike on both."""
    low, high = points.min(0), points.max(0)
    room = 1.08 * np.maximum(high - low, 1e-3)
    inner = WIDTH - _LEFT - _RIGHT
    metres = float(room.max()) / inner  # per pixel: neither side is longer than the drawing is wide
    rows = round(min(max(float(room[1]) / metres, 80.0), inner))
    half = np.array([inner, rows]) * metres / 2
    (x0, z0), (x1, z1) = (low + high) / 2 - half, (low + high) / 2 + half
    return (float(x0), float(x1)), (float(z0), float(z1)), rows


class _Frame:
    """Maps data to pixels of the drawing and draws its axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: int = HEIGHT):
        self.x, self.y, self.height = x, y, height

    def point(self, x: float, y: float) -> tuple[float, float]:
        u = (x - self.x[0]) / (self.x[1] - self.x[0])
        v = (y - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + u * (WIDTH - _LEFT - _RIGHT), self.height - _BOTTOM - v * (
            self.height - _TOP - _BOTTOM
        )

    def points(self, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
        return [self.point(a, b) for a, b in zip(x, y, strict=True)]

    def axes(self) -> str:
        parts = []
        for value in ticks(*self.y):
            y = self.point(self.x[0], value)[1]
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{_LEFT - 6}" y="{y + 3:.1f}" text-anchor="end">{short(value)}</text>'
            )
        for value in ticks(*self.x, about=5):
            x = self.point(value, self.y[0])[0]
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{self.height - 8}" text-anchor="middle">{short(value)}</text>'
            )
        return "".join(parts)


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _buckets(x: np.ndarray, y: np.ndarray, most: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    groups = np.array_split(np.arange(len(x)), min(most, len(x)))
    at = np.array([x[g].mean() for g in groups])
    return tuple((at, np.array([f(y[g]) for g in groups])) for f in (np.mean, np.min, np.max))


def _text(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg(body: str, alt: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(alt)}</title>{body}</svg>'
    )
