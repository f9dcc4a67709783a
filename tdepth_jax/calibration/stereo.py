"""Depth of a rectified RGB stereo pair by semi-global matching (Hirschmüller 2008, as in OpenCV)."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

BLOCK = 5  # pixels
SHARE = 0.15  # of the image's width: the largest disparity looked for
LEAST = 1.0  # pixels of disparity; less is too far away to be measured


def inverse_depth(
    left: UInt8[np.ndarray, "h w 3"], right: UInt8[np.ndarray, "h w 3"], focal_baseline: float
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """(1 / metres in the left camera, where left and right agree) from rectified pictures.

    Args:
      focal_baseline: focal length (pixels) times baseline (metres).
    """
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (left, right)]
    most = max(16, 16 * round(SHARE * left.shape[1] / 16))
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=most,
        blockSize=BLOCK,
        P1=8 * BLOCK**2,
        P2=32 * BLOCK**2,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=50,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    disparity = matcher.compute(*grey).astype(np.float32) / 16
    known = disparity >= LEAST
    return np.where(known, disparity / focal_baseline, 0).astype(np.float32), known
