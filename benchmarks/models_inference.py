"""CPU inference of ViT-B + Depth Anything head, 252x322, batch 1, float32: here and in PyTorch (transformers).

  python benchmarks/models_inference.py --torch VENV/bin/python      # with tdepth_jax installed

VENV has torch and transformers. Both networks are loaded and warmed up, then take turns, one image each, on the same
cores (taskset) and threads: what else the machine does meets both alike. Prints the medians, and median and quartiles
of the ratio of neighbouring runs, in wall time and in CPU time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import turns

SIZE = (252, 322)


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
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch and transformers")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--serve", choices=("jax", "torch"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        turns.serve({"jax": of_jax, "torch": of_torch}[flags.serve](SIZE))
        raise SystemExit
    if not flags.torch:
        parser.error("--torch=PYTHON is needed")
    interpreters = {"jax": sys.executable, "torch": flags.torch}
    commands = {name: [python, __file__, "--serve", name] for name, python in interpreters.items()}
    times = turns.take(commands, flags.runs)
    turns.report(times["jax"], times["torch"], "PyTorch")
