"""The train step of a config, compiled for TPUs that are not there. The functions are those that the loop runs."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.planning import batch as batches
from tdepth_jax.planning import hlo
from tdepth_jax.planning.chips import Slice
from tdepth_jax.systems.base import System
from tdepth_jax.training import flops, programs, start
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training.partition import Flat
from tdepth_jax.training.state import State
from tdepth_jax.training.step import make_teacher


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one chip's HBM, as it lies there.

    Attributes:
      parameters: trained, without padding; `frozen`, `optimizer` (its state) and `ema` likewise.
      batch: the step's input, and a teacher's targets.
      padding: what the arrays above take more than their elements, in the program's layout.
      working: activations and temporaries, at their most.
      code: the program itself.
    """

    parameters: float
    frozen: float
    optimizer: float
    ema: float
    batch: float
    padding: float
    working: float
    code: float

    @property
    def total(self) -> float:
        return sum(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step, compiled.

    Attributes:
      flops: matrix products and convolutions of one chip, loops in full.
      teacher_flops: of those the teacher's.
      work: what the programs do on one chip.
      largest_replicated: (parameter, bytes) of the largest array that every chip holds whole.
      trained: parameters that are trained.
    """

    batch_size: int
    flops: float
    teacher_flops: float
    work: hlo.Work
    memory: Memory
    largest_replicated: tuple[str, float]
    trained: int
    seconds: float  # that compiling took


class TooLarge(Exception):
    """The step does not fit in a chip's memory; says what the compiler said."""

    def __init__(self, needed: float, capacity: float):
        super().__init__(f"{needed / 2**30:.2f} GiB of {capacity / 2**30:.2f} GiB")
        self.needed, self.capacity = needed, capacity


def devices(topology: Slice) -> list[Any]:
    """The chips of a slice that is not there."""
    from jax.experimental import topologies

    # The compiler counts by hosts of four chips; a single chip it has to be told.
    said: dict[str, Any] = {} if topology.chips > 1 else {"chips_per_host_bounds": (1, 1, 1)}
    if topology.chip.config:
        said["chip_config_name"] = topology.chip.config
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **said)
    except Exception as error:
        raise UserError(
            f"--topology={topology.name}: the TPU compiler refuses it ({str(error).splitlines()[0][:200]})"
        ) from error
    return list(found.devices)


def mesh_of(config: ConfigDict, chips: list[Any]) -> jax.sharding.Mesh:
    return meshes.make_mesh(configs.section(config, "mesh"), chips)


def arguments(
    config: ConfigDict, mesh: jax.sharding.Mesh, *, batch_size: int, wanted: frozenset[str] = frozenset()
) -> tuple[System, State, Flat, Any]:
    """(system, state, frozen, batch): what the step takes, as shapes with shardings. Allocates nothing.

    Raises:
      UserError: a batch that does not divide, or keys that no batch has.
    """
    pieces = config.train.accumulate
    if batch_size % (pieces * mesh.size):
        raise UserError(
            f"a batch of {batch_size} does not divide among {mesh.size} chips x train.accumulate={pieces}"
        )
    system = systems.make(config)
    state, frozen = start.shapes(system, mesh, config)
    batch = batches.shapes(
        system,
        batch_size=batch_size,
        image_size=config.data.image_size,
        sharding=meshes.batch_sharding(mesh),
        wanted=wanted,
    )
    return system, state, frozen, batch


def compile_step(
    config: ConfigDict, mesh: jax.sharding.Mesh, *, batch_size: int, wanted: frozenset[str] = frozenset()
) -> Step:
    """Compiles the step for the devices of `mesh` and reads the programs.

    Raises:
      TooLarge: for a chip's memory.
      UserError: as `arguments`.
    """
    system, state, frozen, batch = arguments(config, mesh, batch_size=batch_size, wanted=wanted)
    began = time.perf_counter()
    with _in_memory():
        compiled = programs.compiled(
            programs.jitted(system, state, frozen, config, mesh), state, frozen, batch
        )
    took = time.perf_counter() - began
    parts = [program for program in (compiled.teach, compiled.update) if program is not None]
    whole = [hlo.work(program.as_text()) for program in parts]
    teacher = (
        flops.count(make_teacher(system), state, frozen, batch, platform=mesh.devices.flat[0].platform)
        if system.teacher
        else 0.0
    )
    return Step(
        batch_size=batch_size,
        flops=compiled.flops / mesh.size,
        teacher_flops=teacher / mesh.size,
        work=_joined(whole),
        memory=_memory(state, frozen, batch, compiled.like, parts),
        largest_replicated=_giant(state, frozen),
        trained=sum(leaf.size for leaf in state.trainable.values()),
        seconds=took,
    )


# Needed and there, as the compiler says it of the whole program and of its temporaries alone.
_REFUSALS = (
    r"Used ([\d.]+)([KMG]) of ([\d.]+)([KMG]) hbm",
    r"HLO temporaries \(([\d.]+)([KMG])\) exceeds available HBM \(([\d.]+)([KMG])\)",
)


@contextlib.contextmanager
def _in_memory() -> Iterator[None]:
    """Turns the compiler's refusal of a program that is too large into TooLarge."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        found = (re.search(pattern, str(error)) for pattern in _REFUSALS)
        said = next((match for match in found if match), None)
        if "RESOURCE_EXHAUSTED" not in str(error) or not said:
            raise
        unit = {"K": 2**10, "M": 2**20, "G": 2**30}
        raise TooLarge(float(said[1]) * unit[said[2]], float(said[3]) * unit[said[4]]) from None


def _joined(parts: list[hlo.Work]) -> hlo.Work:
    total = hlo.Work()
    for part in parts:
        total.bytes += part.bytes
        total.useful += part.useful
        total.cycles += part.cycles
        total.collectives += part.collectives
        total.gathers += part.gathers
        for name, size in part.wasteful.items():
            total.wasteful[name] = total.wasteful.get(name, 0.0) + size
    return total


def _memory(state: State, frozen: Flat, batch: Any, targets: Any, parts: list[Any]) -> Memory:
    """Of the program that needs most; the other's arguments lie there meanwhile."""
    sizes = [part.memory_analysis() for part in parts]
    held = max(sizes, key=lambda s: s.argument_size_in_bytes)
    logical = _bytes((state, frozen, batch, targets))
    new = max(s.output_size_in_bytes - s.alias_size_in_bytes for s in sizes)
    return Memory(
        parameters=_bytes(state.trainable) + _bytes(state.mutable),
        frozen=_bytes(frozen),
        optimizer=_bytes(state.opt),
        ema=_bytes(state.ema),
        batch=_bytes((batch, targets)),
        padding=max(held.argument_size_in_bytes - logical, 0.0),
        working=max(s.temp_size_in_bytes for s in sizes) + new,
        code=sum(s.generated_code_size_in_bytes for s in sizes),
    )


def _bytes(tree: Any) -> float:
    """Of one chip's share."""
    return float(
        sum(
            np.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )
    )


def _giant(state: State, frozen: Flat) -> tuple[str, float]:
    whole = {
        path: float(leaf.size * leaf.dtype.itemsize)
        for path, leaf in {**frozen, **state.trainable}.items()
        if leaf.sharding.is_fully_replicated
    }
    return max(whole.items(), key=lambda item: item[1], default=("", 0.0))


def settled(config: ConfigDict) -> ConfigDict:
    """The config as a TPU reads it: `model.dtype=auto` is bfloat16 there, and this process runs on a CPU."""
    if config.get("model", {}).get("dtype") != "auto":
        return config
    changed = config.copy_and_resolve_references()
    changed.model.dtype = "bfloat16"
    return changed.lock()
