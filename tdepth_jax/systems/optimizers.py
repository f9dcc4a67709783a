"""The optimiser that a config describes, as one Optax transformation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tdepth_jax import config
from tdepth_jax.errors import UserError, nearest

# Weight decay pulls on matrices and convolution kernels, not on what shifts or scales.
DECAYED = re.compile(r".*/kernel")


def make(settings: config.Optimizer, *, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm (of the trained parameters), then the optimiser with its schedule over `steps`.

    Raises:
      UserError: an unknown name or schedule.
    """
    rate = schedule(settings, steps=steps)
    optimizers = {
        "adam": lambda: optax.adam(rate, b1=settings.b1, b2=settings.b2),
        "adamw": lambda: optax.adamw(
            rate, b1=settings.b1, b2=settings.b2, weight_decay=settings.weight_decay, mask=_decayed
        ),
        # PyTorch's: the mean square starts at 0, and eps is added to its root.
        "rmsprop": lambda: optax.rmsprop(rate, decay=settings.b2, eps=1e-8, eps_in_sqrt=False),
        # PyTorch's: decay is part of the gradient, of every parameter, and so part of the momentum.
        "sgd": lambda: optax.chain(
            optax.add_decayed_weights(settings.weight_decay), optax.sgd(rate, momentum=settings.b1)
        ),
    }
    if settings.name not in optimizers:
        raise UserError(
            f"optimizer.name: there is no {settings.name!r}; {nearest(settings.name, optimizers)}"
        )
    clip = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
    return optax.chain(*clip, optimizers[settings.name]())


def slowed(tx: optax.GradientTransformation, pattern: str, factor: float) -> optax.GradientTransformation:
    """`tx`, the changes of parameters whose path matches `pattern` multiplied by `factor`: their learning rate is."""

    def scale(updates: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {path: factor * x if re.fullmatch(pattern, path) else x for path, x in updates.items()}

    return optax.chain(tx, optax.stateless(lambda updates, params: scale(updates)))


class Turn(NamedTuple):
    steps: jax.Array
    inner: optax.OptState


def turned(
    tx: optax.GradientTransformation, when: Callable[[jax.Array], jax.Array]
) -> optax.GradientTransformation:
    """`tx` in the steps whose number (from 0; those that were not finite not counted) `when` says yes to; in the
    others neither parameters nor its own state change."""

    def init(params: optax.Params) -> Turn:
        return Turn(jnp.zeros((), jnp.int32), tx.init(params))

    def update(grads: optax.Updates, state: Any, params: Any = None) -> tuple[optax.Updates, Turn]:
        now = when(state.steps)
        changes, inner = tx.update(grads, state.inner, params)
        changes = jax.tree.map(lambda x: jnp.where(now, x, jnp.zeros_like(x)), changes)
        inner = jax.tree.map(lambda new, old: jnp.where(now, new, old), inner, state.inner)
        return changes, Turn(state.steps + 1, inner)

    return optax.GradientTransformation(init, update)


def schedule(settings: config.Optimizer, *, steps: int) -> optax.Schedule:
    """Learning rate by step: a linear rise over `warmup_steps`, then the named shape down to the end factor."""
    peak, rest = settings.learning_rate, max(steps - settings.warmup_steps, 1)
    shapes = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, alpha=settings.end_factor),
        "exponential": lambda: optax.exponential_decay(peak, rest, max(settings.end_factor, 1e-6)),
        # OneCycle has a rise of its own, so `warmup_steps` normally stays 0 with it. PyTorch's final division is of the
        # first rate, not of the peak.
        "onecycle": lambda: optax.cosine_onecycle_schedule(
            rest,
            peak,
            pct_start=settings.peak_at,
            div_factor=1 / settings.start_factor,
            final_div_factor=settings.start_factor / max(settings.end_factor, 1e-8),
        ),
    }
    if settings.schedule not in shapes:
        raise UserError(
            f"optimizer.schedule: there is no {settings.schedule!r}; {nearest(settings.schedule, shapes)}"
        )
    after = shapes[settings.schedule]()
    if not settings.warmup_steps:
        return after
    rise = optax.linear_schedule(0.0, peak, settings.warmup_steps)
    return optax.join_schedules([rise, after], [settings.warmup_steps])


def _decayed(params: dict[str, jax.Array]) -> dict[str, bool]:
    return {path: bool(DECAYED.fullmatch(path)) for path in params}
