"""How a run begins: its shapes, its first weights, or the checkpoint it continues from."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from tdepth_jax.errors import UserError
from tdepth_jax.models.resnet import first_kernel
from tdepth_jax.systems.base import System
from tdepth_jax.systems.pretrained import Pretrained
from tdepth_jax.training import mesh as meshes
from tdepth_jax.training.checkpoint import Checkpoints, load_flat
from tdepth_jax.training.partition import Flat, flatten, nest
from tdepth_jax.training.state import State, create, divide

ADAPTERS = ("lora_", "conv_adapter")  # in the paths of parameters that no published weights have


def shapes(system: System, mesh: jax.sharding.Mesh, config: ConfigDict) -> tuple[State, Flat]:
    """(state, frozen) as shapes with shardings: what a restore fills and a compile needs. Allocates nothing."""
    variables = jax.eval_shape(system.init, jax.random.key(0))
    trainable, frozen, mutable = divide(system, variables)
    make = functools.partial(create, system, ema=config.train.ema_decay > 0)
    state = jax.eval_shape(make, trainable, mutable)
    return _placed(state, mesh, config), _placed(frozen, mesh, config)


def fresh(system: System, mesh: jax.sharding.Mesh, config: ConfigDict) -> tuple[State, Flat]:
    """The state before the first step: random weights, then the pretrained ones, then the optimisers' state.

    The random weights do not depend on the mesh: they are drawn from `train.seed` alone.
    """
    state_like, frozen_like = shapes(system, mesh, config)
    other = _run_weights(config.train.init_from, config.train.init_only)  # a mistake shows before a compile
    for name, tree in jax.eval_shape(system.init, jax.random.key(0)).items():
        _inherited(system, flatten(tree), other.get(name, {}), config)
    init = jax.jit(system.init, out_shardings=meshes.replicated(mesh))
    variables = {name: flatten(tree) for name, tree in init(jax.random.key(config.train.seed)).items()}
    for prefix, weights in system.pretrained.items():
        variables["params"] |= _pretrained(variables["params"], prefix, weights)
        if weights.statistics:
            statistics = Pretrained(weights.statistics, fresh=weights.fresh)
            variables["batch_stats"] |= _pretrained(variables["batch_stats"], prefix, statistics)
    for name, flat in variables.items():
        shared = _shared(flat, other[name], f"{config.train.init_from}: {name}") if name in other else {}
        flat |= shared
    trainable, frozen, mutable = divide(system, {name: nest(flat) for name, flat in variables.items()})
    make = functools.partial(create, system, ema=config.train.ema_decay > 0)
    state = jax.jit(make, out_shardings=_shardings(state_like))(trainable, mutable)
    return state, jax.device_put(frozen, _shardings(frozen_like))


def resume(
    system: System, mesh: jax.sharding.Mesh, config: ConfigDict, checkpoints: Checkpoints, step: int
) -> tuple[State, Flat, dict[str, Any]]:
    """(state, frozen, data position) of the checkpoint at `step`, on whatever devices there are now."""
    state_like, frozen_like = shapes(system, mesh, config)
    state, data = checkpoints.restore(step, state_like)
    return state, checkpoints.restore_frozen(frozen_like), data


def _placed(tree: Any, mesh: jax.sharding.Mesh, config: ConfigDict) -> Any:
    where = meshes.shardings(mesh, tree, fsdp_min_bytes=config.mesh.fsdp_min_bytes)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, where)


def _shardings(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.sharding, tree)


def _like(params: Flat) -> Flat:
    return {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding) for k, v in params.items()}


def _inherited(system: System, flat: Flat, other: Flat, config: ConfigDict) -> None:
    """Raises UserError unless the other run has all that must come from it."""
    fits = {k for k, v in flat.items() if k in other and other[k].shape == v.shape}
    missing = [k for k in flat if k not in fits and any(re.fullmatch(p, k) for p in system.inherits)]
    if not missing:
        return
    part, run = missing[0].split("/")[0], config.train.init_from
    if not run:
        raise UserError(
            f"{config.system.name} takes its {part} from another run, and a random one would teach noise: name the run "
            "with --init_from (train.init_from)"
        )
    raise UserError(
        f"train.init_from={run}: that run lacks {len(missing)} arrays of the {part} that this config describes, as "
        f"{missing[0]}; make model.{part}_* what that run's model is, or name another run"
    )


def _pretrained(params: Flat, prefix: str, weights: Pretrained) -> Flat:
    """Imported weights for the parameters under `prefix`; adapters, which no import has, always start fresh."""
    own = {
        k.removeprefix(prefix + "/"): v
        for k, v in params.items()
        if k.startswith(prefix + "/") and not any(word in k for word in ADAPTERS)
    }
    fresh = {k for k in own if any(re.fullmatch(p, k) for p in weights.fresh)}
    own = {k: v for k, v in own.items() if k not in fresh}
    folder = epath.Path(weights.folder)
    folder = folder if "://" in weights.folder else folder.resolve()  # Orbax reads absolute paths only
    if not weights.required and not folder.exists():
        return {}
    like = _like(own)
    if weights.first:
        kernel = like[weights.first]
        of_rgb = (*kernel.shape[:2], 3, kernel.shape[3])
        like[weights.first] = jax.ShapeDtypeStruct(of_rgb, kernel.dtype, sharding=kernel.sharding)
    try:
        taken = load_flat(folder, like, leave=weights.fresh, mend=_settings_that_fit(folder.parent))
    except UserError as error:
        if weights.required:
            raise
        meshes.say(f"{prefix} starts random: {error}")
        return {}
    if weights.first:
        taken[weights.first] = first_kernel(taken[weights.first], own[weights.first].shape[2])
    rest = sorted({k.split("/")[0] for k in fresh})
    meshes.say(f"{prefix}: from {folder}" + (f", but {', '.join(rest)} random" if rest else ""))
    return {f"{prefix}/{k}": v for k, v in taken.items()}


def _settings_that_fit(folder: epath.Path) -> str:
    """What the import said of the model its weights fit, to end an error sentence with."""
    said = folder / "import.json"
    record = json.loads(said.read_text()) if said.exists() else {"model": {}, "facts": {}}
    if "resnet" in record["facts"]:  # which methods name each in its own setting, or not at all
        return f"its import is a {record['facts']['resnet']['variant']}; import the file of this config's network"
    settings = [
        f"--config.model.{key}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in record["model"].items()
    ]
    return f"its import fits {' '.join(settings)}" if settings else ""


def _run_weights(workdir: str | None, only: Sequence[str]) -> dict[str, Flat]:
    """The weights and statistics of another run, by collection; those that match one of `only`, or all."""
    from tdepth_jax.training.restore import load_run

    if not workdir:
        return {}
    try:
        found = {name: flatten(tree) for name, tree in load_run(workdir).variables.items()}
    except UserError as error:
        raise UserError(
            f"train.init_from={workdir}: {error}; this run starts from that one's weights, so train it first "
            f"(configs/{epath.Path(workdir).name}.py), or name another with --init_from"
        ) from None
    wanted = "|".join(f"(?:{pattern})" for pattern in only) or ".*"
    chosen = {
        name: {k: v for k, v in flat.items() if re.fullmatch(wanted, k)} for name, flat in found.items()
    }
    if not any(chosen.values()):
        raise UserError(f"train.init_only={tuple(only)} matches nothing that {workdir} has")
    return {name: flat for name, flat in chosen.items() if flat}


def _shared(params: Flat, other: Flat, where: str) -> Flat:
    """Of the other run's weights those that this model shares, by name and shape."""
    shared = {k: v for k, v in other.items() if k in params and params[k].shape == v.shape}
    if not shared:
        raise UserError(f"train.init_from={where}: that run shares none of them with this model")
    meshes.say(f"initialised {len(shared)} of {len(params)} arrays from {where}")
    return {k: jax.device_put(jax.device_get(v), params[k].sharding) for k, v in shared.items()}
