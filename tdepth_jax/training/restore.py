"""A finished or running run, opened for use."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.systems.base import System
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training import start
from tdepth_jax.training.checkpoint import Checkpoints
from tdepth_jax.training.state import variables


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds: `system.predict(variables, batch)` is its model at `step`."""

    config: ConfigDict
    system: System
    variables: dict[str, Any]
    step: int


def load_run(workdir: Any, *, step: int | None = None) -> Run:
    """Opens the run in `workdir` at `step` (the latest by default), replicated over the devices there are.

    Raises:
      UserError: not a run directory, no such step, or a checkpoint that does not fit or is damaged.
    """
    workdir = epath.Path(workdir)
    if not workdir.is_dir():
        raise UserError(f"no run at {workdir}; give the folder that training wrote (runs/<config name>)")
    config = configs.from_json(workdir / "config.json", systems.schema)
    system = systems.make(config)
    with Checkpoints(workdir) as checkpoints:
        steps = checkpoints.steps()
        if not steps:
            raise UserError(f"{workdir} has no finished checkpoint yet; train it first, or longer")
        if step is not None and step not in steps:
            raise UserError(
                f"{workdir} has no checkpoint at step {step}; it has {', '.join(map(str, steps))}"
            )
        step = steps[-1] if step is None else step
        mesh = meshes.make_mesh(configs.Mesh(data=jax.device_count(), fsdp=1))
        state, frozen, _ = start.resume(system, mesh, config, checkpoints, step)
    return Run(config, system, variables(state, frozen), step)
