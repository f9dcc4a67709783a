"""Run in a process of its own, with eight CPU devices: compiles a step and prints what crosses between them as JSON."""

from __future__ import annotations

import json
import sys

import jax

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.planning import program

if __name__ == "__main__":
    file, *said = sys.argv[1:]
    config = configs.load(file, dict(word.split("=", 1) for word in said), systems.schema)
    mesh = program.mesh_of(config, jax.devices())
    step = program.compile_step(config, mesh, batch_size=mesh.size)
    print(
        json.dumps(
            {
                "trained": step.trained,
                "parameters": step.memory.parameters,
                "collectives": [
                    [c.kind, c.elements, c.bytes, c.times, c.source] for c in step.work.collectives
                ],
            }
        )
    )
