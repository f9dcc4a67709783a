"""Train steps on a CPU, float32: here and in PyTorch, in turns on the same cores and threads.

  python benchmarks/train_steps.py --torch VENV/bin/python --step stage1
  python benchmarks/train_steps.py --torch VENV/bin/python --step xdrc --size 128,256

Ours is the program that `tdepth_jax.train` runs for the step's config (CONFIGS below), from random weights on random
images. PyTorch's is the same networks, losses and optimiser in twin_selfsup.py and twin_distillation.py, which say
what they leave out; VENV has torch and, for the stages, transformers and opencv-python-headless. Both must train as
many parameters, or nothing is timed. Distillations are the student's update, its targets given.

A turn is three steps, of which the last is timed: training has no pauses, and in a pause the operating system takes
memory and caches. Prints the medians of a step, and median and quartiles of the ratio of neighbouring steps, in wall
and in CPU time.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import turns

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = {
    "stage1": "vivid_stage1",
    "stage2": "vivid_stage2",
    "cekd": "mfnet_cekd_student",
    "xdrc": "nuscenes_xdrc_student",
}
# Height and width. The published ones of CEKD (480 x 640) and XD-RCDepth (352 x 704) take four times as long.
SIZES = {"stage1": "252,322", "stage2": "252,322", "cekd": "256,320", "xdrc": "160,352"}
KEPT = ":".join(f"glibc.malloc.{name}" for name in ("mmap_max=0", f"trim_threshold={2**40}", "arena_max=1"))
RETURNS = 128  # of radar in an image
LAYOUTS = ("contiguous", "channels_last")


def configured(flags: argparse.Namespace) -> Any:
    """The published config, at the size and with the settings that PyTorch's step has; no weights are imported."""
    from tdepth_jax import config as configs
    from tdepth_jax import systems

    said = {"data.image_size": flags.size, "train.batch_size": str(flags.batch), "model.dtype": "float32"}
    if flags.step.startswith("stage"):
        said |= {"model.backbone": flags.backbone, "model.pose_net": flags.pose}
        said |= {"optimizer.name": "adamw", "optimizer.weight_decay": "0.01", "optimizer.clip_norm": "1.0"}
    if flags.step == "cekd":
        said["model.position_size"] = flags.size
    if flags.step == "xdrc":
        said |= {"system.radar_dropout": "0", "system.radar_wrong": "0"}
    config = configs.load(str(ROOT / "configs" / f"{CONFIGS[flags.step]}.py"), said, systems.schema)
    config.train.init_from = None
    for key in ("backbone_weights", "encoder_weights"):
        if key in config.model:
            config.model[key] = None
    return config


def images(flags: argparse.Namespace) -> dict[str, np.ndarray]:
    """A random batch with the keys of records."""
    rng, (h, w), b = np.random.default_rng(0), map(int, flags.size.split(",")), flags.batch
    K = np.tile(np.array([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1]], np.float32), (b, 1, 1))
    if flags.step.startswith("stage"):
        return {"thermal/image": rng.integers(7000, 9000, (b, 3, h, w, 1)).astype(np.uint16), "thermal/K": K}
    if flags.step == "cekd":
        return {
            "thermal/image": rng.integers(0, 255, (b, 1, h, w, 1)).astype(np.uint16),
            "rgb/image": rng.integers(0, 255, (b, 1, h, w, 3)).astype(np.uint8),
        }
    x, y, z = (rng.uniform(*ends, (b, RETURNS)).astype(np.float32) for ends in ((-9, 9), (-1, 1), (20, 80)))
    still = np.zeros((b, RETURNS), np.float32)
    return {
        "rgb/image": rng.integers(0, 255, (b, 1, h, w, 3)).astype(np.uint8), "rgb/K": K,
        "rgb/depth": rng.uniform(0, 160, (b, h, w, 1)).astype(np.float32),  # half of it beyond the range
        "radar/x": x, "radar/y": y, "radar/z": z, "radar/rcs": still, "radar/vx": still, "radar/vz": still,
        "radar/valid": np.ones((b, RETURNS), bool),
    }  # fmt: skip


def of_jax(flags: argparse.Namespace) -> Callable[[], None]:
    import jax

    from tdepth_jax import config as configs
    from tdepth_jax import systems
    from tdepth_jax.training import mesh as meshes
    from tdepth_jax.training import partition, programs, start

    config = configured(flags)
    system = systems.make(config)
    mesh = meshes.make_mesh(configs.Mesh())
    like = start.shapes(system, mesh, config)
    _check(partition.count(like[0].trainable), flags)
    rng = np.random.default_rng(0)

    def draw(path: Any, x: Any) -> Any:  # compiling `init` takes as long as compiling the step
        name = str(getattr(path[-1], "key", "")).rpartition("/")[2]
        value = np.zeros(x.shape, x.dtype)
        if "opt" in str(path[1]):  # optimisers begin at 0
            pass
        elif name in ("scale", "var") or name.startswith("ls"):
            value += 1
        elif name != "bias" and len(x.shape) > 1:
            value += rng.standard_normal(x.shape, np.float32) / np.sqrt(np.prod(x.shape[:-1]), dtype="f")
        return jax.device_put(value, x.sharding)

    state, frozen = jax.tree_util.tree_map_with_path(draw, like)
    batch = meshes.global_batch(mesh, images(flags))
    begun = time.perf_counter()
    ours = programs.compiled(programs.jitted(system, state, frozen, config, mesh), state, frozen, batch)
    print(f"compiled in {time.perf_counter() - begun:.1f} s; {ours.flops / 1e9:.0f} GFLOP in products")
    targets = jax.block_until_ready(ours.targets(state, frozen, batch))

    def run() -> None:
        nonlocal state
        state, logs = ours.update(state, frozen, batch, targets)
        if int(jax.block_until_ready((state, logs))[1]["skipped_steps"]):
            raise SystemExit("a step was not finite and changed nothing: the figures would be of no training")

    return run


def of_torch(flags: argparse.Namespace) -> Callable[[], None]:
    """PyTorch's step in the layout of its maps that is the faster one of two tried steps each."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tried = {}
    for layout in LAYOUTS if flags.layout == "faster" else (flags.layout,):
        torch.manual_seed(0)
        run, count = _torch_step(flags, channels_last=layout == "channels_last")
        _check(count, flags)
        run()
        times = []
        for _ in range(2):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        tried[layout] = min(times)
        if tried[layout] == min(tried.values()):
            best = run
    print("torch: " + ", ".join(f"{layout} {1e3 * took:.0f} ms" for layout, took in tried.items()))
    return best


def _torch_step(flags: argparse.Namespace, *, channels_last: bool) -> tuple[Callable[[], None], int]:
    if flags.step.startswith("stage"):
        import twin_selfsup

        size = tuple(map(int, flags.size.split(",")))
        return twin_selfsup.step(flags.step, flags.backbone, flags.pose, size, flags.batch, channels_last)
    import twin_distillation

    make = {"cekd": twin_distillation.cekd, "xdrc": twin_distillation.xdrc}[flags.step]
    return make(images(flags), channels_last)


def _check(count: int, flags: argparse.Namespace) -> None:
    print(f"{flags.serve}: {count} parameters trained")
    if flags.parameters is not None and count != flags.parameters:
        raise SystemExit(f"the other step trains {flags.parameters}: not the same system")


def trained(flags: argparse.Namespace) -> int:
    """How many parameters our step trains; allocates nothing."""
    import jax

    from tdepth_jax import systems
    from tdepth_jax.training import partition, state

    system = systems.make(configured(flags))
    found = state.divide(system, jax.eval_shape(system.init, jax.random.key(0)))[0]
    return partition.count(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch")
    parser.add_argument("--step", choices=CONFIGS, default="stage1")
    parser.add_argument("--size", metavar="H,W", help="of images; its default depends on the step")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--backbone", choices=("vits", "vitb"), default="vits", help="of the stages")
    parser.add_argument("--pose", choices=("resnet18", "light"), default="resnet18", help="of the stages")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--layout", choices=(*LAYOUTS, "faster"), default="faster", help="of PyTorch's maps")
    parser.add_argument(
        "--wait",
        choices=("default", "passive"),
        default="default",
        help="how PyTorch's threads wait for each other: passively is far quicker on a machine that others use too",
    )
    parser.add_argument(
        "--memory",
        choices=("default", "kept"),
        default="default",
        help="kept: glibc is told to give none back to the system, on both sides",
    )
    parser.add_argument("--serve", choices=("jax", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--parameters", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    flags.size = flags.size or SIZES[flags.step]
    if flags.serve:
        turns.serve({"jax": of_jax, "torch": of_torch}[flags.serve](flags))
        raise SystemExit
    if not flags.torch:
        parser.error("--torch=PYTHON is needed")
    said = [f"--{name}={getattr(flags, name)}" for name in ("step", "size", "batch", "backbone", "pose")]
    said += [f"--layout={flags.layout}", f"--parameters={trained(flags)}"]
    commands = {
        name: [python, __file__, *said, "--serve", name]
        for name, python in {"jax": sys.executable, "torch": flags.torch}.items()
    }
    if flags.wait == "passive":
        commands["torch"] = ["env", "OMP_WAIT_POLICY=passive", *commands["torch"]]
    if flags.memory == "kept":
        commands = {name: ["env", f"GLIBC_TUNABLES={KEPT}", *command] for name, command in commands.items()}
    times = turns.take(commands, flags.runs, uncounted=2)
    turns.report(times["jax"], times["torch"], "PyTorch")
