"""The compiled functions of a run: the teacher's look at a batch, and the update that its targets go into."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from tdepth_jax.systems.base import Batch, System
from tdepth_jax.training import flops
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training.partition import Flat
from tdepth_jax.training.state import State
from tdepth_jax.training.step import Logs, Targets, make_step, make_teacher


@dataclasses.dataclass(frozen=True)
class Programs:
    """Functions of global arrays, jitted and sharded, or compiled for one shape of batch.

    Attributes:
      teach: (state, frozen, batch) -> targets, sharded as the batch is. None of a system without a teacher. It keeps
        nothing for a gradient and reads nothing of the optimiser's.
      update: (state, frozen, batch, targets) -> (state, logs). The state is donated.
      flops: of both together, for one batch.
      like: the targets of one batch as shapes.
    """

    teach: Any
    update: Any
    flops: float = math.nan
    like: Targets = None

    def targets(self, state: State, frozen: Flat, batch: Batch) -> Targets:
        return self.teach(state, frozen, batch) if self.teach else None


def jitted(
    system: System, state: State, frozen: Flat, config: ConfigDict, mesh: jax.sharding.Mesh
) -> Programs:
    """`state` and `frozen` may be arrays or their shapes with shardings: where they live is where results go."""
    settings = config.train
    places, still = (jax.tree.map(lambda x: x.sharding, tree) for tree in (state, frozen))
    rows = meshes.batch_sharding(mesh)
    step = make_step(system, seed=settings.seed, accumulate=settings.accumulate, ema_decay=settings.ema_decay)
    return Programs(
        teach=jax.jit(make_teacher(system), in_shardings=(places, still, rows), out_shardings=rows)
        if system.teacher
        else None,
        update=jax.jit(
            step,
            in_shardings=(places, still, rows, rows),
            out_shardings=(places, meshes.replicated(mesh)),
            donate_argnums=(0,),
        ),
    )


def compiled(programs: Programs, state: State, frozen: Flat, batch: Batch) -> Programs:
    """The same for batches like `batch`, compiled now, their work counted."""
    work, teach, targets = 0.0, None, None
    platform = _counted_as(state)
    if programs.teach:
        traced = programs.teach.trace(state, frozen, batch)
        work, teach = flops.of_trace(traced.jaxpr, platform=platform), traced.lower().compile()
        targets = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            traced.out_info,
            teach.output_shardings,
        )
    traced = programs.update.trace(state, frozen, batch, targets)
    work += flops.of_trace(traced.jaxpr, platform=platform)
    return Programs(teach, traced.lower().compile(), work, targets)


def _counted_as(state: State) -> str | None:
    """The platform whose form of an operation is counted. Not a GPU's: its fused attention shows no products in the
    trace, so there the most of all forms is."""
    device: Any = next(iter(state.step.sharding.device_set))
    return "tpu" if device.platform == "tpu" else None


@dataclasses.dataclass(frozen=True)
class Share:
    """What the teacher's look takes of a step: seconds by the clock, bytes that one device holds meanwhile."""

    seconds: tuple[float, float]  # teacher, update
    bytes: tuple[int, int]

    def __str__(self) -> str:
        taken, held = (part[0] / max(sum(part), 1e-12) for part in (self.seconds, self.bytes))
        said = "; ".join(
            f"{name} {seconds * 1e3:.0f} ms, {size / 2**20:.0f} MiB"
            for name, seconds, size in zip(("teacher", "update"), self.seconds, self.bytes, strict=True)
        )
        return f"the teacher takes {taken:.0%} of a step's time and {held:.0%} of its memory ({said})"


def timed(programs: Programs, state: State, frozen: Flat, batch: Batch) -> tuple[State, Logs, Share]:
    """One step of compiled programs, the teacher's part timed apart; waits for each."""
    jax.block_until_ready((state, batch))
    start = time.perf_counter()
    targets = jax.block_until_ready(programs.targets(state, frozen, batch))
    taught = time.perf_counter()
    state, logs = jax.block_until_ready(programs.update(state, frozen, batch, targets))
    done = time.perf_counter()
    held = tuple(_held(program) for program in (programs.teach, programs.update))
    return state, logs, Share((taught - start, done - taught), held)  # type: ignore[arg-type]


def _held(program: Any) -> int:
    """Bytes of a compiled program's arguments, results and scratch on one device; what it donates counts once."""
    found = program.memory_analysis()
    sizes = (found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes)
    return sum(sizes) - found.alias_size_in_bytes
