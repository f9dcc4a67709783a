"""What both sides of the comparison with kornia start from: images, depth, motions and cameras from a seed."""

from __future__ import annotations

import pathlib

import numpy as np

FILE = pathlib.Path(__file__).parent / "golden" / "kornia.npz"
B, H, W = 3, 20, 28


def given() -> dict[str, np.ndarray]:
    """float64: two images [b h w 3] in [0, 1], depth [b h w 1] in metres, vectors [b 6] (t, axis-angle), K [b 3 3].

    The first motion stands still, the second is small, the third leads a good part of the view out of the image.
    """
    rng = np.random.default_rng(20)
    v, u = np.mgrid[:H, :W]
    waves = [
        0.5 + 0.4 * np.sin(u / a + v / b + np.arange(3)[:, None, None]) for a, b in ((3, 5), (2, 7), (6, 2))
    ]
    image = np.stack(waves).transpose(0, 2, 3, 1) + 0.1 * rng.random((B, H, W, 3))
    depth = 4 + 3 * np.sin(u / 9) * np.cos(v / 7) + rng.random((B, H, W))
    vector = np.array(
        [[0, 0, 0, 0, 0, 0], [0.1, -0.05, 0.2, 0.01, -0.02, 0.015], [1.5, 0.4, -0.8, -0.1, 0.2, 0.3]],
        np.float64,
    )
    K = np.array([[[25.0 + i, 0, 13.2], [0, 27.0 - i, 9.6], [0, 0, 1]] for i in range(B)])
    return {
        "image": np.clip(image, 0, 1),
        "other": rng.random((B, H, W, 3)),
        "depth": depth[..., None],
        "vector": vector,
        "K": K,
    }
