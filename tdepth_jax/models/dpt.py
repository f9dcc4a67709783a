"""The DPT head (Ranftl et al. 2021) in the shape Depth Anything V2 gave it: class token ignored, sizes exact."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.models.resize import bilinear
from tdepth_jax.models.vit import Tap


class DPT(nn.Module):
    """Four taps of an h x w token grid, shallow to deep, to one channel of size `out` (before any activation).

    `channels` are the widths after reassembly, `features` the width of the fusion path. `stride` is how much
    coarser than `out` the last convolutions run; 1 is the published head, 2 costs a quarter of its largest part.
    """

    channels: tuple[int, int, int, int]
    features: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, taps: tuple[Tap, ...], grid: tuple[int, int], out: tuple[int, int]
    ) -> Float[Array, "b out_h out_w 1"]:
        levels = [
            _Reassemble(channels, self.features, scale, self.dtype, name=f"reassemble_{i}")(tokens, grid)
            for i, ((tokens, _), channels, scale) in enumerate(
                zip(taps, self.channels, (4, 2, 1, 0.5), strict=True)
            )
        ]
        x = None
        for i in reversed(range(4)):
            finer = levels[i - 1].shape[1:3] if i else (2 * levels[0].shape[1], 2 * levels[0].shape[2])
            x = _Fuse(self.features, self.dtype, name=f"fuse_{i}")(x, levels[i], finer)
        conv = lambda width, name: nn.Conv(width, (3, 3), dtype=self.dtype, name=name)  # noqa: E731
        x = conv(self.features // 2, "out_1")(x)
        x = bilinear(x, (-(-out[0] // self.stride), -(-out[1] // self.stride)))
        x = nn.relu(conv(32, "out_2")(x))
        x = nn.Dense(1, dtype=self.dtype, name="out_3")(x)
        return bilinear(x.astype(jnp.float32), out)


class _Reassemble(nn.Module):
    """Tokens to an image at `scale` times the token grid."""

    channels: int
    features: int
    scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n c"], grid: tuple[int, int]) -> Array:
        x = rearrange(tokens, "b (h w) c -> b h w c", h=grid[0])
        x = nn.Dense(self.channels, dtype=self.dtype, name="project")(x)
        if self.scale > 1:
            # A transposed convolution whose stride is its size is a matrix product and a shuffle.
            k = int(self.scale)
            x = nn.Dense(k * k * self.channels, dtype=self.dtype, name="resize")(x)
            x = rearrange(x, "b h w (k l c) -> b (h k) (w l) c", k=k, l=k)
        elif self.scale < 1:
            x = nn.Conv(self.channels, (3, 3), (2, 2), padding=1, dtype=self.dtype, name="resize")(x)
        return nn.Conv(self.features, (3, 3), use_bias=False, dtype=self.dtype, name="to_features")(x)


class _Fuse(nn.Module):
    """The coarser path (None at the coarsest level) plus this level, refined and brought to the next size."""

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array | None, level: Array, size: tuple[int, int]) -> Array:
        x = level if x is None else x + _Residual(self.features, self.dtype, name="skip")(level)
        x = _Residual(self.features, self.dtype, name="refine")(x)
        # A 1x1 convolution and a resize commute; convolving first works on a quarter of the pixels.
        return bilinear(nn.Dense(self.features, dtype=self.dtype, name="project")(x), size)


class _Residual(nn.Module):
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.Conv(self.features, (3, 3), dtype=self.dtype, name="conv_1")(nn.relu(x))
        return x + nn.Conv(self.features, (3, 3), dtype=self.dtype, name="conv_2")(nn.relu(y))
