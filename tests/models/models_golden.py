"""Weights and images that both sides of a golden test make for themselves, so that only outputs are stored."""

from __future__ import annotations

import pathlib
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden"
DIM, HEADS, PATCH, POS_GRID = 24, 2, 14, 5
CHANNELS, FEATURES = (8, 8, 16, 16), 16
SIZES = ((70, 70), (56, 98), (84, 42), (45, 67), (71, 90))  # the last two are no multiples of the patch
PIXEL_STEP = 3  # of the depth pixels stored


def weights(spec: list[tuple[str, list[int]]]) -> dict[str, np.ndarray]:
    """Random arrays by name, each from its own seed, of a size that keeps activations near 1."""
    state = {}
    for name, shape in spec:
        noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if len(shape) >= 2 and name.endswith("weight"):
            fan_in = np.prod(shape[1:]) if "resize" not in name else shape[0]
            state[name] = noise / np.float32(np.sqrt(fan_in))
        elif name.endswith(("weight", "gamma", "lambda1", "running_var")):
            state[name] = 1 + 0.2 * noise
        elif name.endswith(("output_conv2.2.bias", "head.conv3.bias", "head.head.4.bias")):
            state[name] = 3 + noise  # above zero, or the last ReLU would hide everything
        else:
            state[name] = 0.3 * noise
    return state


def compiled(function):
    """Compiled without optimisation, which would take longer than these networks run."""
    import jax

    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def image(size: tuple[int, int]) -> np.ndarray:
    """A standardised picture [1 h w 3]."""
    return np.random.RandomState(size[0] * 1000 + size[1]).standard_normal((1, *size, 3)).astype(np.float32)


def center_padded(x: np.ndarray) -> np.ndarray:
    """Zeros around [1 h w 3] to multiples of the patch, as DINOv2's CenterPadding (written from its words)."""
    pads = [(0, 0), *((m // 2, m - m // 2) for m in (-x.shape[1] % PATCH, -x.shape[2] % PATCH)), (0, 0)]
    return np.pad(x, pads)
