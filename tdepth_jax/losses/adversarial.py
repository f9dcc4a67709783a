"""What a critic of two domains learns, what confuses it, and how it fares. HeatNet (IROS 2020), section III."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

KINDS = ("squares", "cross_entropy")

Scalar = Float[Array, ""]

HORIZON = 50  # steps that the watch over a critic looks back on, and waits for before it judges
DOMINATES = 0.95  # share of pixels told rightly from which on nothing is confused
SAME = 0.02  # standard deviation of what is said below which all is called the same


def domain_loss(
    said: Float[Array, "b h w 1"],
    of: Bool[Array, " b"],
    target: float,
    *,
    kind: str,
    weight: Float[Array, "b h w"] | None = None,
) -> tuple[Scalar, Scalar]:
    """How far from `target` (1 or 0) the critic is at the pixels of one domain's images: (sum, count).

    "squares" (least-squares GAN, Mao et al. 2017) of what it says, or "cross_entropy" of that as a logit. A batch
    without such images gives (0, 0). A `weight` multiplies a pixel's loss and does not change the count.
    """
    x = said[..., 0].astype(jnp.float32)
    if kind == "squares":
        loss = (x - target) ** 2
    else:
        loss = -target * jax.nn.log_sigmoid(x) - (1 - target) * jax.nn.log_sigmoid(-x)
    loss = loss if weight is None else weight * loss
    own = jnp.broadcast_to(of[:, None, None], x.shape)
    return jnp.where(own, loss, 0.0).sum(), own.sum().astype(jnp.float32)


class Watch(NamedTuple):
    """A critic's running figures: shares of the last steps that had both domains."""

    right: Scalar  # share of pixels told rightly, the mean of both domains
    spread: Scalar  # standard deviation of what it says, over both domains
    steps: Scalar


def watch_begun() -> Watch:
    return Watch(jnp.full((), 0.5), jnp.ones(()), jnp.zeros(()))


def watched(
    before: Watch,
    said: Float[Array, "b h w 1"],
    day: Bool[Array, " b"],
    night: Bool[Array, " b"],
    *,
    kind: str,
) -> Watch:
    """The figures after one more step; a mean of all until `HORIZON` steps, then a running one."""
    x = said[..., 0].astype(jnp.float32)
    x = x if kind == "squares" else jax.nn.sigmoid(x)

    def mean(values: Array, of: Array) -> Array:
        return (values.mean(axis=(1, 2)) * of).sum() / jnp.maximum(of.sum(), 1)

    right = (mean((x > 0.5).astype(jnp.float32), day) + mean((x <= 0.5).astype(jnp.float32), night)) / 2
    both = day | night
    spread = jnp.sqrt(mean((x - mean(x, both)) ** 2, both))
    rate = jnp.maximum(1 / (before.steps + 1), 1 / HORIZON)
    after = Watch(
        before.right + rate * (right - before.right),
        before.spread + rate * (spread - before.spread),
        before.steps + 1,
    )
    usable = day.any() & night.any() & jnp.isfinite(spread)
    return jax.tree.map(lambda new, old: jax.lax.stop_gradient(jnp.where(usable, new, old)), after, before)


def verdict(watch: Watch) -> Scalar:
    """1: the critic dominates, it tells nearly every pixel's domain. -1: it says the same of all. 0: neither, or too
    early to say."""
    found = jnp.where(watch.right > DOMINATES, 1.0, jnp.where(watch.spread < SAME, -1.0, 0.0))
    return jnp.where(watch.steps >= HORIZON, found, 0.0)
