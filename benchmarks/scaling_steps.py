"""How the time of a self-supervised train step grows with the batch, the image and the number of devices, on a CPU.

  python benchmarks/scaling_steps.py [--config=configs/world_stage1.py] [--rounds 20]

The step is the config's own, from random weights on random images; every point is a fresh process. One axis grows
while the others stand at the first batch and image: the batch; the image; and the devices, which XLA is told to make
of the same cores (`--xla_force_host_platform_device_count`) while the global batch of 8 stays. A snippet has three
frames, for the method knows no other number. Prints milliseconds by the clock and of CPU time (each the least of the
rounds, for what else the machine does only adds), counted GFLOP in products and convolutions (of the whole batch), MiB
that the program holds, and between neighbouring points the slopes of times and GFLOP in a log-log plot. About five
minutes, most of them compiling, which JAX_COMPILATION_CACHE_DIR saves the next time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 2, 4, 8)
SIZES = ((64, 80), (96, 120), (128, 160), (192, 240))
DEVICES = (1, 2, 4, 8)
BATCH, SIZE, GLOBAL_BATCH = 1, SIZES[0], 8  # where an axis stands while another grows
Point = tuple[int, tuple[int, int], int]  # batch, image, devices


def measure(config_path: str, batch: int, size: tuple[int, int], rounds: int) -> dict[str, float]:
    import jax
    import numpy as np

    from tdepth_jax import config as configs
    from tdepth_jax import systems
    from tdepth_jax.training import mesh as meshes
    from tdepth_jax.training import programs, start

    said = {"data.image_size": f"{size[0]},{size[1]}", "train.batch_size": str(batch)}
    config = configs.load(config_path, said, systems.schema)
    system, mesh = systems.make(config), meshes.make_mesh(configs.Mesh())
    rng = np.random.default_rng(0)

    def draw(path: Any, x: Any) -> Any:  # compiling `init` takes as long as compiling the step
        value = np.zeros(x.shape, x.dtype)
        if "opt" not in str(path[1]) and len(x.shape) > 1:
            value += rng.standard_normal(x.shape, np.float32) / np.sqrt(np.prod(x.shape[:-1]), dtype="f")
        return jax.device_put(value, x.sharding)

    state, frozen = jax.tree_util.tree_map_with_path(draw, start.shapes(system, mesh, config))
    K = np.array([[size[1], 0, size[1] / 2], [0, size[1], size[0] / 2], [0, 0, 1]], np.float32)
    images = rng.integers(7000, 9000, (batch, len(system.offsets), *size, 1)).astype(np.uint16)
    data = meshes.global_batch(mesh, {"thermal/image": images, "thermal/K": np.tile(K, (batch, 1, 1))})
    jitted = programs.jitted(system, state, frozen, config, mesh)
    ours = programs.compiled(jitted, state, frozen, data)
    taken = []
    for _ in range(2 + rounds):
        begun = time.perf_counter(), time.process_time()
        state, logs = jax.block_until_ready(ours.update(state, frozen, data, None))
        taken.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    if int(logs["skipped_steps"]):
        raise SystemExit("a step was not finite and changed nothing: the figures would be of no training")
    held = ours.update.memory_analysis()
    wall, cpu = (1e3 * min(column) for column in zip(*taken[2:], strict=True))
    return {
        "ms": wall,
        "CPU ms": cpu,
        "GFLOP": ours.flops / 1e9,
        "MiB": (held.temp_size_in_bytes + held.argument_size_in_bytes) / 2**20,
    }


def run(config_path: str, point: Point, rounds: int) -> dict[str, float]:
    batch, size, devices = point
    env = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, __file__, f"--config={config_path}", f"--rounds={rounds}"]
    command += ["--measure", json.dumps([batch, size])]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(what: str, names: list[str], growth: list[float], rows: list[dict[str, float]]) -> None:
    slopes = ("ms", "CPU ms", "GFLOP")
    print(
        f"\n{what:<12}{'ms':>7}{'CPU ms':>8}{'GFLOP':>8}{'MiB':>6}   slopes"
        + "".join(f"{s:>8}" for s in slopes)
    )
    before: Any = None
    for name, grown, row in zip(names, growth, rows, strict=True):
        line = (
            f"{name:<12}{row['ms']:>7.0f}{row['CPU ms']:>8.0f}{row['GFLOP']:>8.2f}{row['MiB']:>6.0f}"
            + " " * 9
        )
        if before:
            ratios = (math.log(row[key] / before[1][key]) for key in slopes)
            line += "".join(f"{ratio / math.log(grown / before[0]):>8.2f}" for ratio in ratios)
        print(line, flush=True)
        before = grown, row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(ROOT / "configs" / "world_stage1.py"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        batch, size = json.loads(args.measure)
        print(json.dumps(measure(args.config, batch, tuple(size), args.rounds)))
        return
    axes: dict[str, list[tuple[str, float, Point]]] = {
        "batch": [(str(n), n, (n, SIZE, 1)) for n in BATCHES],
        "image": [(f"{h}x{w}", h * w, (BATCH, (h, w), 1)) for h, w in SIZES],
        "devices": [(str(n), n, (GLOBAL_BATCH, SIZE, n)) for n in DEVICES],
    }
    found: dict[Point, dict[str, float]] = {}
    for what, points in axes.items():
        for _, _, point in points:
            if point not in found:
                found[point] = run(args.config, point, args.rounds)
        names, growth, at = (list(column) for column in zip(*points, strict=True))
        table(what, names, growth, [found[point] for point in at])
    print(f"\n{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
