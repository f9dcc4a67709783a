"""The pose convention on real RGB-D frames: the right motion brings a view onto its neighbour, the inverse does not."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tdepth_jax.geometry import warp

K = np.array([[[518.0, 0, 325.5], [0, 519.0, 253.5], [0, 0, 1]]], np.float32)
# Mean grey error of frame i + 1 against frame i, unwarped and warped, measured apart from this package.
ERRORS = {0: (57, 19), 1: (25, 14), 2: (23, 12), 3: (20, 9)}


def frame(folder, i):
    """(grey levels, metres, world_from_camera)."""
    grey = cv2.imread(str(folder / "color" / f"{i + 1}.png"), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    depth = cv2.imread(str(folder / "depth" / f"{i + 1}.pgm"), cv2.IMREAD_UNCHANGED) / np.float32(1000)
    place = np.loadtxt(folder / "pose.txt")[i]  # x y z qx qy qz qw
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_quat(place[3:]).as_matrix(), place[:3]
    return grey, depth, pose


def errors(target, depth, source, source_from_target):
    """Mean grey error on the pixels that the warp reaches, unwarped and warped."""
    batch = depth[None, ..., None], source_from_target[None].astype(np.float32), K
    pixels, z = warp.reproject(*batch)
    warped, inside = warp.sample(source[None, ..., None], pixels)
    seen = np.asarray(inside & (z > 0.001))[0, ..., 0] & (depth > 0)
    return tuple(
        float(np.abs(target - view)[seen].mean()) for view in (source, np.asarray(warped)[0, ..., 0])
    )


@pytest.mark.real
@pytest.mark.parametrize("i", ERRORS)
def test_the_next_frame_lands_on_this_one_and_not_under_the_inverse_motion(real_data, i):
    target, depth, world_from_target = frame(real_data / "rgbd_pose", i)
    source, _, world_from_source = frame(real_data / "rgbd_pose", i + 1)
    source_from_target = np.linalg.inv(world_from_source) @ world_from_target
    before, after = errors(target, depth, source, source_from_target)
    assert (round(before), round(after)) == ERRORS[i]
    before, after = errors(target, depth, source, np.linalg.inv(source_from_target))
    assert after > 1.15 * before
