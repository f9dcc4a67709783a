"""Temporal mapping of snippets on the device, in the step, or on the host: which is faster?

  python benchmarks/temporal_mapping.py [--size 256 320] [--batch 4]

The host does the same with NumPy and OpenCV's CLAHE, on one thread per snippet, as the data pipeline would. In turns,
medians. On an accelerator the host's time hides behind the step as long as the pipeline keeps up; on a CPU both use the
same cores, and the ratio decides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import jax
import numpy as np

from tdepth_jax.data import world
from tdepth_jax.thermal import mapping


def on_host(counts: np.ndarray) -> np.ndarray:
    """[t h w 1] uint16 -> [t h w 1] in [0, 1]."""
    x = counts.astype(np.float32)
    low, high = (f(x, axis=(1, 2, 3)).mean() for f in (np.min, np.max))
    unit = np.clip((x - low) / max(high - low, 1.0), 0, 1)
    share = np.bincount(
        np.minimum((unit * mapping.BINS).astype(int), mapping.BINS - 1).ravel(), minlength=mapping.BINS
    )
    heights = np.concatenate([[0], np.cumsum(share / share.sum())])
    mapped = np.interp(unit, np.linspace(0, 1, mapping.BINS + 1), heights)
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(mapping.TILES, mapping.TILES))
    grey = np.stack([clahe.apply(g) for g in (mapped[..., 0] * 255).astype(np.uint8)])
    return grey[..., None].astype(np.float32) / 255


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=20)
    flags = parser.parse_args()
    height, width = flags.size
    spec = world.sequences("test", count=1, frames=3, height=height, width=width)[0]
    snippet = np.stack([f["thermal/image"] for f in world.render(spec)])[..., None]
    batch = np.stack([snippet] * flags.batch)
    device = jax.jit(mapping.temporal_mapping)
    off = np.abs(np.asarray(device(batch)) - np.stack([on_host(s) for s in batch])) * 255
    print(f"difference: at most {off.max():.0f} grey levels, {np.mean(off > 0.5):.2%} of pixels by any")
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor()
    times: dict[str, list[float]] = {"device": [], "host": []}
    for _ in range(flags.runs):
        for name, run in (
            ("device", lambda: jax.block_until_ready(device(batch))),
            ("host", lambda: list(pool.map(on_host, batch))),
        ):
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    ratio = statistics.median(a / b for a, b in zip(times["device"], times["host"], strict=True))
    device_ms, host_ms = (statistics.median(times[name]) for name in ("device", "host"))
    print(
        f"{jax.devices()[0].device_kind}, {flags.batch} snippets of 3 {height}x{width} frames: device "
        f"{device_ms:.0f} ms, host {host_ms:.0f} ms, ratio {ratio:.2f}"
    )
