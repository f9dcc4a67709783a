"""What a step changes. Frozen parameters are not here: they are a second argument of the step."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tdepth_jax.systems.base import System
from tdepth_jax.training.partition import Flat, flatten, nest, split


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Donated to every step and saved with every checkpoint.

    Attributes:
      step: steps taken.
      trainable: path -> parameter.
      mutable: Flax's other collections, e.g. {"batch_stats": …}.
      opt: update name -> optimiser state.
      ema: moving average of `trainable`, or empty.
      skipped: NaN/Inf steps so far, and in a row.
    """

    step: jax.Array
    trainable: Flat
    mutable: dict[str, Any]
    opt: dict[str, Any]
    ema: Flat
    skipped: jax.Array
    skipped_in_a_row: jax.Array


def divide(system: System, variables: dict[str, Any]) -> tuple[Flat, Flat, dict[str, Any]]:
    """(trainable, frozen, mutable) of freshly initialised variables."""
    mutable = {name: tree for name, tree in variables.items() if name != "params"}
    patterns = tuple(dict.fromkeys(p for update in system.updates for p in update.trainable))
    trainable, frozen = split(flatten(variables["params"]), patterns)
    return trainable, frozen, mutable


def create(system: System, trainable: Flat, mutable: dict[str, Any], *, ema: bool) -> State:
    """The state before the first step. The optimisers see the weights as loaded, and only what they train."""
    return State(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        mutable=mutable,
        opt={u.name: u.tx.init(split(trainable, u.trainable)[0]) for u in system.updates},
        ema=jax.tree.map(jnp.copy, trainable) if ema else {},
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_a_row=jnp.zeros((), jnp.int32),
    )


def variables(state: State, frozen: Flat) -> dict[str, Any]:
    """What `System.predict` takes: the moving average where one is kept, the live parameters otherwise."""
    return {"params": nest({**frozen, **(state.ema or state.trainable)}), **state.mutable}
