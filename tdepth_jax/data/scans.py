"""The frames of one stretch of a bag: thermal images with depth from the scans round them, poses, RGB."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from tdepth_jax.data import bags, lidar, records
from tdepth_jax.data.lens import Lens, Undistorter
from tdepth_jax.errors import UserError

EARLY = 2 * 10**9  # nanoseconds that are read before the first image, for the scans round it
LAG = 300  # images that wait at most for later scans: a LiDAR may have stopped


@dataclasses.dataclass(frozen=True)
class Plan:
    """One stretch of a bag to be written as a sequence; plain values, for worker processes.

    Attributes:
      first, frames: numbers of the thermal images within their topic.
      start: when the first of them was written.
      thermal_topic, rgb_topic, cloud_topic: None: not wanted.
      rgb_delay: nanoseconds that an RGB image may be away.
      track: world_from_lidar.
      scans: how many make a depth map.
    """

    name: str
    bag: Path
    first: int
    frames: int
    start: int
    condition: str
    thermal_topic: str
    thermal: Lens
    rgb_topic: str | None
    rgb: Lens
    rgb_delay: int
    cloud_topic: str | None
    track: lidar.Track | None
    thermal_from_lidar: Float64[np.ndarray, "4 4"] | None
    rgb_from_lidar: Float64[np.ndarray, "4 4"] | None
    scans: int
    keep_hidden: bool

    @property
    def rgb_from_thermal(self) -> Float64[np.ndarray, "4 4"] | None:
        if self.rgb_topic is None or self.rgb_from_lidar is None or self.thermal_from_lidar is None:
            return None
        return self.rgb_from_lidar @ np.linalg.inv(self.thermal_from_lidar)


class Frames:
    """Reads a bag once, holding only what the images in waiting may need."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._thermal = Undistorter(plan.thermal)
        self._rgb = Undistorter(plan.rgb)
        valid = self._thermal.valid()
        self._valid = None if valid.all() else valid.astype(np.uint8)
        self._waiting: collections.deque[bags.Message] = collections.deque()
        self._scans: collections.deque[tuple[int, Float64[np.ndarray, "n 3"]]] = collections.deque()
        self._colours: collections.deque[bags.Message] = collections.deque()
        self._index = 0

    def run(self) -> Iterator[records.Frame]:
        """The frames in order.

        Raises:
          UserError: a damaged bag, images of another size or depth, an RGB image that is missing.
        """
        plan = self.plan
        topics = [t for t in (plan.thermal_topic, plan.rgb_topic, plan.cloud_topic) if t is not None]
        # The bag begins to be read a little before the first image, so images before it are passed over by time.
        number = plan.first
        for message in bags.messages(plan.bag, topics, start=plan.start - EARLY):
            if message.topic == plan.thermal_topic:
                if message.written < plan.start or number >= plan.first + plan.frames:
                    continue
                number += 1
                self._waiting.append(message)
            elif message.topic == plan.cloud_topic:
                self._add_scan(message)
            else:
                self._colours.append(message)
            while self._waiting and self._complete(self._waiting[0].stamp):
                yield self._frame(self._waiting.popleft())
            self._forget()
            if number == plan.first + plan.frames and not self._waiting:
                return
        while self._waiting:
            yield self._frame(self._waiting.popleft())

    def _add_scan(self, message: bags.Message) -> None:
        assert self.plan.track is not None
        points, times = bags.cloud(message, str(self.plan.bag))
        world = lidar.scan_in_world(points, times, self.plan.track)
        middle = int(times.min() + (times.max() - times.min()) // 2) if len(times) else message.stamp
        self._scans.append((middle, world))

    def _complete(self, stamp: int) -> bool:
        """Whether nothing that is still to come can belong to the image at `stamp`."""
        if len(self._waiting) > LAG:
            return True
        later = sum(middle > stamp for middle, _ in self._scans)
        scans = self.plan.cloud_topic is None or later >= self.plan.scans
        colours = self.plan.rgb_topic is None or (bool(self._colours) and self._colours[-1].stamp >= stamp)
        return scans and colours

    def _forget(self) -> None:
        """Drops what the next image, which is not older than the last, cannot need."""
        wanted = self.plan.scans
        while len(self._scans) > wanted and (
            self._scans[wanted][0] <= self._waiting[0].stamp
            if self._waiting
            else len(self._scans) > 2 * wanted
        ):
            self._scans.popleft()
        while len(self._colours) > 2 and not self._waiting:
            self._colours.popleft()
        while len(self._colours) > 2 and self._colours[1].stamp <= self._waiting[0].stamp:
            self._colours.popleft()

    def _frame(self, message: bags.Message) -> records.Frame:
        plan = self.plan
        image = bags.image(message, str(plan.bag))
        if image.dtype != np.uint16 or image.shape != plan.thermal.size:
            raise UserError(
                f"{plan.bag}: thermal images are {image.dtype} {image.shape}, the lens is calibrated for 16-bit "
                f"{plan.thermal.size}; give the right --rig or --thermal-kalibr"
            )
        frame: records.Frame = {
            "sequence": plan.name,
            "index": self._index,
            "timestamp_ns": message.stamp,
            "condition": plan.condition,
            "thermal/image": self._thermal.image(image),
            "thermal/K": plan.thermal.K,
        }
        self._index += 1
        if self._valid is not None:
            frame["thermal/valid"] = self._valid
        if plan.track is not None and plan.thermal_from_lidar is not None:
            poses, known = plan.track.at(np.array([message.stamp]))
            if known[0]:
                world_from_camera = poses[0] @ np.linalg.inv(plan.thermal_from_lidar)
                frame["thermal/world_from_camera"] = world_from_camera
                if plan.cloud_topic is not None:
                    frame["thermal/depth"] = self._depth(message.stamp, world_from_camera)
        if plan.rgb_topic is not None:
            frame |= self._colour(message.stamp)
        return frame

    def _depth(self, stamp: int, world_from_camera: Float64[np.ndarray, "4 4"]) -> Float32[np.ndarray, "h w"]:
        near = sorted(self._scans, key=lambda scan: abs(scan[0] - stamp))[: self.plan.scans]
        world = np.concatenate([points for _, points in near]) if near else np.zeros((0, 3))
        lens = self.plan.thermal
        depth = lidar.project(world, np.linalg.inv(world_from_camera), lens.K, lens.size)
        return depth if self.plan.keep_hidden else lidar.without_hidden(depth)

    def _colour(self, stamp: int) -> records.Frame:
        plan = self.plan
        near = min(self._colours, key=lambda message: abs(message.stamp - stamp), default=None)
        # Twice the delay: who belongs together was decided by when messages were written.
        if near is None or abs(near.stamp - stamp) > 2 * plan.rgb_delay:
            away = "none" if near is None else f"{abs(near.stamp - stamp) / 1e9:.3f} s away"
            raise UserError(
                f"{plan.bag}: the RGB image nearest to the thermal one at {stamp / 1e9:.3f} s is {away}; prepare "
                "without --rgb"
            )
        image = bags.image(near, str(plan.bag))
        if image.shape != (*plan.rgb.size, 3):
            raise UserError(
                f"{plan.bag}: RGB images are {image.shape}, the lens is calibrated for {(*plan.rgb.size, 3)}; give the "
                "right --rig or --rgb-kalibr"
            )
        found: records.Frame = {"rgb/image": self._rgb.image(image), "rgb/K": plan.rgb.K}
        if plan.rgb_from_thermal is not None:
            found["rgb_from_thermal"] = plan.rgb_from_thermal
        return found
