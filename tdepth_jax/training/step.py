"""A System as two pure functions: what its teacher says of a batch, and the step that this goes into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tdepth_jax.errors import UserError
from tdepth_jax.systems.base import Batch, System, Update
from tdepth_jax.training.partition import Flat, nest, split
from tdepth_jax.training.state import State

Logs = dict[str, jax.Array]
Targets = Any  # a pytree of arrays with a leading batch axis; None of a system without a teacher


def make_teacher(system: System) -> Callable[[State, Flat, Batch], Targets]:
    """(state, frozen, batch) -> targets of that batch, without gradient; None where the system has no teacher."""

    def teach(state: State, frozen: Flat, batch: Batch) -> Targets:
        if system.teacher is None:
            return None
        live = {"params": nest({**state.trainable, **frozen}), **state.mutable}
        return jax.lax.stop_gradient(system.teacher(live, batch))

    return teach


def make_step(
    system: System, *, seed: int, accumulate: int = 1, ema_decay: float = 0.0
) -> Callable[..., tuple[State, Logs]]:
    """(state, frozen, batch, targets) -> (state, scalars to log); pure, to be jitted and donated by the caller.

    Randomness derives from (seed, step), so a checkpoint carries no key. With `accumulate` micro-batches the
    gradients are averaged; each micro-batch's terms are normalised by its own counts. An update whose loss or
    gradient is not finite changes nothing and is counted.
    """

    def step(state: State, frozen: Flat, batch: Batch, targets: Targets = None) -> tuple[State, Logs]:
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        trainable, mutable, opt = state.trainable, state.mutable, dict(state.opt)
        logs: Logs = {}
        good = jnp.asarray(True)
        for i, update in enumerate(system.updates):
            own, rest = split(trainable, update.trainable)
            grads, terms, new_mutable = _gradients(
                update,
                own,
                {**frozen, **rest},
                mutable,
                batch,
                targets,
                jax.random.fold_in(rng, i),
                accumulate,
            )
            norm = optax.tree.norm(grads)
            finite = jnp.isfinite(terms["loss"]) & jnp.isfinite(norm)
            changes, new_opt = update.tx.update(grads, opt[update.name], own)
            new_own = optax.apply_updates(own, changes)
            own, opt[update.name], mutable = _choose(
                finite, (new_own, new_opt, new_mutable), (own, opt[update.name], mutable)
            )
            trainable = {**rest, **own}
            good &= finite
            prefix = f"{update.name}/" if len(system.updates) > 1 else ""
            logs |= {prefix + name: value for name, value in terms.items()} | {f"{prefix}grad_norm": norm}
        skipped = state.skipped + ~good
        ema = (
            jax.tree.map(lambda e, p: ema_decay * e + (1 - ema_decay) * p, state.ema, trainable)
            if state.ema
            else {}
        )
        new = State(
            step=state.step + 1,
            trainable=trainable,
            mutable=mutable,
            opt=opt,
            ema=ema,
            skipped=skipped,
            skipped_in_a_row=jnp.where(good, 0, state.skipped_in_a_row + 1),
        )
        return new, logs | {"skipped_steps": skipped, "skipped_in_a_row": new.skipped_in_a_row}

    return step


def _gradients(
    update: Update,
    own: Flat,
    rest: Flat,
    mutable: Mapping[str, Any],
    batch: Batch,
    targets: Any,
    rng: jax.Array,
    accumulate: int,
) -> tuple[Flat, Logs, Any]:
    """Gradients of the weighted loss w.r.t. `own` only, the terms' means, and the new mutable state."""

    def loss(own: Flat, mutable: Any, batch: Batch, targets: Any, rng: jax.Array) -> tuple[jax.Array, Any]:
        terms, new_mutable = update.loss(nest({**rest, **own}), mutable, batch, targets, rng)
        if missing := set(update.weights) - set(terms):
            raise UserError(
                f"update {update.name!r}: no such loss term {', '.join(sorted(missing))}; it has {', '.join(terms)}"
            )
        means = {name: jnp.sum(total / jnp.maximum(count, 1e-12)) for name, (total, count) in terms.items()}
        total = sum((w * means[name] for name, w in update.weights.items()), jnp.zeros(()))
        return total, ({"loss": total, **means}, new_mutable)

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if accumulate == 1:
        (_, (terms, mutable)), grads = value_and_grad(own, mutable, batch, targets, rng)
        return grads, terms, mutable

    def micro(carry: Any, inputs: Any) -> tuple[Any, None]:
        mutable, grads, terms, i = carry
        (_, (new_terms, mutable)), new_grads = value_and_grad(
            own, mutable, *inputs, jax.random.fold_in(rng, i)
        )
        return (mutable, *_add((grads, terms), (new_grads, new_terms)), i + 1), None

    pieces = jax.tree.map(lambda x: _deal(x, accumulate), (batch, targets))
    first = jax.tree.map(lambda x: x[0], pieces)
    (_, (terms, _)), grads = jax.eval_shape(value_and_grad, own, mutable, *first, rng)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, terms))
    (mutable, grads, terms, _), _ = jax.lax.scan(micro, (mutable, *zeros, jnp.zeros((), jnp.int32)), pieces)
    grads, terms = jax.tree.map(lambda x: x / accumulate, (grads, terms))
    return grads, terms, mutable


def _deal(x: jax.Array, hands: int) -> jax.Array:
    """(b, …) -> (hands, b/hands, …), dealt like cards, so that every device keeps its share of each hand."""
    return jnp.swapaxes(x.reshape(len(x) // hands, hands, *x.shape[1:]), 0, 1)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


def _choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
