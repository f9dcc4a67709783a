"""Inference of XD-RCDepth's student, batch 1, float32, at 352 x 704: frames a second, and where the operations are.

  python benchmarks/xdrc_inference.py                              # here alone
  python benchmarks/xdrc_inference.py --torch VENV/bin/python      # and the same network in PyTorch, in turns

The input size is the crop that LiRCDepth and CaFNet train with (352 x 704); --size=896,1600 is what they score nuScenes
at. Prints the multiplications (of products and convolutions, counted layer by layer from the shapes), the medians, and
with --torch also median and quartiles of the ratio of neighbouring runs. VENV needs torch alone; the network in
twins.py has as many parameters and random weights. --device=cuda runs it on a GPU (JAX takes its own).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import turns
import twins

SIZE = (352, 704)
PARAMETERS = 8_012_165


def of_jax(size: tuple[int, int]) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp

    from tdepth_jax.models.radar_camera import RadarCameraConfig, RadarCameraNet

    net = RadarCameraNet(RadarCameraConfig("xd", dtype="float32"))
    image, radar = jnp.zeros((1, *size, 3)), jnp.zeros((1, *size, 4))
    variables = jax.jit(net.init)(jax.random.key(0), image[:, :64, :64], radar[:, :64, :64])
    _check(sum(x.size for x in jax.tree.leaves(variables["params"])))
    start = time.perf_counter()
    run = jax.jit(net.apply).lower(variables, image, radar).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    return lambda: run(variables, image, radar).block_until_ready()


def of_torch(size: tuple[int, int], device: str = "cpu") -> Callable[[], None]:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = twins.radar_camera().eval().to(device).to(memory_format=torch.channels_last)
    _check(sum(p.numel() for p in net.parameters()))
    image, radar = (
        torch.zeros(1, c, *size, device=device).to(memory_format=torch.channels_last) for c in (3, 4)
    )

    def run() -> None:
        with torch.inference_mode():
            net(image, radar)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _check(parameters: int) -> None:
    if parameters != PARAMETERS:
        raise SystemExit(f"this network has {parameters} parameters, not {PARAMETERS}: the twins differ")


def multiplications(size: tuple[int, int]) -> dict[str, float]:
    """Multiply-adds of products and convolutions, in millions."""
    h, w = size

    def encoder() -> tuple[float, float]:
        pixels, width = h * w / 4, 32
        full, depthwise = pixels * 27 * 32, 0.0
        for t, c, n, s in twins.STAGES:
            for i in range(n):
                wide, stride = t * width, s if i == 0 else 1
                full += pixels * width * wide * (t != 1)
                pixels /= stride**2
                depthwise += pixels * 9 * wide
                full += pixels * wide * c
                width = c
        return full + pixels * 320 * 1280, depthwise

    full, depthwise = encoder()
    at = {n: h * w / 4**n for n in range(1, 6)}
    decoder = (
        at[5] * 1280 * 128
        + at[4] * 192 * 96
        + at[3] * 128 * 64
        + at[2] * 88 * 48
        + at[1] * (64 * 32 + 9 * 32)
    )
    decoder += at[3] * (sum((64 + 32 * i) * 64 + 64 * 32 for i in range(5)) + 224 * 64)
    narrow = 9 * (at[4] * 192 + at[3] * (128 + 5 * 64) + at[2] * 88 + at[1] * 64)
    found = {
        "radar to 3 channels": h * w * 9 * 4 * 3, "both encoders, products": 2 * full,
        "both encoders, depthwise": 2 * depthwise, "decoder, products": decoder, "decoder, depthwise": narrow,
    }  # fmt: skip
    return {name: count / 1e6 for name, count in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--size", default=",".join(map(str, SIZE)), help="height,width [%(default)s]")
    parser.add_argument("--device", default="cpu", help="of the PyTorch twin [%(default)s]")
    parser.add_argument("--serve", choices=("jax", "torch"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    height, width = map(int, flags.size.split(","))
    if flags.serve:
        turns.serve(
            of_jax((height, width)) if flags.serve == "jax" else of_torch((height, width), flags.device)
        )
        raise SystemExit
    counts = multiplications((height, width))
    for name, count in counts.items():
        print(f"{name}: {count:.0f} M multiply-adds")
    print(f"all: {sum(counts.values()) / 1e3:.2f} G multiply-adds at {height} x {width}")
    pythons = {"jax": sys.executable, **({"torch": flags.torch} if flags.torch else {})}
    times = turns.take(
        {
            name: [python, __file__, f"--size={flags.size}", f"--device={flags.device}", "--serve", name]
            for name, python in pythons.items()
        },
        flags.runs,
    )
    milliseconds = [wall for wall, _ in times["jax"]]
    middle, least = statistics.median(milliseconds), min(milliseconds)
    rate = 2 * sum(counts.values()) / middle  # millions a millisecond: G a second
    print(
        f"tdepth_jax: median {middle:.0f} ms ({1e3 / middle:.1f} frames/s), least {least:.0f} ms, {rate:.0f} GFLOP/s"
    )
    if flags.torch:
        turns.report(times["jax"], times["torch"], "PyTorch")
