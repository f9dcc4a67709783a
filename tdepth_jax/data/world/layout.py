"""Where things stand: a road (or a courtyard) along a curved line, and what lines it, by style of scene."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from tdepth_jax.data.world import pieces
from tdepth_jax.data.world.scene import Builder

STEP = 0.5  # metres between the points of a line


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve on the ground by arc length: points every STEP metres from `start`."""

    start: float
    xy: Float[np.ndarray, "n 2"]
    heading: Float[np.ndarray, " n"]

    def at(self, s: np.ndarray | float, left: np.ndarray | float = 0.0):
        """x, y, heading at arc length `s`, moved `left` metres to the left."""
        k = (np.asarray(s, np.float64) - self.start) / STEP
        grid = np.arange(len(self.heading))
        x, y, a = (np.interp(k, grid, q) for q in (*self.xy.T, self.heading))
        return x - left * np.sin(a), y + left * np.cos(a), a


def line(rng: np.random.Generator, *, bend: float) -> Line:
    """A line from s = -25 to 150 m that runs straight, bends by about `bend` radians, and runs straight."""
    s = np.arange(-25.0, 150.0, STEP)
    begin, radius = rng.uniform(-10, 25), rng.uniform(18, 60)
    angle = bend * rng.uniform(0.5, 1.3) * rng.choice([-1, 1])
    arc = max(abs(angle) * radius, 1.0)
    u = np.clip((s - begin) / arc, 0, 1)
    heading = angle * (u * u * (3 - 2 * u)) + 0.01 * np.sin(s / 17 + rng.uniform(0, 6))
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * STEP, 0)
    xy -= xy[np.searchsorted(s, 0.0)]
    return Line(-25.0, xy, heading)


@dataclasses.dataclass(frozen=True)
class Ground:
    """What the ground's picture is drawn from. `road` is half the carriageway's width; 0: a paved court."""

    line: Line
    road: float
    walk: float  # width of the pavements
    end: float  # arc length at which a crossing street ends the road; infinite if none
    verge: str  # material beyond the pavements
    seed: int


def lay_out(style: str, rng: np.random.Generator, way: Line, reach: float, lane: float, clear: np.ndarray):
    """Fills a scene of `style` along the line `way` for a camera that drives its first `reach` metres.

    Returns the builder and the ground. `lane` is the camera's offset to the left of the line.
    """
    b = Builder(rng, clear)
    if style == "court":
        ground = _court(b, way, reach)
    else:
        ground = _street(style, b, way, reach)
    _distance(b, way)
    return b, ground


def _distance(b: Builder, way: Line) -> None:
    """A backdrop far out: woods and blocks that close the horizon here and there."""
    r = b.rng
    cx, cy, _ = way.at(10.0)
    for angle in np.arange(0, 2 * np.pi, 0.16):
        if r.random() < 0.15:
            continue
        d = r.uniform(72, 98)
        x, y = cx + d * np.cos(angle), cy + d * np.sin(angle)
        if r.random() < 0.5:
            b.ball("foliage", "vegetation", x, y, 0.0, (r.uniform(5, 11), r.uniform(5, 11), r.uniform(4, 11)),
                   warmth=r.normal(0, 0.7), tint=r.uniform(0.6, 1.1) * np.ones(3))  # fmt: skip
        else:
            pieces.building(b, x, y, angle, r.uniform(8, 14), r.uniform(8, 16), r.uniform(6, 22), gable=False)


def _rows(b: Builder, way: Line, style: str, side: int, edge: float, stop: float) -> None:
    """Buildings, walls, hedges and trees along one side, from the pavement's edge outwards."""
    r = b.rng
    near = {"street": (0.2, 2.5), "suburb": (1.0, 6.0), "open": (4.0, 13.0), "works": (1.0, 10.0)}[style]
    gap = {"street": 0.05, "suburb": 0.2, "open": 0.45, "works": 0.2}[style]
    tall = {"street": (6, 17), "suburb": (5, 9), "open": (5, 10), "works": (5, 12)}[style]
    setback = r.uniform(*near)
    s = -18.0
    while s < stop:
        length = r.uniform(8, 20) if style != "works" else r.uniform(12, 30)
        if r.random() > gap:
            width, height = r.uniform(8, 14), r.uniform(*tall)
            back = setback if r.random() < 0.6 else r.uniform(*near)
            x, y, a = way.at(s + length / 2, side * (edge + back + width / 2))
            yaw = a + r.normal(0, 0.03) + (r.uniform(-0.5, 0.5) if r.random() < 0.12 else 0)
            pieces.building(b, x, y, yaw, length * r.uniform(0.75, 1.0), width, height)
            if back > 3 and r.random() < 0.7:
                x, y, a = way.at(s + length / 2, side * (edge + 0.5))
                kind = r.choice(["wall", "hedge"])
                pieces.barrier(b, x, y, a, length * 0.8, r.uniform(0.7, 2.0), kind)
        else:
            for _ in range(r.integers(1, 4)):
                x, y, _ = way.at(s + r.uniform(0, length), side * (edge + r.uniform(1.0, 12)))
                pieces.tree(b, x, y)
                x, y, _ = way.at(s + r.uniform(0, length), side * (edge + r.uniform(0.5, 5)))
                pieces.bush(b, x, y, r.uniform(0.7, 1.8))
        s += length + r.uniform(0, 3)


def _kerbside(b: Builder, way: Line, side: int, road: float, walk: float, stop: float, plan: dict) -> None:
    """Parked cars, trees, posts, people and bicycles between carriageway and buildings."""
    r = b.rng
    s = r.uniform(-8, 0)
    while s < stop:
        if r.random() < plan["parked"]:
            x, y, a = way.at(s + 2.4, side * (road - 1.05))
            pieces.car(b, x, y, a + (np.pi if r.random() < 0.3 else 0), running=r.random() < 0.15)
        s += r.uniform(5.2, 7.5)
    s = r.uniform(-5, 5)
    while s < stop:
        x, y, _ = way.at(s, side * (road + r.uniform(0.5, 0.9)))
        pick = r.random()
        if pick < plan["trees"]:
            pieces.tree(b, x, y)
        elif pick < plan["trees"] + 0.08:
            pieces.pole(b, x, y, lamp=False, towards=r.uniform(0, 6))
        s += r.uniform(4.5, 11)
    for _ in range(plan["people"]):
        x, y, _ = way.at(r.uniform(4, 45), side * (road + r.uniform(0.4, max(walk, 0.6))))
        pieces.person(b, x, y, r.uniform(0, 6.3))
    for _ in range(plan["bikes"]):
        x, y, a = way.at(r.uniform(5, 40), side * (road + walk * 0.8))
        pieces.bicycle(b, x, y, a + r.normal(0, 0.5), rider=False)
    for s in np.arange(r.uniform(6, 26), stop, r.uniform(28, 40)):
        x, y, a = way.at(s, side * (road + 0.5))
        pieces.pole(b, x, y, lamp=True, towards=a - side * np.pi / 2)


def _street(style: str, b: Builder, way: Line, reach: float) -> Ground:
    r = b.rng
    road = {"street": r.uniform(3.2, 6.5), "suburb": r.uniform(2.8, 4.2), "open": r.uniform(3.0, 4.5),
            "works": r.uniform(4.0, 8.0)}[style]  # fmt: skip
    walk = {"street": r.uniform(1.5, 4.0), "suburb": r.uniform(1.2, 2.0), "open": r.uniform(0.3, 1.5),
            "works": r.uniform(0.3, 2.0)}[style]  # fmt: skip
    end = reach + r.uniform(14, 45) if r.random() < 0.4 else np.inf
    stop = min(105.0, end - road - 1)
    for side in (-1, 1):
        kind = style if r.random() < 0.7 else r.choice(["street", "suburb", "open"])
        _rows(b, way, kind, side, road + walk, stop)
        plan = {
            "parked": r.choice([0.05, 0.25, 0.6]) if road > 4.0 else r.choice([0.0, 0.15]),
            "trees": r.choice([0.0, 0.1, 0.25]),
            "people": int(r.integers(0, 4)),
            "bikes": int(r.integers(0, 2)),
        }
        _kerbside(b, way, side, road, walk, stop, plan)
    if np.isfinite(end):  # the far side of the crossing street: a row across
        _, _, a = way.at(end)
        across = -45.0
        while across < 45:
            length, width = r.uniform(9, 22), r.uniform(8, 12)
            x, y, _ = way.at(end + road + r.uniform(1, 5) + width / 2, across + length / 2)
            pieces.building(b, x, y, a + np.pi / 2, length, width, r.uniform(4, 14))
            across += length + r.uniform(0, 5)
    if r.random() < 0.3:
        x, y, a = way.at(r.uniform(8, 30), r.choice([-1, 1]) * (road + 0.5))
        pieces.animal(b, x, y, r.uniform(0, 6.3))
    return Ground(
        way, road, walk, end, str(r.choice(["grass", "grass", "paving", "soil"])), int(r.integers(2**31))
    )


def _court(b: Builder, way: Line, reach: float) -> Ground:
    """A campus court or parking ground: buildings around, islands, benches, people, parked cars."""
    r = b.rng
    front, left, right = reach + r.uniform(6, 24), r.uniform(5, 15), r.uniform(5, 15)
    for side, gap in ((1, left), (-1, right)):
        s = -15.0
        while s < front + 8:
            length, width = r.uniform(10, 24), r.uniform(8, 12)
            x, y, a = way.at(s + length / 2, side * (gap + r.uniform(0, 3) + width / 2))
            if r.random() < 0.85:
                pieces.building(b, x, y, a, length, width, r.uniform(5, 16))
            s += length + r.choice([0.0, 4.0])
    across = -right - 8.0
    while across < left + 8:
        length, width = r.uniform(10, 22), r.uniform(8, 12)
        x, y, a = way.at(front + r.uniform(0, 6) + width / 2, across + length / 2)
        pieces.building(b, x, y, a + np.pi / 2, length, width, r.uniform(5, 18))
        across += length + r.choice([0.0, 3.0])
    place = lambda: way.at(r.uniform(3, front - 2), r.uniform(-right + 1.5, left - 1.5))  # noqa: E731
    for _ in range(r.integers(1, 5)):
        x, y, _ = place()
        pieces.tree(b, x, y)
    for _ in range(r.integers(1, 4)):
        x, y, _ = place()
        pieces.bush(b, x, y, r.uniform(0.7, 1.6))
    for _ in range(r.integers(0, 5)):
        x, y, a = place()
        pieces.barrier(b, x, y, a + r.choice([0, np.pi / 2]), r.uniform(2, 7), r.uniform(0.45, 1.1), "wall")
    for _ in range(r.integers(1, 6)):
        x, y, _ = place()
        pieces.person(b, x, y, r.uniform(0, 6.3))
    for _ in range(r.integers(0, 4)):
        x, y, a = place()
        pieces.bicycle(b, x, y, r.uniform(0, 6.3), rider=False)
    for _ in range(r.integers(0, 5)):
        x, y, a = place()
        pieces.car(b, x, y, a + r.choice([0, np.pi / 2, np.pi]), running=r.random() < 0.2)
    for _ in range(r.integers(1, 4)):
        x, y, _ = place()
        pieces.pole(b, x, y, lamp=True, towards=r.uniform(0, 6))
    if r.random() < 0.5:
        x, y, _ = place()
        pieces.animal(b, x, y, r.uniform(0, 6.3))
    return Ground(
        way, 0.0, 0.0, np.inf, str(r.choice(["grass", "paving", "asphalt"])), int(r.integers(2**31))
    )


def traffic(b: Builder, ground: Ground, lane: float, frames: int) -> None:
    """A few things that move: an oncoming car, a car ahead, walkers, a cyclist. Tracks are per frame."""
    r = b.rng
    t = np.arange(-1, frames + 1)

    def follow(s0: float, speed: float, left: float, turn: float) -> np.ndarray:
        x, y, a = ground.line.at(s0 + speed * t, left)
        return np.stack([x, y, a + turn], 1)

    if ground.road > 2.9:
        if r.random() < 0.4 and not np.isfinite(ground.end):
            own = b.track(follow(r.uniform(25, 60), -r.uniform(0.5, 1.0), max(-lane, 1.6), np.pi))
            pieces.car(b, 0, 0, 0, running=True, owner=own)
        if r.random() < 0.35:
            own = b.track(follow(r.uniform(13, 24), r.uniform(0.55, 0.9), lane, 0.0))
            pieces.car(b, 0, 0, 0, running=True, owner=own)
        if r.random() < 0.3:
            own = b.track(follow(r.uniform(9, 18), r.uniform(0.3, 0.6), lane - 1.6, 0.0))
            pieces.bicycle(b, 0, 0, 0, rider=True, owner=own)
    for _ in range(r.integers(0, 3)):
        if r.random() < 0.35:  # crosses the way, well ahead of the camera
            s, pace, side = (
                r.uniform(reach_of(frames), reach_of(frames) + 12),
                r.uniform(0.09, 0.15),
                r.choice([-1, 1]),
            )
            x, y, a = ground.line.at(s, side * (3 - pace * t))
            own = b.track(np.stack([x, y, np.full(len(t), a - side * np.pi / 2)], 1))
        else:
            side, sense = r.choice([-1, 1]), r.choice([-1, 1])
            left = side * (max(ground.road, 3.0) + r.uniform(0.5, 1.5))
            own = b.track(
                follow(r.uniform(8, 30), sense * r.uniform(0.08, 0.15), left, 0 if sense > 0 else np.pi)
            )
        pieces.person(b, 0, 0, 0, owner=own)


def reach_of(frames: int) -> float:
    """How far the fastest camera may come in so many frames, metres."""
    return 0.8 * frames
