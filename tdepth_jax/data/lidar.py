"""Depth maps from LiDAR scans and poses: scans put right for the motion within them, merged, projected, hidden
points taken out. NumPy only; metres, seconds as integer nanoseconds, motions as `a_from_b`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

MOST_GAP = (
    5.0  # metres between neighbouring key poses; farther apart, a straight line between them is a guess
)
NEAREST = 0.5  # metres; what is nearer is the vehicle itself

# A point is hidden when nearer ones stand on most sides of it: radius in pixels, and how much nearer they must be,
# a share of its depth that grows with their distance, for a road or a wall comes nearer too, steadily and from one
# side. Five of eight sectors: an inclined plane has nearer points in four at most.
RADIUS = 4
NEARER, NEARER_PER_PIXEL = 0.05, 0.05
SECTORS = 5


@dataclasses.dataclass(frozen=True)
class Track:
    """Key poses in order of time.

    Attributes:
      times: nanoseconds, increasing.
      poses: world_from_body.
    """

    times: Int64[np.ndarray, " n"]
    poses: Float64[np.ndarray, "n 4 4"]

    def at(
        self, times: Int64[np.ndarray, " m"]
    ) -> tuple[Float64[np.ndarray, "m 4 4"], Bool[np.ndarray, " m"]]:
        """(poses, known): between key poses positions are interpolated linearly, rotations by slerp.

        Not known (and then the identity) are times outside the track, and between key poses more than `MOST_GAP`
        metres apart.
        """
        times = np.asarray(times, np.int64)
        out = np.tile(np.eye(4), (len(times), 1, 1))
        if len(self.times) < 2:
            return out, np.zeros(len(times), bool)
        after = np.clip(np.searchsorted(self.times, times, side="left"), 1, len(self.times) - 1)
        a, b = self.poses[after - 1], self.poses[after]
        known = (times >= self.times[0]) & (times <= self.times[-1])
        known &= np.linalg.norm(b[:, :3, 3] - a[:, :3, 3], axis=1) <= MOST_GAP
        span = (self.times[after] - self.times[after - 1]).astype(np.float64)
        share = (times - self.times[after - 1]) / np.maximum(span, 1)
        out[:, :3, 3] = a[:, :3, 3] + share[:, None] * (b[:, :3, 3] - a[:, :3, 3])
        turn = _log(np.swapaxes(a[:, :3, :3], 1, 2) @ b[:, :3, :3])
        out[:, :3, :3] = a[:, :3, :3] @ _exp(share[:, None] * turn)
        out[~known] = np.eye(4)
        return out, known


def _log(R: Float64[np.ndarray, "n 3 3"]) -> Float64[np.ndarray, "n 3"]:
    """Axis times angle; the angle below 180 degrees, as between neighbouring poses of a vehicle."""
    axis = np.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], 1) / 2
    sine, cosine = np.linalg.norm(axis, axis=1), (np.trace(R, axis1=1, axis2=2) - 1) / 2
    angle = np.arctan2(sine, cosine)
    return axis * (angle / np.where(sine > 1e-12, sine, 1.0))[:, None]


def _exp(v: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3 3"]:
    """Rodrigues."""
    angle = np.linalg.norm(v, axis=1)
    x, y, z = (v / np.where(angle > 1e-12, angle, 1.0)[:, None]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * cross @ cross


def scan_in_world(
    points: Float[np.ndarray, "n 3"], times: Int64[np.ndarray, " n"], track: Track
) -> Float64[np.ndarray, "m 3"]:
    """A scan's points in the world, each by the LiDAR's pose at its own time; those of unknown pose are left out."""
    moments, which = np.unique(times, return_inverse=True)
    poses, known = track.at(moments)
    keep = known[which]
    poses, points = poses[which[keep]], points[keep].astype(np.float64)
    return np.einsum("nij,nj->ni", poses[:, :3, :3], points) + poses[:, :3, 3]


def project(
    world: Float[np.ndarray, "n 3"],
    camera_from_world: Float[np.ndarray, "4 4"],
    K: Float[np.ndarray, "3 3"],
    size: tuple[int, int],
) -> Float32[np.ndarray, "h w"]:
    """z-depth in metres of the nearest point in every pixel (centres at integers), 0 = none."""
    points = world @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    points = points[points[:, 2] > NEAREST]
    z = points[:, 2]
    u = np.rint(K[0, 0] * points[:, 0] / z + K[0, 2])
    v = np.rint(K[1, 1] * points[:, 1] / z + K[1, 2])
    inside = (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0])
    flat = v[inside].astype(np.int64) * size[1] + u[inside].astype(np.int64)
    z = z[inside]
    depth = np.zeros(size[0] * size[1], np.float32)
    farthest_first = np.argsort(-z, kind="stable")  # of several values for one pixel the last stays
    depth[flat[farthest_first]] = z[farthest_first]
    return depth.reshape(size)


def without_hidden(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """The sparse depth without points that show through nearer things.

    The LiDAR sits beside the camera and sees round corners; and between the sparse points of a near thing those
    behind it show. Such a point has nearer ones in at least `SECTORS` of the eight sectors round it, within
    `RADIUS` pixels. Beside a silhouette they are on one side only: what stands free stays.
    """
    rows, columns = np.nonzero(depth)
    z = depth[rows, columns]
    padded = np.pad(depth, RADIUS)
    blocked = np.zeros((8, len(z)), bool)
    for dy in range(-RADIUS, RADIUS + 1):
        for dx in range(-RADIUS, RADIUS + 1):
            distance = np.hypot(dy, dx)
            if not 0 < distance <= RADIUS:
                continue
            other = padded[rows + RADIUS + dy, columns + RADIUS + dx]
            nearer = (other > 0) & (other < z * (1 - NEARER - NEARER_PER_PIXEL * distance))
            # Sectors are 45 degrees wide and begin at the axes' bisectors, so that none lies in two.
            blocked[int(np.floor((np.arctan2(dy, dx) / (np.pi / 4) + 0.5) % 8))] |= nearer
    out = depth.copy()
    hidden = blocked.sum(axis=0) >= SECTORS
    out[rows[hidden], columns[hidden]] = 0
    return out
