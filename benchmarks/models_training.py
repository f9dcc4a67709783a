"""The stage-2 train step of ViT-B: how long it takes to compile, and what adapters save over full fine-tuning.

  python benchmarks/models_training.py [--size 252,322] [--backbone vitb]

Operations are those that the compiled programs say of themselves, with the blocks unrolled: a scanned stack is
counted once, whatever its depth. Nothing is executed; the cost of a step is printed beside the trace's own count of
matrix products (tdepth_jax/training/flops.py).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.training import flops, partition, state, step
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training.start import shapes

METHODS = {
    "adapters": {"model.lora_rank": "4", "model.conv_adapter_width": "4"},
    "full fine-tuning": {"system.train_backbone": "true"},
    "frozen backbone": {},
}
# Without LLVM's optimisation, which changes no operation of the program's graph.
QUICK = {"xla_backend_optimization_level": 0}


def lowered(flags: argparse.Namespace, said: dict[str, str]) -> tuple[Any, Any, tuple]:
    """(the lowered step, the step, its arguments as shapes) of the self-supervised system, one snippet of three."""
    height, width = map(int, flags.size.split(","))
    config = configs.defaults("selfsup", systems.schema)
    settings = {"model.backbone": flags.backbone, "data.image_size": flags.size, "model.dtype": "float32"}
    for key, text in {**settings, **said}.items():
        configs._set(config, key, configs._parse(config, key, text), where=key)
    system = systems.make(config)
    mesh = meshes.make_mesh(configs.Mesh())
    state_like, frozen_like = shapes(system, mesh, config)
    batch = {
        "thermal/image": jax.ShapeDtypeStruct((1, 3, height, width, 1), jnp.uint16),
        "thermal/K": jax.ShapeDtypeStruct((1, 3, 3), jnp.float32),
    }
    function = step.make_step(system, seed=0)
    arguments = (state_like, frozen_like, batch)
    return jax.jit(function, donate_argnums=0).lower(*arguments), function, arguments


def optimizer_values(s: state.State) -> int:
    return sum(x.size for x in jax.tree.leaves(s.opt) if x.ndim)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="252,322", help="height,width")
    parser.add_argument("--backbone", default="vitb")
    flags = parser.parse_args()
    program, _, _ = lowered(flags, METHODS["adapters"])
    wall, cpu = time.perf_counter(), time.process_time()
    program.compile()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"stage 2, scanned: compiled in {wall:.1f} s, {cpu:.1f} s of CPU time", flush=True)
    print(
        f"{'trained':<17} {'parameters':>12} {'optimiser':>12} {'compiled GFLOP':>15} {'products GFLOP':>15}"
    )
    for name, said in METHODS.items():
        program, function, arguments = lowered(flags, {**said, "model.unroll": "true"})
        cost = program.compile(compiler_options=QUICK).cost_analysis()
        print(
            f"{name:<17} {partition.count(arguments[0].trainable):>12,} {optimizer_values(arguments[0]):>12,} "
            f"{cost['flops'] / 1e9:>15.1f} {flops.count(function, *arguments) / 1e9:>15.1f}",
            flush=True,
        )
