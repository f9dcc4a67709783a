"""Sound thermal frames, and sequences of them, to put faults into."""

import cv2
import numpy as np

H, W = 128, 160


def scene(seed=0, *, low=7000, contrast=300, grain=4.0, width=W):
    """Buildings, trees and ground as a microbolometer shows them: edges, gradients, noise; 14-bit counts."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.normal(0, 1, (H, width)).astype(np.float32), (0, 0), 6)
    image = contrast * image / image.std()
    for _ in range(12):
        y, x, h, w = (
            rng.integers(10, 100),
            rng.integers(0, width - 20),
            rng.integers(5, 40),
            rng.integers(5, 40),
        )
        image[y : y + h, x : x + w] += rng.normal(0, contrast)
    image[:40] -= 3 * contrast  # sky
    image = cv2.GaussianBlur(image, (0, 0), 0.7)
    return np.rint(low + 5 * contrast + image + rng.normal(0, grain, image.shape)).astype(np.uint16)


def drive(count, seed=0, step=4):
    wide = scene(seed, width=W + step * count, grain=0).astype(np.float32)
    rng = np.random.default_rng(seed + 1)
    return np.stack(
        [np.rint(wide[:, i * step : i * step + W] + rng.normal(0, 4, (H, W))) for i in range(count)]
    ).astype(np.uint16)
