"""Which surface each pixel sees: rays against a list of solids, culled to the solids' screen rectangles.

A solid is a unit shape under an affine map: local = L (world - centre). Unit shapes: a frustum with
|x| + a z <= 1, |y| + b z <= 1, |z| <= 1 (a = b = 0: a box), a ball, and a cylinder about z. All (solid, pixel)
pairs of the rectangles are tested at once, and the nearest hit of each pixel wins. Ray directions have unit
camera z, so that the ray parameter is the z-depth itself.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

FRUSTUM, BALL, CYLINDER = range(3)
NEAR = 0.05
HOLE = 0.15  # metres, the size of gaps between leaves
GROUND = -1
SKY = -2
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


@dataclasses.dataclass(frozen=True)
class Solids:
    """Solids at one instant, in the world's frame."""

    shape: Int[np.ndarray, " n"]
    centre: Float[np.ndarray, "n 3"]
    local: Float[np.ndarray, "n 3 3"]
    half: Float[np.ndarray, "n 3"]  # half sizes in metres
    taper: Float[np.ndarray, "n 2"]
    holes: Float[np.ndarray, " n"]  # share of the surface that rays pass through (foliage)


@dataclasses.dataclass(frozen=True)
class Hits:
    """What the pixels see, flat over h*w. `solid` is an index, GROUND or SKY; the rest is undefined for SKY."""

    solid: Int[np.ndarray, " p"]
    depth: Float[np.ndarray, " p"]  # z-depth, metres; infinite for the sky
    ray: Float[np.ndarray, "p 3"]  # world direction with unit camera z
    point: Float[np.ndarray, "p 3"]  # world
    normal: Float[np.ndarray, "p 3"]
    uv: Float[np.ndarray, "p 2"]  # metres on the surface
    face: Int[np.ndarray, " p"]  # 0, 1: side faces (local x, y), 2: top or bottom, 3: round
    minor: Float[np.ndarray, " p"]  # footprint, metres
    along: Float[np.ndarray, "p 2"]  # the footprint's long axis in uv, metres


def rays(K: np.ndarray, world_from_camera: np.ndarray, height: int, width: int) -> np.ndarray:
    """World directions of all pixels (centres at integers), unit camera z, [h*w, 3] float32."""
    y, x = np.mgrid[:height, :width]
    camera = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1).reshape(-1, 3)
    return (camera @ world_from_camera[:3, :3].T).astype(np.float32)


def _rectangles(solids: Solids, K: np.ndarray, world_from_camera: np.ndarray, height: int, width: int):
    """Pixel rectangles (x0, x1, y0, y1; ends exclusive) that hold each solid's picture; empty if unseen."""
    spread = np.ones((len(solids.shape), 1, 3))
    spread[:, 0, :2] += np.abs(solids.taper)
    inverse = np.linalg.inv(solids.local)
    corners = solids.centre[:, None] + np.einsum("nij,nkj->nki", inverse, _CORNERS * spread)
    R, t = world_from_camera[:3, :3], world_from_camera[:3, 3]
    camera = (corners - t) @ R
    z = camera[..., 2]
    safe = np.maximum(z, NEAR)
    x = K[0, 0] * camera[..., 0] / safe + K[0, 2]
    y = K[1, 1] * camera[..., 1] / safe + K[1, 2]
    # A solid that reaches behind the camera runs off the picture on the side(s) its corners lie on.
    behind = z <= NEAR
    crosses = behind.any(1)
    bounds = []
    for pixels, across in ((x, camera[..., 0]), (y, camera[..., 1])):
        low = np.where(behind, np.inf, pixels).min(1)
        high = np.where(behind, -np.inf, pixels).max(1)
        low = np.where(crosses & (across.min(1) < 0), -1e6, low)
        high = np.where(crosses & (across.max(1) > 0), 1e6, high)
        bounds += [low - 1, high + 2]
    rect = np.nan_to_num(np.stack(bounds, 1), posinf=1e6, neginf=-1e6)
    rect = np.clip(rect, 0, [width, width, height, height]).astype(np.int64)
    rect[behind.all(1)] = 0
    return rect


def _pairs(rect: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """All (solid, pixel) pairs of the rectangles, as two flat index arrays."""
    w = np.maximum(rect[:, 1] - rect[:, 0], 0)
    area = w * np.maximum(rect[:, 3] - rect[:, 2], 0)
    solid = np.repeat(np.arange(len(rect), dtype=np.int32), area)
    start = np.cumsum(area) - area
    k = np.arange(len(solid), dtype=np.int32) - np.repeat(start.astype(np.int32), area)
    wide = np.repeat(np.maximum(w, 1).astype(np.int32), area)
    row = k // wide
    first = (rect[:, 2] * width + rect[:, 0]).astype(np.int32)
    return solid, np.repeat(first, area) + row * np.int32(width) + (k - row * wide)


def _slab(o: np.ndarray, d: np.ndarray, near: np.ndarray, far: np.ndarray, limit=1.0) -> None:
    """Narrows [near, far] in place to where o + t d <= limit."""
    d = np.where(np.abs(d) < 1e-9, np.float32(1e-9), d)
    t = (limit - o) / d
    np.maximum(near, np.where(d < 0, t, -np.inf), out=near)
    np.minimum(far, np.where(d > 0, t, np.inf), out=far)


def _intersect(shape: int, o: np.ndarray, d: np.ndarray, taper: np.ndarray) -> np.ndarray:
    """Entry parameter of rays o + t d into the unit shape, per pair ([n, 3] each); infinite for a miss."""
    ox, oy, oz = o.T
    dx, dy, dz = d.T
    near = np.full(len(o), -np.inf, np.float32)
    far = np.full(len(o), np.inf, np.float32)
    if shape == FRUSTUM:
        a, b = taper.T
        for sign in (1, -1):
            _slab(sign * ox + a * oz, sign * dx + a * dz, near, far)
            _slab(sign * oy + b * oz, sign * dy + b * dz, near, far)
            _slab(sign * oz, sign * dz, near, far)
    else:
        flat = shape == CYLINDER
        qa = dx * dx + dy * dy + (0 if flat else dz * dz)
        qb = ox * dx + oy * dy + (0 if flat else oz * dz)
        qc = ox * ox + oy * oy + (0 if flat else oz * oz) - 1
        root = qb * qb - qa * qc
        with np.errstate(invalid="ignore"):
            s = np.sqrt(root)
        qa = np.maximum(qa, 1e-12)
        near, far = (-qb - s) / qa, (-qb + s) / qa
        near[~(root > 0)] = np.inf
        if flat:
            _slab(oz, dz, near, far)
            _slab(-oz, -dz, near, far)
    return np.where((near < far) & (near > NEAR), near, np.inf)


def _hash(*integers: np.ndarray) -> np.ndarray:
    """Uniform [0, 1) values that depend on the integers alone."""
    h = np.zeros(integers[0].shape, np.uint32)
    for k in integers:
        h = (h ^ k.astype(np.int64).astype(np.uint32)) * np.uint32(0x9E3779B1)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x85EBCA77)
        h ^= h >> np.uint32(13)
    return h.astype(np.float32) * np.float32(2**-32)


def _hit_pairs(solids: Solids, solid, pixel, origin, direction):
    """The pairs that hit and their depths."""
    local = solids.local.astype(np.float32)
    start = np.einsum("nij,nj->ni", solids.local, origin - solids.centre).astype(np.float32)
    depth = np.full(len(solid), np.inf, np.float32)
    for shape in (FRUSTUM, BALL, CYLINDER):
        chosen = np.flatnonzero(solids.shape[solid] == shape)
        if not len(chosen):
            continue
        s, ray = solid[chosen], direction[pixel[chosen]]
        # Written out by rows: quicker than a batched matrix product for 3x3.
        rows = local[s]
        d = np.stack([(rows[:, i] * ray).sum(1) for i in range(3)], 1)
        t = _intersect(shape, start[s], d, solids.taper.astype(np.float32)[s])
        if shape == BALL:
            holey = np.flatnonzero(np.isfinite(t) & (solids.holes[s] > 0))
            if len(holey):
                # Holes are cells fixed on the leaf surface, so every camera sees through the same ones.
                metres = (start[s[holey]] + t[holey, None] * d[holey]) * solids.half[s[holey]]
                metres = metres + 0.08 * np.sin(9 * metres[:, [1, 2, 0]])  # no square holes
                cell = np.floor(metres / HOLE).astype(np.int64)
                open_ = _hash(cell[:, 0], cell[:, 1], cell[:, 2], s[holey]) < solids.holes[s[holey]]
                t[holey[open_ & (t[holey] < 25)]] = np.inf
        depth[chosen] = t
    hit = np.flatnonzero(np.isfinite(depth))
    return solid[hit], pixel[hit], depth[hit]


def cast(solids: Solids, K: np.ndarray, world_from_camera: np.ndarray, height: int, width: int) -> Hits:
    """Sees the solids and the ground z = 0 from a camera: the nearest surface of every pixel.

    `K` [3, 3] in pixels with centres at integers, `world_from_camera` [4, 4]; the world's z points up.
    """
    origin = world_from_camera[:3, 3]
    direction = rays(K, world_from_camera, height, width)
    with np.errstate(divide="ignore"):
        depth = np.where(direction[:, 2] < -1e-7, np.float32(-origin[2]) / direction[:, 2], np.inf)
    best = np.where(np.isfinite(depth), np.int32(GROUND), np.int32(SKY))
    depth = depth.astype(np.float32)
    solid, pixel, t = _hit_pairs(
        solids, *_pairs(_rectangles(solids, K, world_from_camera, height, width), width), origin, direction
    )
    nearest = depth.copy()
    np.minimum.at(nearest, pixel, t)
    won = t == nearest[pixel]
    closer = won & (t < depth[pixel])
    best[pixel[closer]] = solid[closer]
    return _surface(solids, best, nearest, origin, direction, K)


def _surface(solids: Solids, best, depth, origin, direction, K) -> Hits:
    """Points, normals and surface coordinates of the nearest hits."""
    n = len(best)
    seen = best != SKY
    t = np.where(seen, depth, 1.0).astype(np.float32)
    point = (origin + t[:, None] * direction).astype(np.float32)
    normal = np.tile(np.array([0, 0, 1], np.float32), (n, 1))
    uv = point[:, :2].copy()
    face = np.full(n, 2, np.int8)
    aim = direction[:, :2].copy()  # the ray's course in the surface's own coordinates
    k = np.flatnonzero(best >= 0)
    if len(k):
        s = best[k]
        local, half, shape = (
            solids.local[s].astype(np.float32),
            solids.half[s].astype(np.float32),
            solids.shape[s],
        )
        start = np.einsum("nij,nj->ni", solids.local, origin - solids.centre).astype(np.float32)[s]
        d = np.einsum("nij,nj->ni", local, direction[k])
        p = start + t[k, None] * d
        gradient, side = _gradient(shape, p, solids.taper[s].astype(np.float32))
        outward = np.einsum("nji,nj->ni", local, gradient)
        normal[k] = outward / np.linalg.norm(outward, axis=1, keepdims=True)
        metres, course = p * half, d * half
        metres[:, 2] += half[:, 2]  # heights count from the solid's foot
        # A ball wears its pattern plane by plane, each part from the axis it faces most.
        plane = np.where(shape == BALL, np.abs(gradient / half).argmax(1), side)
        place, aim[k] = _unfold(metres, plane), _unfold(course, plane)
        turning = shape == CYLINDER
        place[turning, 0] = (np.arctan2(p[:, 1], p[:, 0]) * half[:, 0])[turning]
        place[turning, 1] = metres[turning, 2]
        aim[k[turning]] = 0
        place[:, 0] += 37 * _hash(s, side)  # no two faces start the same pattern alike
        uv[k] = place
        face[k] = np.where(shape == FRUSTUM, side, 3)
    length = np.linalg.norm(direction, axis=1)
    facing = np.abs((direction * normal).sum(1)) / length
    minor = t * length / K[0, 0]
    long_ = minor / np.maximum(facing, 0.02) - minor
    norm = np.hypot(aim[:, 0], aim[:, 1])
    along = aim * (np.where(norm > 1e-6, long_ / np.maximum(norm, 1e-6), 0))[:, None]
    z = np.where(seen, depth, np.inf).astype(np.float32)
    return Hits(
        best, z, direction, point, normal, uv.astype(np.float32), face, minor, along.astype(np.float32)
    )


def _unfold(q: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """The two coordinates of local points or directions that span the plane across axis `plane`."""
    flat = np.where((plane == 0)[:, None], q[:, [1, 2]], q[:, [0, 2]])
    return np.where((plane == 2)[:, None], q[:, [0, 1]], flat)


def _gradient(shape: np.ndarray, p: np.ndarray, taper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outward direction in local coordinates at surface points, and the local axis of the face."""
    gradient = p.copy()
    box = shape == FRUSTUM
    level = np.stack(
        [np.abs(p[:, 0]) + taper[:, 0] * p[:, 2], np.abs(p[:, 1]) + taper[:, 1] * p[:, 2], np.abs(p[:, 2])], 1
    )
    side = level.argmax(1).astype(np.int8)
    sign = np.sign(np.take_along_axis(p, side[:, None].astype(np.int64), 1))[:, 0]
    flat = np.zeros_like(p)
    flat[np.arange(len(p)), side] = sign
    flat[:, 2] += np.where(
        side < 2, np.take_along_axis(taper, np.minimum(side, 1)[:, None].astype(np.int64), 1)[:, 0], 0
    )
    gradient[box] = flat[box]
    cylinder = shape == CYLINDER
    cap = cylinder & (np.abs(p[:, 2]) > 0.9999)
    gradient[cylinder, 2] = 0
    gradient[cap] = np.stack([0 * sign, 0 * sign, np.sign(p[:, 2])], 1)[cap]
    return gradient, np.where(cap, 2, side)
