"""The batch that a config will be fed, as shapes: what the pipeline would make of records, without any."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from tdepth_jax.data.pipeline import MAX_RADAR_POINTS
from tdepth_jax.errors import UserError
from tdepth_jax.systems.base import System

RADAR_COLUMNS = 8  # of "radar" whole; the data set's metadata say how many it has, so this is a guess


def shapes(
    system: System,
    *,
    batch_size: int,
    image_size: tuple[int, int],
    sharding: jax.sharding.Sharding,
    wanted: frozenset[str] = frozenset(),
) -> dict[str, jax.ShapeDtypeStruct]:
    """The global batch of a training step, as `data.pipeline.train_iterator` yields it.

    Args:
      wanted: keys of `system.wants` that the data set has.

    Raises:
      UserError: a key that is not among what the system wants, or that no batch has.
    """
    if strange := wanted - system.wants:
        raise UserError(
            f"--with={','.join(sorted(strange))}: this method reads {', '.join(sorted(system.wants)) or 'no more'} "
            "where a data set has it"
        )
    frames, size = len(system.offsets), tuple(image_size)
    keys = system.needs | wanted
    of = {key: _shape(key, frames, size) for key in keys} | {"example": ((), jnp.int32)}
    if any(key.split("/")[0] == "radar" for key in keys):
        of["radar/valid"] = ((MAX_RADAR_POINTS,), jnp.bool_)
    return {
        key: jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=sharding)
        for key, (shape, dtype) in of.items()
    }


def _shape(key: str, frames: int, size: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
    """(shape without the batch axis, type) of one key."""
    if key == "rgb_from_thermal":
        return (4, 4), jnp.float32
    camera, _, field = key.partition("/")
    if camera == "condition":
        return (), jnp.bool_
    if camera == "radar":
        if field == "valid":
            return (MAX_RADAR_POINTS,), jnp.bool_
        return ((MAX_RADAR_POINTS,) if field else (MAX_RADAR_POINTS, RADAR_COLUMNS)), jnp.float32
    images = {"thermal": (1, jnp.uint16), "rgb": (3, jnp.uint8)}
    if camera not in images:
        raise UserError(f"the plan knows no shape of {key}; it is no key of a batch (data/pipeline.py)")
    channels, kind = images[camera]
    fields = {
        "image": ((frames, *size, channels), kind),
        "K": ((3, 3), jnp.float32),
        "world_from_camera": ((frames, 4, 4), jnp.float32),
        "depth": ((*size, 1), jnp.float32),
        "labels": (size, jnp.int32),
        "valid": ((*size, 1), jnp.bool_),
    }
    if field not in fields:
        raise UserError(f"the plan knows no shape of {key}; it is no key of a batch (data/pipeline.py)")
    return fields[field]
