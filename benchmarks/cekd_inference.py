"""CPU inference of EKNet (CEKD's student), batch 1, float32: here and in PyTorch, the same network in twins.py.

  python benchmarks/cekd_inference.py --torch VENV/bin/python      # with tdepth_jax installed

VENV needs torch alone. Both networks have random weights and as many parameters as the published one; each is warmed
up, then they take turns, one image each, on the same cores (taskset) and threads. Prints the medians, and median and
quartiles of the ratio of neighbouring runs, in wall time and in CPU time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import turns
import twins

SIZE = (480, 640)
PARAMETERS = 190_460_622  # of the published network, with 9 classes, at 480 x 640


def of_jax(size: tuple[int, int]) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tdepth_jax.models.segmentation import SegConfig, SegNet

    rng = np.random.default_rng(0)

    def draw(path, like):  # compiling `init` for so many parameters takes minutes
        if path[-1].key in ("scale", "var"):
            return jnp.ones(like.shape)
        if len(like.shape) < 2:
            return jnp.zeros(like.shape)
        fan_in = np.prod(like.shape[:-1])
        return jnp.asarray(rng.standard_normal(like.shape, np.float32) / np.sqrt(fan_in, dtype=np.float32))

    config = SegConfig(rgb=False, edges="none", enhancement=True, position_size=size, dtype="float32")
    net, image = SegNet(config, 9), jnp.full((1, *size, 1), 0.5)
    variables = jax.tree_util.tree_map_with_path(draw, jax.eval_shape(net.init, jax.random.key(0), image))
    _check(sum(x.size for x in jax.tree.leaves(variables["params"])), size)
    start = time.perf_counter()
    run = jax.jit(lambda v, x: net.apply(v, x)["logits"]).lower(variables, image).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    return lambda: run(variables, image).block_until_ready()


def of_torch(size: tuple[int, int]) -> Callable[[], None]:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = twins.eknet(size).eval()
    _check(sum(p.numel() for p in net.parameters()), size)
    image = torch.full((1, 1, *size), 0.5)
    if CHANNELS_LAST:
        net, image = (x.to(memory_format=torch.channels_last) for x in (net, image))

    def run() -> None:
        with torch.inference_mode():
            net(image)

    return run


def _check(parameters: int, size: tuple[int, int]) -> None:
    """The position tables of other sizes have other numbers of rows."""
    rows = sum(size) - sum(SIZE)
    expected = PARAMETERS + 512 * (rows // 16 + 2 * (rows // 32))
    if parameters != expected:
        raise SystemExit(f"{parameters} parameters instead of {expected}: not the published network")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, metavar=("H", "W"), help="multiples of 32")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument(
        "--channels-last", action="store_true", help="PyTorch's maps too have their channels last"
    )
    parser.add_argument("--serve", choices=("jax", "torch"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    CHANNELS_LAST = flags.channels_last
    if flags.serve:
        turns.serve({"jax": of_jax, "torch": of_torch}[flags.serve](tuple(flags.size)))
        raise SystemExit
    if not flags.torch:
        parser.error("--torch=PYTHON is needed")
    said = ["--size", *map(str, flags.size), *(["--channels-last"] if flags.channels_last else [])]
    commands = {
        name: [python, __file__, *said, "--serve", name]
        for name, python in {"jax": sys.executable, "torch": flags.torch}.items()
    }
    times = turns.take(commands, flags.runs)
    turns.report(times["jax"], times["torch"], "PyTorch")
