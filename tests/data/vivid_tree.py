"""ViViD trees in both layouts, generated round known points: what the builder is tested against."""

import cv2
import numpy as np
from rig_scene import Camera, K, draw, drive, motion, points, turn

FRAMES = 8
RIG = {
    "Thermal": Camera(
        K(435.0, 322.0, 254.5), (512, 640), motion(turn("y", 1) @ turn("z", -1.5), (0.08, 0.03, 0.01))
    ),
    "RGB": Camera(K(530.0, 321.0, 238.0), (480, 640), motion(turn("x", 2), (-0.04, 0, 0.02))),
}
RGB_FROM_THERMAL = np.linalg.inv(RIG["RGB"].rig_from_camera) @ RIG["Thermal"].rig_from_camera
POSES = drive(FRAMES)
POINTS = points(np.random.default_rng(3))
COUNTS, GREY = 3000 + 40 * np.arange(len(POINTS)), 5 + 10 * np.arange(len(POINTS))
# The sum passes 0.15 at frames 2, 3, 6 and 8 (numbers from 1); by hand.
VELOCITIES = [0.10, 0.06, 0.20, 0.05, 0.05, 0.051, 0.15, 0.01]
KEPT = [2, 3, 6, 8]


def picture(name, i):
    image, depth = draw(
        RIG[name], POINTS, POSES[i], COUNTS if name == "Thermal" else GREY, 2900 * (name == "Thermal")
    )
    if name == "Thermal":
        return image.astype(np.uint16), depth
    return np.stack([0 * image, 0 * image + 9, image], -1).astype(np.uint8), depth  # BGR: red is the grey


def rows(name):
    return np.stack([(pose @ RIG[name].rig_from_camera)[:3].reshape(12) for pose in POSES])


def write_processed(root, sequence, first=1):
    """KAIST_VIVID as released; files are numbered from 1."""
    folder = root / sequence
    for name, depth_name, short in (("Thermal", "data_THERMAL", "thermal"), ("RGB", "data_RGB", "RGB")):
        (folder / name / "data").mkdir(parents=True)
        (folder / "Warped_Depth" / depth_name).mkdir(parents=True)
        for i in range(FRAMES):
            image, depth = picture(name, i)
            cv2.imwrite(str(folder / name / "data" / f"{i + first:06d}.png"), image)
            np.save(folder / "Warped_Depth" / depth_name / f"{i + first:06d}.npy", depth)
        np.savetxt(folder / f"poses_{short}.txt", rows(name))
        (folder / name / "timestamps.txt").write_text(
            "".join(f"{1550000000 + i / 20:.9f}\n" for i in range(FRAMES))
        )
    np.savetxt(folder / "avg_velocity_thermal.txt", VELOCITIES)


def write_calibration(root, name="calib_ther_to_rgb.yaml", **changes):
    (root / "calibration").mkdir(exist_ok=True)
    values = {
        "K_Thermal": RIG["Thermal"].K,
        "K_RGB": RIG["RGB"].K,
        "R": RGB_FROM_THERMAL[:3, :3],
        "T": RGB_FROM_THERMAL[:3, 3],
    } | changes
    lines = ["calib_time: 09-Jan-2019 13:57:47"]
    lines += [
        f"{key}: {' '.join(map(str, np.ravel(value)))}" for key, value in values.items() if value is not None
    ]
    (root / "calibration" / name).write_text("\n".join(lines) + "\n")


def write_prepared(root, sequence, size=(256, 320)):
    """What the authors' script writes: images at 320x256, K's rows scaled, depth as it was."""
    folder = root / sequence
    for name, letter in (("Thermal", "T"), ("RGB", "RGB")):
        for part in (name, f"Depth_{letter}"):
            (folder / part).mkdir(parents=True)
        for i in np.array(KEPT) - 1:
            image, depth = picture(name, i)
            cv2.imwrite(str(folder / name / f"{i + 1:06d}.png"), cv2.resize(image, size[::-1]))
            np.save(folder / f"Depth_{letter}" / f"{i + 1:06d}.npy", depth)
        scaled = RIG[name].K.copy()
        scaled[0] *= size[1] / RIG[name].size[1]
        scaled[1] *= size[0] / RIG[name].size[0]
        np.savetxt(folder / f"cam_{letter}.txt", scaled)
        np.savetxt(folder / f"poses_{letter}.txt", rows(name)[np.array(KEPT) - 1], fmt="%.6e")
    np.savetxt(folder / "Tr_T2RGB.txt", RGB_FROM_THERMAL)
