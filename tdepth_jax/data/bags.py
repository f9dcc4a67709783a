"""ROS bags, read in order without ROS: images, point clouds, and which of them there are.

Times are those of the messages' headers (`stamp`), the sensors' clock; a bag's own times are when it was written.
Needs the package `rosbags` (the extra `bags`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, Int64, Shaped

from tdepth_jax.errors import UserError

IMAGE, CLOUD = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2"
# OpenCV names a Bayer pattern by the second pixels of its second row, ROS by the first of its first.
_BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
_GREY = {"mono8": np.uint8, "8UC1": np.uint8, "mono16": np.uint16, "16UC1": np.uint16}
_FIELD = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # PointField's numbers


@dataclasses.dataclass(frozen=True)
class Message:
    """One message: its topic, header time in nanoseconds, when it was written, and its content."""

    topic: str
    stamp: int
    written: int
    content: Any


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise UserError("bags are read with the package rosbags: pip install 'tdepth-jax[bags]'") from None
    with contextlib.ExitStack() as stack:
        try:
            reader = stack.enter_context(
                AnyReader([path], default_typestore=get_typestore(Stores.ROS1_NOETIC))
            )
        except Exception as error:  # its own errors, and assertions where an index is damaged
            said = str(error) or type(error).__name__
            raise UserError(f"{path} cannot be read as a ROS bag ({said}); download it again") from error
        yield reader


def topics(path: Path) -> Mapping[str, str]:
    """Topic -> message type.

    Raises:
      UserError: no bag, cut short, or the package is not installed.
    """
    with _opened(path) as reader:
        return {connection.topic: connection.msgtype for connection in reader.connections}


def written_times(path: Path, topic: str) -> Int64[np.ndarray, " n"]:
    """When the messages of a topic were written, in order: from the bag's index, without reading it through."""
    with _opened(path) as reader:
        ids = [connection.id for connection in reader.connections if connection.topic == topic]
        entries = [entry.time for one in reader.readers for cid in ids for entry in one.indexes.get(cid, ())]
    return np.sort(np.array(entries, np.int64))


def messages(path: Path, wanted: Collection[str], *, start: int | None = None) -> Iterator[Message]:
    """The messages of topics in the order they were written, from the written time `start` on.

    Raises:
      UserError: damaged.
    """
    with _opened(path) as reader:
        connections = [connection for connection in reader.connections if connection.topic in wanted]
        if not connections:  # rosbags would take none for all
            return
        found = reader.messages(connections=connections, start=start)
        while True:
            try:
                item = next(found, None)
                content = None if item is None else reader.deserialize(item[2], item[0].msgtype)
            except Exception as error:  # a damaged chunk fails in its decompressor, a header or an assertion
                raise UserError(
                    f"{path} is damaged ({error or type(error).__name__}); download it again"
                ) from error
            if item is None or content is None:
                return
            connection, written, _ = item
            stamp = content.header.stamp
            yield Message(connection.topic, int(stamp.sec) * 10**9 + int(stamp.nanosec), written, content)


def image(message: Message, where: str) -> Shaped[np.ndarray, "h w *c"]:
    """uint8 or uint16 [h, w], or RGB uint8 [h, w, 3], of a sensor_msgs/Image.

    Raises:
      UserError: an encoding that is not known, or too few bytes.
    """
    content = message.content
    encoding, height, step = content.encoding, content.height, content.step
    data = np.asarray(content.data)
    if data.size < height * step or step <= 0:
        raise UserError(
            f"{where}: an image of {message.topic} holds {data.size} bytes, wanted {height * step}"
        )
    rows = data[: height * step].reshape(height, step)
    if encoding in _GREY:
        kind = np.dtype(_GREY[encoding]).newbyteorder(">" if content.is_bigendian else "<")
        rows = np.ascontiguousarray(rows[:, : content.width * kind.itemsize]).view(kind)
        return rows.astype(_GREY[encoding])
    if encoding in _BAYER:
        return cv2.cvtColor(np.ascontiguousarray(rows[:, : content.width]), _BAYER[encoding])
    if encoding in ("rgb8", "bgr8"):
        colours = rows[:, : content.width * 3].reshape(height, content.width, 3)
        return np.ascontiguousarray(colours if encoding == "rgb8" else colours[..., ::-1])
    raise UserError(
        f"{where}: images of {message.topic} are encoded as {encoding!r}; known are "
        f"{', '.join((*_GREY, *_BAYER, 'rgb8', 'bgr8'))}"
    )


def cloud(message: Message, where: str) -> tuple[Float64[np.ndarray, "n 3"], Int64[np.ndarray, " n"]]:
    """(points, nanoseconds) of a sensor_msgs/PointCloud2, without points that are NaN or at the origin (no return).

    A point's own time is the header's plus its field `t` (nanoseconds, Ouster) or `time` (seconds, Velodyne); the
    header's where there is neither.

    Raises:
      UserError: no x, y, z.
    """
    content = message.content
    fields = {field.name: field for field in content.fields}
    if not {"x", "y", "z"} <= set(fields):
        raise UserError(
            f"{where}: clouds of {message.topic} have the fields {', '.join(fields)}, wanted x, y, z"
        )
    order = ">" if content.is_bigendian else "<"
    wanted = [name for name in ("x", "y", "z", "t", "time") if name in fields]
    layout = np.dtype({
        "names": wanted,
        "formats": [order + _FIELD[fields[name].datatype] for name in wanted],
        "offsets": [fields[name].offset for name in wanted],
        "itemsize": content.point_step,
    })  # fmt: skip
    count = content.width * content.height
    data = np.asarray(content.data)
    if content.height > 1 and content.row_step != content.width * content.point_step:
        rows = data.reshape(content.height, content.row_step)[:, : content.width * content.point_step]
        data = np.ascontiguousarray(rows).reshape(-1)
    found = np.frombuffer(data.tobytes(), layout, count)
    points = np.stack([found[axis].astype(np.float64) for axis in "xyz"], 1)
    times = np.full(count, message.stamp, np.int64)
    if "t" in wanted:
        times += found["t"].astype(np.int64)
    elif "time" in wanted:
        times += np.rint(found["time"].astype(np.float64) * 1e9).astype(np.int64)
    good = np.isfinite(points).all(axis=1) & (points != 0).any(axis=1)
    return points[good], times[good]
