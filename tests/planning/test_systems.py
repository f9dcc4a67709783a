"""Every method's step can be planned: its batch is described and its programs trace, with no data and no weights."""

from __future__ import annotations

import pathlib

import jax
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.planning import program
from tdepth_jax.training import flops, programs

ROOT = pathlib.Path(__file__).resolve().parents[2]


def one_of_each() -> dict[str, str]:
    """system name -> the first of ThermalWorld's configs that has it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "configs").glob("world_*.py")):
        config = configs.load(str(path), {}, systems.schema)
        found.setdefault(config.system.name, str(path))
    return found


@pytest.mark.parametrize("name", one_of_each())
def test_the_step_of_every_method_traces_from_its_config_alone(name):
    config = program.settled(configs.load(one_of_each()[name], {}, systems.schema))
    if "dtype" in config.model:
        assert config.model.dtype != "auto"
    mesh = program.mesh_of(config, jax.devices()[:1])
    system, state, frozen, batch = program.arguments(config, mesh, batch_size=2 * config.train.accumulate)
    jitted = programs.jitted(system, state, frozen, config, mesh)
    targets = None
    if jitted.teach:
        targets = jitted.teach.trace(state, frozen, batch).out_info
        targets = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), targets)
    traced = jitted.update.trace(state, frozen, batch, targets)
    assert flops.of_trace(traced.jaxpr, platform="tpu") > 1e6
    new, _ = traced.out_info
    assert jax.tree.map(lambda x: x.shape, new) == jax.tree.map(lambda x: x.shape, state)
