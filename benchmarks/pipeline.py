"""How quickly records are read, decoded and made into training examples, from either file format.

  python benchmarks/pipeline.py [--size 256x320] [--frames 96] [--seconds 2] [--threads 2]

Writes noise with the statistics of a thermal scene to a temporary folder in both formats (a few seconds), then
prints a table: records/s and MB/s of raw reading at random (checksums verified), frames/s decoded, and images/s
of training batches (snippets of three: read, decoded, augmented, resized, batched). About 20 seconds in all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tdepth_jax.data import records
from tdepth_jax.data.datasets.base import RecordsBuilder
from tdepth_jax.data.datasets.world import parse_size
from tdepth_jax.data.pipeline import DEFAULT_THREADS, train_iterator
from tdepth_jax.data.shards import FORMATS
from tdepth_jax.data.sources import FrameSource, open_split
from tdepth_jax.data.transforms import Augment

OFFSETS = (-1, 0, 1)
KEYS = frozenset({"thermal/image", "thermal/K", "thermal/depth"})


class Scenes(RecordsBuilder):
    """Smooth 14-bit scenes with sensor noise, and their depth: PNG sizes as of real frames."""

    def __init__(self, *, data_dir: Path, size: tuple[int, int], frames: int) -> None:
        self._spec = (size, frames)
        super().__init__(data_dir=data_dir)

    def modalities(self) -> frozenset[str]:
        return KEYS

    def facts(self) -> dict[str, Any]:
        return {}

    def sequences(self) -> dict[str, list]:
        return {"train": [self._spec]}

    @staticmethod
    def frames(spec: tuple[tuple[int, int], int]) -> Iterator[records.Frame]:
        (height, width), count = spec
        rng = np.random.default_rng(0)
        for i in range(count):
            smooth = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 6)
            image = 3000 + 200 * smooth / smooth.std() + rng.normal(0, 3, (height, width))
            yield {
                "sequence": "s", "index": i, "timestamp_ns": i, "condition": "day",
                "thermal/image": image.astype(np.uint16),
                "thermal/K": np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float32),
                "thermal/depth": (20 + 5 * smooth / smooth.std()).clip(1).astype(np.float32),
            }  # fmt: skip


def rate(step: Callable[[int], int], seconds: float) -> float:
    """What `step` counts, per second, over about `seconds`; the first call is not timed."""
    step(0)
    done, start = 0, time.perf_counter()
    calls = 1
    while time.perf_counter() - start < seconds:
        done += step(calls)
        calls += 1
    return done / (time.perf_counter() - start)


def rates(source: FrameSource, size: tuple[int, int], seconds: float, threads: int) -> dict[str, float]:
    order = np.random.default_rng(0).permutation(len(source)).tolist()

    def raw(i: int) -> int:
        return len(source.raw(order[i % len(order)]))

    def decoded(i: int) -> int:
        return len([source[order[i % len(order)]]])

    per_record = sum(len(source.raw(i)) for i in order) / len(order)
    read = rate(raw, seconds)
    with train_iterator(
        source, keys=KEYS, offsets=OFFSETS, image_size=size, batch_size=8, seed=0, augment=Augment(),
        threads=threads,
    ) as batches:  # fmt: skip
        images = rate(lambda i: next(batches)["thermal/image"].shape[0] * len(OFFSETS), seconds)
    return {
        "records/s": read / per_record, "MB/s": read / 1e6, "decoded/s": rate(decoded, seconds),
        "train images/s": images,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=(256, 320), metavar="HxW")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=2.0, help="of every measurement")
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    args = parser.parse_args()
    header = ("format", "records/s", "MB/s", "decoded/s", "train images/s")
    print("  ".join(name.rjust(14) for name in header))
    for file_format in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            Scenes(data_dir=Path(folder), size=args.size, frames=args.frames).prepare(file_format=file_format)
            found = rates(open_split(Path(folder) / "scenes", "train"), args.size, args.seconds, args.threads)
        cells = [file_format, *(f"{found[name]:,.0f}" for name in header[1:])]
        print("  ".join(cell.rjust(14) for cell in cells), flush=True)


if __name__ == "__main__":
    main()
