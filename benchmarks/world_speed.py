"""Frames a second of the world's renderer, all modalities, in separate processes of one thread each.

`python benchmarks/world_speed.py [--processes 2]` prints one line per process and the total.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import time

SECONDS = 8.0


def _work(first: int) -> tuple[int, float]:
    import cv2

    from tdepth_jax.data import world

    cv2.setNumThreads(1)
    specs = world.sequences("train")
    frames, k, start = 0, first, time.perf_counter()
    while time.perf_counter() - start < SECONDS:  # whole sequences, their laying out included
        frames += sum(1 for _ in world.render(specs[k % len(specs)]))
        k += 2
    return frames, time.perf_counter() - start


def main() -> None:
    """Renders for a few seconds in every process and prints the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    count = parser.parse_args().processes
    # Children read this when they import NumPy: threads of a BLAS in every process only get in each other's way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(count, mp_context=context) as pool:
        results = list(pool.map(_work, range(count)))
    for i, (frames, seconds) in enumerate(results):
        print(f"process {i}: {frames} frames in {seconds:.1f} s = {frames / seconds:.1f} frames/s")
    print(f"total: {sum(f / s for f, s in results):.1f} frames/s at 160x128, all modalities")


if __name__ == "__main__":
    main()
