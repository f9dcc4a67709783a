"""The pieces of a street: buildings, trees, cars, people, lamps. Each adds its solids to a `Builder`."""

from __future__ import annotations

import numpy as np

from tdepth_jax.data.world.scene import Builder

_ACROSS = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # a cylinder's axis laid across (local y)


def _corners(x: float, y: float, yaw: float, length: float, width: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    offsets = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [length / 2, width / 2]
    return offsets @ np.array([[c, s], [-s, c]]) + [x, y]


def building(b: Builder, x, y, yaw, length, width, height, *, margin=2.0, gable=None, plain=False) -> bool:
    """A house or block with windows, now and then a pitched roof; False where it would stand in the way."""
    if not b.free(x, y, yaw, length, width, margin):
        return False
    r = b.rng
    material = r.choice(["brick", "plaster", "panel", "brick", "plaster", "ribbed"])
    tint = r.uniform(0.6, 1.3) * r.uniform(0.85, 1.15, 3)
    windows = (r.uniform(2.4, 3.2), 3.0, r.uniform(0.35, 0.65), r.uniform(0.4, 0.55))
    if plain or material == "ribbed":
        windows = (0.0, 0.0, 0.0, 0.0)
    warmth = r.normal(0, 1.2)
    size = (length, width, height)
    b.box(material, "building", x, y, yaw, size, tint=tint, windows=windows, warmth=warmth)
    b.boxes.append((_corners(x, y, yaw, length, width), height))
    if gable is None:
        gable = height < 9 and r.random() < 0.6
    if gable:
        rise = r.uniform(1.5, 3.0)
        # A frustum whose ridge closes: half width at mid height is a quarter of the eaves' width.
        b.solid(0, "roof", "building", (x, y, height + rise / 2), (length / 2 + 0.3, width / 4 + 0.15, rise / 2),
                yaw=yaw, taper=(0.0, 1.0), tint=r.uniform(0.6, 1.4) * np.ones(3), warmth=r.normal(0, 1))  # fmt: skip
    elif r.random() < 0.6:
        b.box(
            material, "building", x, y, yaw, (length + 0.5, width + 0.5, 0.5), base=height - 0.2, warmth=-2.0
        )
    if r.random() < 0.7:  # a band of another make along the ground floor, standing out a little
        b.box("panel", "building", x, y, yaw, (length + 0.2, width + 0.2, r.uniform(0.5, 1.2)),
              tint=tint * 0.6, warmth=warmth + r.normal(0, 2))  # fmt: skip
    return True


def tree(b: Builder, x, y, size=None) -> None:
    """A tree: trunk and clumps of leaves with gaps."""
    if not b.free(x, y, 0.0, 0.4, 0.4, 2.2):
        return
    r = b.rng
    size = r.uniform(0.7, 1.4) if size is None else size
    stem = r.uniform(1.6, 2.8) * size
    radius = r.uniform(0.10, 0.2) * size
    b.pillar("trunk", "vegetation", x, y, radius, stem + 1.5 * size, warmth=r.normal(0, 0.5))
    warmth = r.normal(0, 0.7)
    tint = r.uniform(0.7, 1.3) * r.uniform(0.85, 1.15, 3)
    conifer = r.random() < 0.3
    for i in range(r.integers(5, 9)):
        if conifer:
            z, spread = stem * 0.6 + i * 1.0 * size, max(0.35, 1.7 - 0.32 * i) * size
            half = np.array([spread, spread, 0.9 * size])
            dx = dy = 0.0
        else:
            dx, dy, dz = r.normal(0, [0.8, 0.8, 0.6]).clip(-1.1, 1.1) * size
            half = r.uniform(0.7, 1.25, 3) * size * [1, 1, 0.8]
            z = max(stem + 1.6 * size + dz, half[2] + 1.0)
        # Branches over the camera's way are cut to let it pass.
        if z - half[2] < 3.4 and not b.free(x + dx, y + dy, 0.0, 2 * half[0], 2 * half[1], 1.3):
            continue
        b.ball("foliage", "vegetation", x + dx, y + dy, z, half,
               tint=tint * r.uniform(0.8, 1.2), warmth=warmth + r.normal(0, 0.6),
               holes=r.uniform(0.0, 0.05))  # fmt: skip
    b.blobs.append((x, y, 2.0 * size, stem + size))


def bush(b: Builder, x, y, scale=1.0) -> None:
    """A low shrub."""
    r = b.rng
    half = r.uniform(0.4, 0.9, 3) * scale
    if b.free(x, y, 0.0, 2 * half[0], 2 * half[1], 1.8):
        b.ball("foliage", "vegetation", x, y, half[2] * 0.6, half, tint=r.uniform(0.7, 1.3) * np.ones(3),
               warmth=r.normal(0, 0.8), holes=0.0)  # fmt: skip


def barrier(b: Builder, x, y, yaw, length, height, kind) -> None:
    """A garden wall or a hedge."""
    r = b.rng
    if b.free(x, y, yaw, length, 0.6, 1.0):
        if kind == "hedge":
            b.box("foliage", "vegetation", x, y, yaw, (length, 0.8, height), tint=r.uniform(0.7, 1.2) * np.ones(3),
                  warmth=r.normal(0, 0.8))  # fmt: skip
        else:
            b.box(r.choice(["brick", "plaster", "panel"]), "wall", x, y, yaw, (length, 0.25, height),
                  tint=r.uniform(0.6, 1.2) * np.ones(3), warmth=r.normal(0, 1.2))  # fmt: skip
        b.boxes.append((_corners(x, y, yaw, length, 0.5), height))


def pole(b: Builder, x, y, *, lamp=False, towards=0.0) -> None:
    """A lamp post or a sign on a pole."""
    r = b.rng
    if not b.free(x, y, 0.0, 0.2, 0.2, 1.3):
        return
    height = r.uniform(5.0, 7.5) if lamp else r.uniform(2.2, 3.2)
    b.pillar("metal", "pole", x, y, r.uniform(0.06, 0.09), height, warmth=r.normal(0, 1.0))
    if lamp:
        hx, hy = x + 1.2 * np.cos(towards), y + 1.2 * np.sin(towards)
        b.box("metal", "pole", (x + hx) / 2, (y + hy) / 2, towards, (1.4, 0.12, 0.12), base=height - 0.1)
        b.box("lamp", "pole", hx, hy, towards, (0.7, 0.35, 0.15), base=height - 0.2)
        b.lamps.append((hx, hy, height - 0.2))
    else:
        b.box("metal", "pole", x, y, towards + np.pi / 2, (0.7, 0.06, 0.7), base=height - 0.5,
              tint=r.uniform(0.5, 2.0, 3), warmth=r.normal(0, 1.5))  # fmt: skip


def car(b: Builder, x, y, yaw, *, running: bool, owner=-1, kind=None) -> None:
    """A car, van or truck heading along `yaw`; a running one has a warm bonnet, tyres and lamps."""
    r = b.rng
    if owner < 0 and not b.free(x, y, yaw, 4.6, 1.9, 0.9):
        return
    kind = kind or r.choice(["car", "car", "car", "van"])
    length, width, height = {"car": (4.3, 1.78, 1.45), "van": (5.2, 1.95, 2.2)}[kind] * r.uniform(
        0.95, 1.06, 3
    )
    tint = r.choice([0.15, 0.5, 1.0, 2.0]) * (r.uniform(0.5, 1.5, 3) if r.random() < 0.5 else np.ones(3))
    body = "warm_car" if running else "car"
    base, warmth = 0.28, r.normal(0, 1.2)
    waist = 0.9 if kind == "car" else 1.1
    c, s = np.cos(yaw), np.sin(yaw)
    put = lambda u, v: (x + c * u - s * v, y + s * u + c * v)  # noqa: E731
    common = {"yaw": yaw, "owner": owner, "tint": tint}
    lower = (waist - base) / 2
    b.solid(0, body, "car", (*put(0, 0), base + lower), (length / 2, width / 2, lower), taper=(0.03, 0.04),
            warmth=warmth, **common)  # fmt: skip
    cab = (height - waist) / 2
    long_ = length * (0.30 if kind == "car" else 0.44)
    shift = -0.06 * length
    slope = 0.22 if kind == "car" else 0.05
    dark = {**common, "tint": np.ones(3)}
    b.solid(0, "glass", "car", (*put(shift, 0), waist + cab), (long_, width / 2 * 0.88, cab), taper=(slope, 0.1),
            warmth=warmth * 0.5, **dark)  # fmt: skip
    top = long_ * (1 - slope)
    b.solid(
        0, body, "car", (*put(shift, 0), height), (top, width / 2 * 0.8, 0.05), warmth=warmth + 1, **common
    )
    if running:
        b.solid(
            0, "hot", "car", (*put(length * 0.5 - 0.03, 0), base + 0.33), (0.06, width * 0.32, 0.16), **dark
        )
        b.solid(0, "warm_car", "car", (*put(length * 0.31, 0), waist), (length * 0.15, width * 0.4, 0.03),
                warmth=9.0, **common)  # fmt: skip
        b.solid(0, "hot", "car", (*put(-length * 0.48, -width * 0.25), 0.22), (0.2, 0.12, 0.07), **dark)
    for u in (-0.31, 0.31):
        for v in (-0.46, 0.46):
            b.solid(2, "warm_tyre" if running else "tyre", "car", (*put(u * length, v * width), 0.33),
                    (0.33, 0.33, 0.11), lean=_ACROSS, **dark)  # fmt: skip
    for v in (-0.36, 0.36):
        b.solid(0, "lamp" if running else "glass", "car", (*put(length / 2, v * width), 0.68), (0.05, 0.16, 0.08),
                **dark)  # fmt: skip
        b.solid(0, "tail_lamp" if running else "glass", "car", (*put(-length / 2, v * width), 0.78),
                (0.05, 0.14, 0.08), **dark)  # fmt: skip
    if owner < 0:
        b.blobs.append((x, y, 1.5, 0.7))


def person(b: Builder, x, y, yaw, *, owner=-1, base=0.0) -> None:
    """A person: legs, trunk, arms and head."""
    r = b.rng
    if owner < 0 and not b.free(x, y, 0.0, 0.5, 0.5, 1.3):
        return
    tall = r.uniform(0.88, 1.1)
    c, s = np.cos(yaw), np.sin(yaw)
    put = lambda u, v, z: (x + c * u - s * v, y + s * u + c * v, base + z * tall)  # noqa: E731
    cloth = {"tint": r.uniform(0.3, 2.5, 3), "warmth": r.normal(0, 1.2), "owner": owner, "yaw": yaw}
    legs = {**cloth, "tint": r.uniform(0.3, 1.5, 3), "warmth": cloth["warmth"] - 1.0}
    for v in (-0.1, 0.1):
        b.solid(
            1, "clothes", "person", put(v * r.uniform(-1.5, 1.5), v, 0.44), (0.1, 0.09, 0.46 * tall), **legs
        )
        b.solid(1, "clothes", "person", put(0.02, 2.5 * v, 1.12), (0.07, 0.07, 0.32 * tall), **cloth)
    b.solid(1, "clothes", "person", put(0, 0, 1.15), (0.15, 0.22, 0.37 * tall), **cloth)
    b.solid(1, "skin", "person", put(0, 0, 1.63), (0.11, 0.1, 0.14), owner=owner, warmth=r.normal(0, 0.5))


def bicycle(b: Builder, x, y, yaw, *, rider: bool, owner=-1) -> None:
    """A bicycle, ridden or parked."""
    if owner < 0 and not b.free(x, y, yaw, 1.8, 0.5, 0.7):
        return
    c, s = np.cos(yaw), np.sin(yaw)
    common = {"yaw": yaw, "owner": owner}
    for u in (-0.5, 0.5):
        b.solid(2, "tyre", "bike", (x + c * u, y + s * u, 0.34), (0.34, 0.34, 0.03), lean=_ACROSS, **common)
    b.solid(0, "metal", "bike", (x, y, 0.6), (0.5, 0.04, 0.12), **common)
    b.solid(0, "metal", "bike", (x + c * 0.4, y + s * 0.4, 0.98), (0.05, 0.28, 0.04), **common)
    if rider:
        person(b, x, y, yaw, owner=owner, base=0.2) if owner >= 0 else person(b, x, y, yaw)


def animal(b: Builder, x, y, yaw) -> None:
    """A dog or the like, small and warm."""
    if not b.free(x, y, yaw, 0.8, 0.3, 0.7):
        return
    c, s = np.cos(yaw), np.sin(yaw)
    common = {"yaw": yaw, "warmth": b.rng.normal(0, 1)}
    b.ball("fur", "animal", x, y, 0.42, (0.36, 0.14, 0.16), **common)
    b.ball("fur", "animal", x + 0.4 * c, y + 0.4 * s, 0.56, (0.15, 0.09, 0.11), **common)
    for u in (-0.22, 0.22):
        b.pillar("fur", "animal", x + c * u, y + s * u, 0.06, 0.35)
