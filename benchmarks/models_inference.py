"""CPU inference of a ViT + Depth Anything head, float32: here and in PyTorch (transformers).

  python benchmarks/models_inference.py --torch VENV/bin/python [--backbone vits] [--size 518,518] [--batch 4]

With tdepth_jax installed; VENV has torch and transformers. Both networks are loaded and warmed up, then take turns, one
batch each, on the same cores (taskset) and threads: what else the machine does meets both alike. Prints the medians,
and median and quartiles of the ratio of neighbouring runs, in wall time and in CPU time. transformers' network has a
mask token and a first residual unit more, which it does not use.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import turns

WIDTHS = {"vits": (384, 6, 64, (48, 96, 192, 384)), "vitb": (768, 12, 128, (96, 192, 384, 768))}  # published


def of_jax(flags: argparse.Namespace) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp

    from tdepth_jax.models.depth import DepthConfig, DepthNet

    _, _, features, channels = WIDTHS[flags.backbone]
    config = DepthConfig(
        backbone=flags.backbone, dpt_features=features, dpt_channels=channels, output="relu_disparity", dtype="float32"
    )  # fmt: skip
    net, images = DepthNet(config), jnp.zeros((flags.batch, *flags.size, 3))
    params = jax.jit(net.init)(jax.random.key(0), images[:1])
    print(f"{sum(x.size for x in jax.tree.leaves(params)):,} parameters")
    start = time.perf_counter()
    run = jax.jit(net.apply).lower(params, images).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    return lambda: run(params, images).block_until_ready()


def of_torch(flags: argparse.Namespace) -> Callable[[], None]:
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    width, heads, features, channels = WIDTHS[flags.backbone]
    backbone = Dinov2Config(
        hidden_size=width, num_attention_heads=heads, image_size=518, patch_size=14, out_indices=[3, 6, 9, 12],
        reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=width, patch_size=14, fusion_hidden_size=features,
        neck_hidden_sizes=list(channels), head_hidden_size=32,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config).eval()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    images = torch.zeros(flags.batch, 3, *flags.size)

    def run() -> None:
        with torch.inference_mode():
            model(images)

    return run


def parse_size(said: str) -> tuple[int, int]:
    height, width = map(int, said.split(","))
    return height, width


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch and transformers")
    parser.add_argument("--backbone", choices=WIDTHS, default="vitb")
    parser.add_argument("--size", type=parse_size, default=(252, 322), metavar="H,W", help="multiples of 14")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--serve", choices=("jax", "torch"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        turns.serve({"jax": of_jax, "torch": of_torch}[flags.serve](flags))
        raise SystemExit
    if not flags.torch:
        parser.error("--torch=PYTHON is needed")
    interpreters = {"jax": sys.executable, "torch": flags.torch}
    said = [
        f"--backbone={flags.backbone}",
        f"--size={flags.size[0]},{flags.size[1]}",
        f"--batch={flags.batch}",
    ]
    commands = {name: [python, __file__, *said, "--serve", name] for name, python in interpreters.items()}
    times = turns.take(commands, flags.runs)
    turns.report(times["jax"], times["torch"], "PyTorch")
