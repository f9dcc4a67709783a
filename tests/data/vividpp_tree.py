"""ViViD++ bags, generated: a car on a closed-form path past known points, a distorted lens, a turning LiDAR."""

import numpy as np
from rig_scene import SIDE, Camera, motion, points, turn
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore

from tdepth_jax.data.datasets import vividpp

STORE = get_typestore(Stores.ROS1_NOETIC)
FRAMES, SCANS = 12, 16
START = 1_600_000_000_000_000_000
RATE, SCAN_RATE = 15.0, 10.0
# LiDAR: x forward, y left, z up; the car's rig has the cameras' axes (x right, y down, z forward).
RIG_FROM_LIDAR = motion(np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]]), (0.0, -0.4, -0.3))
RIG = {
    name: Camera(one.K, one.size, motion(turn("y", angle), (x, 0, 0)))
    for name, one, angle, x in (
        ("thermal", vividpp.RIGS["driving"].thermal, 1.0, 0.1),
        ("rgb", vividpp.RIGS["driving"].rgb, -0.5, -0.1),
    )
}
POINTS = points(np.random.default_rng(11), 30)
COUNTS, GREY = 3000 + 40 * np.arange(30), 5 + 8 * np.arange(30)


def pose(ns):
    """world_from_rig at a time: 8 m/s forward in a curve; a closed form, so that any moment can be asked for."""
    s = (ns - START) / 1e9
    first = motion(turn("y", 10), (3, -1, 2))
    return first @ motion(turn("y", 6.0 * s), (0.3 * s, 0, 8.0 * s))


def fisheye(u, v, one):
    """Where OpenCV's fisheye lens puts the pinhole pixel (u, v): written out from its definition."""
    fx, fy, cx, cy = one.fx_fy_cx_cy
    x, y = (u - cx) / fx, (v - cy) / fy
    r = np.hypot(x, y)
    t = np.arctan(r)
    k1, k2, k3, k4 = one.coefficients
    d = t * (1 + k1 * t**2 + k2 * t**4 + k3 * t**6 + k4 * t**8)
    scale = np.where(r > 1e-9, d / np.maximum(r, 1e-9), 1.0)
    return fx * x * scale + cx, fy * y * scale + cy


def distorted_picture(name, ns):
    """The points as squares where the distorted lens shows them, nearer over farther."""
    camera, one = RIG[name], getattr(vividpp.RIGS["driving"], name)
    u, v, z = camera.project(POINTS, pose(ns))
    ud, vd = fisheye(u, v, one)
    values, background = (COUNTS, 2900) if name == "thermal" else (GREY, 0)
    image = np.full(camera.size, float(background))
    wide = SIDE + 2
    for i in np.argsort(-z):
        x, y = round(float(ud[i])), round(float(vd[i]))
        if z[i] > 0.5 and wide <= x < camera.size[1] - wide and wide <= y < camera.size[0] - wide:
            image[y - wide : y + wide + 1, x - wide : x + wide + 1] = values[i]
    return image.astype(np.uint16 if name == "thermal" else np.uint8)


def scan(begin):
    """One turn of the LiDAR in 0.1 s: the points' surroundings, each seen at its own moment. (xyz, ns after begin)."""
    rng = np.random.default_rng(begin % 2**32)
    offsets = rng.integers(0, 10**8, 30 * 400)
    # A patch round every point, across the camera's view: as wide as two pixels.
    around = np.repeat(POINTS, 400, 0) + rng.uniform(-0.03, 0.03, (30 * 400, 3)) * [1, 1, 0]
    seen = np.empty((len(around), 3))
    for k, (p, dt) in enumerate(zip(around, offsets, strict=True)):
        lidar_from_world = np.linalg.inv(pose(begin + int(dt)) @ RIG_FROM_LIDAR)
        seen[k] = lidar_from_world[:3, :3] @ p + lidar_from_world[:3, 3]
    order = np.argsort(offsets, kind="stable")
    return seen[order], offsets[order]


def header(ns):
    return STORE.types["std_msgs/msg/Header"](
        seq=0,
        stamp=STORE.types["builtin_interfaces/msg/Time"](sec=ns // 10**9, nanosec=ns % 10**9),
        frame_id="x",
    )


def image_message(ns, picture, encoding):
    data = np.frombuffer(np.ascontiguousarray(picture).tobytes(), np.uint8)
    step = picture.shape[1] * picture.itemsize * (3 if picture.ndim == 3 else 1)
    return STORE.types["sensor_msgs/msg/Image"](
        header(ns), picture.shape[0], picture.shape[1], encoding, 0, step, data
    )


def cloud_message(ns, xyz, offsets):
    """As an Ouster driver writes it: padding between the fields, t in nanoseconds after the header's time."""
    layout = np.dtype(
        {"names": ["x", "y", "z", "intensity", "t"], "formats": ["<f4"] * 4 + ["<u4"], "offsets": [0, 4, 8, 16, 20],
         "itemsize": 32}
    )  # fmt: skip
    rows = np.zeros(len(xyz) + 2, layout)
    rows["x"][2:], rows["y"][2:], rows["z"][2:] = xyz.T
    rows["t"][2:] = offsets
    rows["x"][1] = np.nan  # row 0 is a beam without return
    field = STORE.types["sensor_msgs/msg/PointField"]
    fields = [
        field(name, layout.fields[name][1], 6 if name == "t" else 7, 1)
        for name in ("x", "y", "z", "intensity", "t")
    ]
    return STORE.types["sensor_msgs/msg/PointCloud2"](
        header(ns),
        1,
        len(rows),
        fields,
        False,
        32,
        32 * len(rows),
        np.frombuffer(rows.tobytes(), np.uint8),
        False,
    )


def write_bag(path, *, skip=(), no=(), late=7_000_000_000):
    """Every message is written `late` nanoseconds after its header says: the two clocks differ in the release."""
    found = []
    for i in range(FRAMES):
        ns = START + 200_000_000 + round(i * 1e9 / RATE)
        if i not in skip:
            found.append(
                (ns, "/thermal/image_raw", image_message(ns, distorted_picture("thermal", ns), "mono16"))
            )
        if "rgb" not in no and i != 7:
            grey = distorted_picture("rgb", ns + 4_000_000)
            colour = np.stack([0 * grey, 0 * grey + 9, grey], -1)  # BGR: red is the grey
            found.append(
                (ns + 4_000_000, "/camera/image_color", image_message(ns + 4_000_000, colour, "bgr8"))
            )
    for i in range(0 if "lidar" in no else SCANS):
        ns = START + round(i * 1e9 / SCAN_RATE)
        found.append((ns, "/ouster/points", cloud_message(ns, *scan(ns))))
    with Writer(path) as writer:
        connections = {}
        for ns, topic, message in sorted(found, key=lambda one: one[0]):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], ns + late, STORE.serialize_ros1(message, kind))


def write_poses(folder, name):
    folder.mkdir(exist_ok=True)
    moments = [START + round(i * 5e7) for i in range(36)]
    rows = [(pose(ns) @ RIG_FROM_LIDAR)[:3].reshape(12) for ns in moments]
    np.savetxt(folder / f"{name}_optimized_poses.txt", rows)
    (folder / f"{name}_times.txt").write_text("".join(f"{ns / 1e9:.6f}\n" for ns in moments))


def extrinsic(name):
    return np.linalg.inv(RIG[name].rig_from_camera) @ RIG_FROM_LIDAR
