"""CPU inference of ViT-B + Depth Anything head, batch 1, here and in PyTorch (transformers), one after another.

  python benchmarks/models_inference.py jax            # with tdepth_jax installed
  python benchmarks/models_inference.py torch          # with torch and transformers installed

Prints the median of the wall and of the CPU milliseconds per image; give both the same cores (taskset).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable


def of_jax(size: tuple[int, int]) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp

    from tdepth_jax.models.depth import DepthConfig, DepthNet

    net = DepthNet(DepthConfig(output="relu_disparity", dtype="float32"))
    images = jnp.zeros((1, *size, 3))
    params = jax.jit(net.init)(jax.random.key(0), images)
    start = time.perf_counter()
    run = jax.jit(net.apply).lower(params, images).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    return lambda: run(params, images).block_until_ready()


def of_torch(size: tuple[int, int]) -> Callable[[], None]:
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    backbone = Dinov2Config(
        hidden_size=768, num_attention_heads=12, image_size=518, patch_size=14, out_indices=[3, 6, 9, 12],
        reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=768, patch_size=14, fusion_hidden_size=128,
        neck_hidden_sizes=[96, 192, 384, 768], head_hidden_size=32,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config).eval()
    images = torch.zeros(1, 3, *size)

    def run() -> None:
        with torch.inference_mode():
            model(images)

    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", choices=("jax", "torch"))
    parser.add_argument("--runs", type=int, default=10)
    flags = parser.parse_args()
    run = {"jax": of_jax, "torch": of_torch}[flags.library]((252, 322))
    run()
    wall, cpu = [], []
    for _ in range(flags.runs):
        start = time.perf_counter(), time.process_time()
        run()
        wall.append(1e3 * (time.perf_counter() - start[0]))
        cpu.append(1e3 * (time.process_time() - start[1]))
    print(
        f"{flags.library}: wall {statistics.median(wall):.0f} ms, CPU {statistics.median(cpu):.0f} ms per image"
    )
