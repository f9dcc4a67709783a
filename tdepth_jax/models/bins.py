"""The metric-bins head (ZoeDepth, Bhat et al. 2023, arXiv 2302.12288, section 3.1) on a DPT, as MonoTher-Depth has it.

Every pixel has its own bin centres: a first guess at the coarsest level, which attractors pull at each finer level of
the decoder. The depth is the mean of the centres under a binomial distribution with a temperature, both read from the
finest features, so that neighbouring bins share probability.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tdepth_jax.models.resize import bilinear

# Widths of the hidden layers and small numbers that keep quotients and logarithms finite, as published.
SEED_WIDTH = 256
WIDTH = 128
CENTRE_EPS, MIXTURE_EPS, PROBABILITY_EPS = 1e-3, 1e-4, 1e-4
CENTRES = ("normed", "softplus")


@dataclasses.dataclass(frozen=True)
class BinsConfig:
    """Sizes and range.

    Attributes:
      n_bins: bins of every pixel.
      embedding: width of the maps that place the attractors.
      attractors: how many pull at each level, deep to shallow.
      strength: alpha of the attraction, dx / (1 + alpha dx^2) for a centre dx away. MonoTher-Depth and ZoeDepth
        configure 1000, but their code does not pass it on: what is released was trained with 300.
      centres: "normed" between the least and the largest depth, in shares of which all attraction is reckoned, or
        "softplus", unbounded and in metres.
      temperatures: least and largest of the distribution.
      min_depth, max_depth: metres.
    """

    n_bins: int = 64
    embedding: int = 128
    attractors: tuple[int, ...] = (16, 8, 4, 1)
    strength: float = 300.0
    centres: str = "normed"
    temperatures: tuple[float, float] = (0.0212, 50.0)
    min_depth: float = 1e-3
    max_depth: float = 80.0


class MetricBins(nn.Module):
    """A decoder's maps to depth in metres, and to the features that it is read from.

    Args of a call:
      last: [b u v c] the decoder's last activation.
      relative: [b u v 1] the relative depth (inverse, as Depth Anything has it) made of it.
      bottleneck: the deepest tap as it enters the fusion path; any size.
      paths: the fusion path after each level, deep to shallow; any sizes.

    Returns depth [b u v 1], float32, between min_depth and max_depth ("softplus": the caller bounds it), and
    features [b u v c + 1 + embedding]: `last`, `relative` and the finest embedding; 161 channels as published.
    """

    config: BinsConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, last: Array, relative: Array, bottleneck: Array, paths: tuple[Array, ...]
    ) -> tuple[Float[Array, "b u v 1"], Float[Array, "b u v d"]]:
        cfg, size = self.config, last.shape[1:3]
        x = nn.Dense(bottleneck.shape[-1], dtype=self.dtype, name="bottleneck")(bottleneck)
        centres = _seeds(_MLP(SEED_WIDTH, cfg.n_bins, self.dtype, name="seeds")(x), cfg.centres)
        before = _MLP(WIDTH, cfg.embedding, self.dtype, name="embed_seeds")(x)
        for i, (path, count) in enumerate(zip(paths, cfg.attractors, strict=True)):
            here = path.shape[1:3]
            embedding = _MLP(WIDTH, cfg.embedding, self.dtype, name=f"embed_{i}")(path)
            points = _MLP(WIDTH, count, self.dtype, name=f"attract_{i}")(embedding + bilinear(before, here))
            points = _positive(points, cfg.centres)
            centres = attracted(bilinear(centres, here, precision="highest"), points, cfg.strength)
            before = embedding
        if cfg.centres == "normed":
            # Attraction by the mean keeps the order of the centres, so nothing is left to sort.
            centres = cfg.min_depth + (cfg.max_depth - cfg.min_depth) * jnp.clip(centres, 0.0, 1.0)
        finest = bilinear(embedding, size)
        features = jnp.concatenate([last, relative.astype(last.dtype), finest.astype(last.dtype)], axis=-1)
        width = features.shape[-1] // 2
        mixture = _MLP(width, 4, self.dtype, activation=_gelu, name="mixture")(features)
        mixture = nn.softplus(mixture) + MIXTURE_EPS
        share, temperature = (one[..., :1] / one.sum(-1, keepdims=True) for one in jnp.split(mixture, 2, -1))
        coldest, hottest = cfg.temperatures
        temperature = coldest + (hottest - coldest) * temperature

        # Centres and probabilities of every pixel are the largest arrays here: made again in the backward pass.
        @jax.checkpoint
        def mean(share: Array, temperature: Array, centres: Array) -> Array:
            fine = bilinear(centres, size, precision="highest")
            return (binomial(share, temperature, cfg.n_bins) * fine).sum(-1, keepdims=True)

        return mean(share, temperature, centres), features


def attracted(
    centres: Float[Array, "... n"], points: Float[Array, "... a"], strength: float
) -> Float[Array, "... n"]:
    """Centres pulled by the mean over attractor points of dx / (1 + strength dx^2), dx the way from centre to point.

    The order of the centres stays: by the derivative, two neighbours never cross. One attractor at a time, each made
    again in the backward pass: nothing of n x a is ever kept (unrolled, the compiler keeps all of it; scanned, 2.3
    arrays of the centres' size for any count).
    """

    @jax.checkpoint
    def add(total: Array, point: Array) -> tuple[Array, None]:
        way = point[..., None] - centres
        return total + way / (1 + strength * way**2), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(centres), jnp.moveaxis(points, -1, 0))
    return centres + total / points.shape[-1]


def binomial(
    share: Float[Array, "... 1"], temperature: Float[Array, "... 1"], n: int
) -> Float[Array, "... n"]:
    """softmax over bins k of log(C(n - 1, k) share^k (1 - share)^(n - 1 - k)) / temperature; float32.

    The binomial coefficient by Stirling's formula without its root, as published (ZoeDepth's code).
    """
    k, most = np.arange(n, dtype=np.float32), np.float32(n - 1)
    eps = np.float32(1e-7)
    shifted, rest = k + eps, most - k
    coefficients = (most + eps) * np.log(most + eps) - shifted * np.log(shifted) - rest * np.log(rest + eps)
    yes, no = (jnp.log(jnp.clip(p.astype(jnp.float32), PROBABILITY_EPS, 1.0)) for p in (share, 1 - share))
    return nn.softmax((coefficients + k * yes + rest * no) / temperature, axis=-1)


class _MLP(nn.Module):
    """Two linear maps at every pixel; float32 comes out."""

    hidden: int
    out: int
    dtype: jnp.dtype
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = self.activation(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        return nn.Dense(self.out, dtype=self.dtype, name="out")(x).astype(jnp.float32)


def _gelu(x: Array) -> Array:
    return nn.gelu(x, approximate=False)


def _positive(raw: Array, kind: str) -> Array:
    return nn.relu(raw) + CENTRE_EPS if kind == "normed" else nn.softplus(raw)


def _seeds(raw: Array, kind: str) -> Array:
    """First centres: in the middle of bins whose widths are shares of the range, or as they come (metres)."""
    widths = _positive(raw, kind)
    if kind == "softplus":
        return widths
    widths = widths / widths.sum(-1, keepdims=True)
    return jnp.cumsum(widths, axis=-1) - widths / 2
