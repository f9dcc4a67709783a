"""MS2 trees in the released layout, generated round known points and a rig of six cameras."""

import cv2
import numpy as np
from rig_scene import Camera, K, draw, drive, motion, points, turn

FRAMES = 5
# Where the cameras sit in the rig (that of the left NIR camera): rotated, apart in all axes, in metres.
THERMAL = motion(turn("y", 1.5) @ turn("x", -1), (0.15, 0.04, -0.03))
RGB = motion(turn("z", 0.7) @ turn("y", -1), (-0.12, -0.05, 0.02))
BASELINES = {"thr": 0.3, "rgb": 0.25, "nir": 0.2}
RIG = {
    "thr": Camera(K(420.0, 315.5, 130.25), (256, 640), THERMAL),
    "rgb": Camera(K(700.0, 610.0, 190.0), (384, 1224), RGB),
    "nir": Camera(K(640.0, 650.0, 170.0), (352, 1280), np.eye(4)),
}
RIG |= {
    f"{name}_right": Camera(cam.K, cam.size, cam.rig_from_camera @ motion(t=(BASELINES[name], 0, 0)))
    for name, cam in list(RIG.items())
}
POSES = drive(FRAMES)
POINTS = points(np.random.default_rng(1))
# What a point looks like: its own count, its own grey.
COUNTS = 3000 + 40 * np.arange(len(POINTS))
GREY = 5 + 10 * np.arange(len(POINTS))


def calib():
    """By the authors' definitions: x_right = R x_left + T; x_thr = R_nir2thr x_nir + T_nir2thr; T in mm."""
    found = {}
    for name in ("thr", "rgb", "nir"):
        found |= {f"K_{name}L": RIG[name].K, f"R_{name}R": np.eye(3)}
        found[f"T_{name}R"] = np.array([[-1000.0 * BASELINES[name]], [0], [0]])
    found["K_thrR"] = RIG["thr"].K
    for name in ("thr", "rgb"):
        other_from_nir = np.linalg.inv(RIG[name].rig_from_camera)
        found |= {f"R_nir2{name}": other_from_nir[:3, :3], f"T_nir2{name}": 1000 * other_from_nir[:3, 3:]}
    return found


def picture(name, i):
    modality = name.removesuffix("_right")
    values, background = (COUNTS, 2900) if modality == "thr" else (GREY, 0)
    image, depth = draw(RIG[name], POINTS, POSES[i], values, background)
    if modality == "thr":
        return image.astype(np.uint16), depth
    if modality == "nir":
        return image.astype(np.uint8), depth
    # OpenCV writes BGR: red is the point's grey, so a swap of channels would show.
    return np.stack([0 * image, 0 * image + 9, image], -1).astype(np.uint8), depth


def write_sequence(root, name):
    sync, proj, odom = (root / part / name for part in ("sync_data", "proj_depth", "odom"))
    for modality in ("thr", "rgb", "nir"):
        for part in ("img_left", "img_right"):
            (sync / modality / part).mkdir(parents=True)
        for part in ("depth", "depth_multi", "depth_filtered", "intensity"):
            (proj / modality / part).mkdir(parents=True)
        (odom / modality).mkdir(parents=True)
        first = POSES[0] @ RIG[modality].rig_from_camera
        for i in range(FRAMES):
            image, depth = picture(modality, i)
            right, _ = picture(f"{modality}_right", i)
            cv2.imwrite(str(sync / modality / "img_left" / f"{i:06d}.png"), image)
            cv2.imwrite(str(sync / modality / "img_right" / f"{i:06d}.png"), right)
            units = np.rint(depth * 256).astype(np.uint16)
            for part, factor in (("depth_filtered", 1), ("depth", 2), ("depth_multi", 3)):
                cv2.imwrite(str(proj / modality / part / f"{i:06d}.png"), (units * factor).astype(np.uint16))
            pose = np.linalg.inv(first) @ POSES[i] @ RIG[modality].rig_from_camera
            np.savetxt(odom / modality / f"{i:06d}.txt", pose)
        for side in ("left", "right"):
            times = [f"{1628215000 + i / 15:.6f}" for i in range(FRAMES)]
            (sync / modality / f"img_{side}_timestamp.txt").write_text("\n".join(times) + "\n")
    np.save(sync / "calib.npy", calib(), allow_pickle=True)
