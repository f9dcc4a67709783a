"""Thermal and colour frames of one drive in two folders, and `prepare own --rgb` on them."""

import cv2
import numpy as np
from refusals import sentence

from tdepth_jax import prepare

H, W, COUNT = 96, 128, 20
IDENTITY = "--rgb-from-thermal=identity"


def filmed(count=COUNT, seed=0, step=5):
    """(thermal counts, colour frames) of two co-registered cameras that drive past one panorama."""
    rng = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(rng.normal(0, 1, (H, W + step * count)).astype(np.float32), (0, 0), 5)
    wide = np.tanh(4 * wide / wide.std())  # blobs with edges, and levels between
    thermal, colour = [], []
    for i in range(count):
        part = wide[:, i * step : i * step + W]
        thermal.append(np.rint(8000 + 900 * part + rng.normal(0, 4, part.shape)).astype(np.uint16))
        grey = 130 - 60 * part[..., None] * (1, 0.8, 0.6) + rng.normal(0, 4, (*part.shape, 3))
        colour.append(np.clip(grey, 0, 255).astype(np.uint8))
    return thermal, colour


def write(folder, frames, names=None, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        path = folder / f"{f'{i:03d}' if names is None else names[i]}.{suffix}"
        cv2.imwrite(str(path), frame if frame.ndim == 2 else frame[..., ::-1])
    return folder


def lines(values):
    return "\n".join(f"{value:.4f}" for value in values)


def two_folders(folder):
    """thermal/ and rgb/ with frames of equal names, in `folder`/raw."""
    thermal, colour = filmed()
    write(folder / "raw" / "thermal", thermal)
    write(folder / "raw" / "rgb", colour)
    return folder / "raw"


def run(raw, *more, thermal="thermal", rgb="rgb"):
    camera = [] if any(flag.startswith("--intrinsics") for flag in more) else ["--fov-x=60"]
    out = raw.parent / "out"
    flags = [f"--raw={raw / thermal}", f"--rgb={raw / rgb}", f"--out={out}", "--jobs=1", "--name=mine"]
    prepare.main(["own", *flags, *camera, *more])
    return out / "mine"


def refused(capsys, raw, *more, **places):
    return sentence(capsys, raw.parent / "out", lambda: run(raw, *more, **places))
