"""Devices: one mesh with axes `data` and `fsdp`, where every array lives on it, and how processes meet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tdepth_jax import config
from tdepth_jax.errors import UserError

BATCH = PartitionSpec(("data", "fsdp"))


def join_processes() -> None:
    """Joins the other processes of the job, if there are any; call before anything touches a device.

    A TPU pod, Slurm or MPI is found by JAX itself (TDEPTH_DISTRIBUTED=auto). Elsewhere TDEPTH_COORDINATOR=host:port,
    TDEPTH_PROCESSES and TDEPTH_PROCESS_ID say who is who. A process that is not heard of for TDEPTH_HEARTBEAT_SECONDS
    counts as lost, and ends the job.
    """
    env = os.environ
    if env.get("TDEPTH_DISTRIBUTED") == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=_heartbeat())
    elif "TDEPTH_COORDINATOR" in env:
        try:
            count, index = int(env["TDEPTH_PROCESSES"]), int(env["TDEPTH_PROCESS_ID"])
        except (KeyError, ValueError):
            raise UserError(
                "TDEPTH_COORDINATOR is set, so TDEPTH_PROCESSES and TDEPTH_PROCESS_ID must be whole numbers too"
            ) from None
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            env["TDEPTH_COORDINATOR"],
            num_processes=count,
            process_id=index,
            heartbeat_timeout_seconds=_heartbeat(),
        )


def _heartbeat() -> int:
    said = os.environ.get("TDEPTH_HEARTBEAT_SECONDS", "60")
    if not said.isdigit() or int(said) < 1:
        raise UserError(f"TDEPTH_HEARTBEAT_SECONDS={said!r} must be a whole number of seconds, at least 1")
    return int(said)


def say(fact: object) -> None:
    """Prints, in the first of the processes."""
    if jax.process_index() == 0:
        print(fact, flush=True)


def make_mesh(settings: config.Mesh, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """The mesh of all devices, or of those given. Auto axes: gathers and scans over sharded parameters need them."""
    count = jax.device_count() if devices is None else len(devices)
    sizes = {"data": settings.data, "fsdp": settings.fsdp}
    known = int(np.prod([n for n in sizes.values() if n != -1]))
    if known < 1 or count % known or (-1 not in sizes.values() and known != count):
        raise UserError(
            f"mesh.data={settings.data} x mesh.fsdp={settings.fsdp} does not fit {count} device(s); "
            "their product must be the number of devices, and one of them may be -1 (all that remain)"
        )
    shape = tuple(count // known if n == -1 else n for n in sizes.values())
    if int(np.prod(shape)) != count:
        raise UserError(f"mesh.data and mesh.fsdp cannot both be -1 on {count} devices; set one of them")
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2, devices=devices)


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    return NamedSharding(mesh, BATCH)


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def shardings(mesh: jax.sharding.Mesh, tree: Any, *, fsdp_min_bytes: int) -> Any:
    """Where each array of `tree` (arrays or their shapes) lives: large ones split over `fsdp`, along their largest
    axis that divides, the others everywhere. Optimiser moments follow their parameter, having its shape."""
    size = mesh.shape["fsdp"]

    def place(leaf: Any) -> NamedSharding:
        axes = [i for i, n in enumerate(leaf.shape) if n % size == 0]
        if size == 1 or not axes or np.prod(leaf.shape) * leaf.dtype.itemsize < fsdp_min_bytes:
            return replicated(mesh)
        axis = max(axes, key=lambda i: leaf.shape[i])
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, "fsdp"))

    return jax.tree.map(place, tree)


def global_batch(mesh: jax.sharding.Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of a batch as one array over all processes."""
    sharding = batch_sharding(mesh)
    with jax.transfer_guard_host_to_device("allow"):  # this is the one transfer that is meant
        return {key: jax.make_array_from_process_local_data(sharding, rows) for key, rows in batch.items()}
