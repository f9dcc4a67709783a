"""A nuScenes tree in the released layout, generated round known points: tables, JPEG, `.pcd.bin`, `.pcd`."""

import json

import cv2
import numpy as np
from rig_scene import motion, turn

SIZE = (900, 1600)
K = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])
FRAMES = 3
SAMPLE, SWEEP = (
    500_000,
    50_000,
)  # microseconds between samples; LiDAR and radar are before the camera by so much
# Camera axes (x right, y down, z ahead) in the ego's (x ahead, y left, z up), then where the sensors sit.
AHEAD = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])
EGO_FROM = {
    "CAM_FRONT": motion(turn("z", 0.5) @ AHEAD, (1.7, 0.02, 1.5)),
    "LIDAR_TOP": motion(turn("z", -90), (0.94, 0, 1.84)),
    "RADAR_FRONT": motion(turn("z", 0.8), (3.4, 0, 0.5)),
}
RADAR_KINDS = [
    "x", "y", "z", "dyn_prop", "id", "rcs", "vx", "vy", "vx_comp", "vy_comp", "is_quality_valid", "ambig_state",
    "x_rms", "y_rms",
]  # fmt: skip
STILL = np.array([[22.0, 3.0, 1.0], [30.0, -4.0, 2.0], [38.0, 1.0, 0.5], [26.0, -1.0, 3.0], [45.0, 6.0, 1.5]])
MOVING = np.array([25.0, 5.0, 1.0])  # of frame 0; it drives away at 4 m a sample, in its box
RETURNS = np.array(
    [[20.0, 0.5, 0.0, 12.0, -5.0, 0.4], [33.0, -3.0, 0.0, -8.0, 2.0, -0.3], [-9.0, 0, 0, 3.0, 0, 0]]
)


def world_from_ego(microseconds):
    """Driving ahead in a slight curve, from anywhere in the world; 2 m a sample."""
    s = microseconds / SAMPLE
    return motion(turn("z", 30 + 0.6 * s), (600 + 1.7 * s, 1600 + 1.0 * s, 0.1))


def world(points):
    """World points of points given in the ego's axes at time 0."""
    start = world_from_ego(0)
    return points @ start[:3, :3].T + start[:3, 3]


def moving(frame):
    return MOVING + np.array([4.0 * frame, 0, 0])


def quaternion(R):
    w = np.sqrt(max(0, 1 + R[0, 0] + R[1, 1] + R[2, 2])) / 2
    if w < 1e-6:
        raise ValueError("a half turn")
    return [w, (R[2, 1] - R[1, 2]) / (4 * w), (R[0, 2] - R[2, 0]) / (4 * w), (R[1, 0] - R[0, 1]) / (4 * w)]


def pose(matrix):
    return {"rotation": quaternion(matrix[:3, :3]), "translation": matrix[:3, 3].tolist()}


def write_pcd(path, returns):
    """x y z rcs vx vy of a radar scan, with the release's other fields at 0."""
    kinds = {"dyn_prop": ("I", 1), "id": ("I", 2), "is_quality_valid": ("I", 1), "ambig_state": ("I", 1)}
    kinds |= {"x_rms": ("I", 1), "y_rms": ("I", 1)}
    types = [kinds.get(name, ("F", 4)) for name in RADAR_KINDS]
    rows = np.zeros(
        len(returns),
        np.dtype([(n, f"<{t.lower()}{s}") for n, (t, s) in zip(RADAR_KINDS, types, strict=True)]),
    )
    for name, column in zip(("x", "y", "z", "rcs", "vx", "vy"), np.transpose(returns), strict=True):
        rows[name] = column
    head = [
        "# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", "FIELDS " + " ".join(RADAR_KINDS),
        "SIZE " + " ".join(str(s) for _, s in types), "TYPE " + " ".join(t for t, _ in types),
        "COUNT " + " ".join("1" for _ in types), f"WIDTH {len(rows)}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(rows)}", "DATA binary",
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\n".join(head) + "\n").encode() + rows.tobytes())


def write(
    root, version="v1.0-trainval", scenes=(("scene-0001", "Parked cars"), ("scene-0003", "Night, rain"))
):
    """FRAMES samples of every (scene, description), one radar sweep before each but the first."""
    tables = {name: [] for name in (
        "scene", "sample", "sample_data", "sensor", "calibrated_sensor", "ego_pose", "sample_annotation"
    )}  # fmt: skip
    for channel, matrix in EGO_FROM.items():
        tables["sensor"].append({"token": f"s-{channel}", "channel": channel})
        intrinsic = K.tolist() if channel == "CAM_FRONT" else []
        tables["calibrated_sensor"].append(
            {
                "token": f"c-{channel}",
                "sensor_token": f"s-{channel}",
                "camera_intrinsic": intrinsic,
                **pose(matrix),
            }
        )
    tables["sensor"].append({"token": "s-CAM_BACK", "channel": "CAM_BACK"})
    for scene, description in scenes:
        _scene(root, tables, scene, description)
    (root / version).mkdir(parents=True)
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows))


def _scene(root, tables, scene, description):
    tokens = [f"{scene}-{i}" for i in range(FRAMES)]
    tables["scene"].append(
        {"token": scene, "name": scene, "description": description, "first_sample_token": tokens[0]}
    )
    for i, token in enumerate(tokens):
        after = tokens[i + 1] if i + 1 < FRAMES else ""
        tables["sample"].append({"token": token, "next": after, "scene_token": scene})
        now = i * SAMPLE
        box = motion(world_from_ego(0)[:3, :3], world(moving(i)[None])[0])
        tables["sample_annotation"].append(
            {"token": f"a-{token}", "sample_token": token, "size": [2, 4, 2], **pose(box)}
        )
        for channel, when, key in (
            ("CAM_FRONT", now, True), ("LIDAR_TOP", now - SWEEP, True), ("RADAR_FRONT", now - SWEEP // 2, True),
            *([("RADAR_FRONT", now - 3 * SWEEP, False)] if i else []),
        ):  # fmt: skip
            _data(root, tables, token, channel, when, key, i)


def _data(root, tables, token, channel, when, key, i):
    name = f"{token}-{channel}-{when}"
    suffix = {"CAM_FRONT": "jpg", "LIDAR_TOP": "pcd.bin", "RADAR_FRONT": "pcd"}[channel]
    file = f"{'samples' if key else 'sweeps'}/{channel}/{name}.{suffix}"
    tables["ego_pose"].append({"token": f"e-{name}", "timestamp": when, **pose(world_from_ego(when))})
    row = {
        "token": name, "sample_token": token, "ego_pose_token": f"e-{name}", "calibrated_sensor_token": f"c-{channel}",
        "filename": file, "timestamp": 1_530_000_000_000_000 + when, "is_key_frame": key, "prev": "", "next": "",
    }  # fmt: skip
    if key and channel == "RADAR_FRONT" and i:
        row["prev"] = f"{token}-{channel}-{i * SAMPLE - 3 * SWEEP}"
    tables["sample_data"].append(row)
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    sensor_from_world = np.linalg.inv(world_from_ego(when) @ EGO_FROM[channel])
    if channel == "CAM_FRONT":
        image = np.full((*SIZE, 3), 40 + 30 * i, np.uint8)
        cv2.imwrite(str(path), image)
    elif channel == "LIDAR_TOP":
        points = world(
            np.concatenate([STILL[i:], moving(i)[None]])
        )  # the first frames see more than the later ones
        points = points @ sensor_from_world[:3, :3].T + sensor_from_world[:3, 3]
        np.hstack([points, np.zeros((len(points), 2))]).astype(np.float32).tofile(path)
    else:
        write_pcd(path, RETURNS if key else RETURNS[:1])


def seen(points, frame):
    """(u, v, z) in a frame's camera of points given in the ego's axes at time 0."""
    camera_from_world = np.linalg.inv(world_from_ego(frame * SAMPLE) @ EGO_FROM["CAM_FRONT"])
    x, y, z = camera_from_world[:3, :3] @ world(np.atleast_2d(points)).T + camera_from_world[:3, 3:]
    return K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2], z
