"""The last stage of BoTNet (Srinivas et al. 2021) as CEKD has it: self-attention in place of 3x3 convolutions.

Against the paper: positions are learned tables of rows and columns (absolute), four heads as wide as the block's
bottleneck, average pooling after the attention of the first block, and a 3x3 convolution in its shortcut.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tdepth_jax.models.attention import attention
from tdepth_jax.models.resize import linear_weights

# PyTorch's initial kernels of convolutions and linear maps: uniform, of variance 1 / (3 fan_in).
torch_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """`grid` is the size (h, w) of the stage's input that the position tables are for; others resample them."""

    heads: int = 4
    head_width: int = 512
    grid: tuple[int, int] = (30, 40)


class AttentionStage(nn.Module):
    """`count` blocks at `width` channels; the first halves the map: [b h w c] to [b h/2 w/2 width]."""

    config: AttentionConfig
    width: int
    count: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b u v d"]:
        for i in range(self.count):
            h, w = self.config.grid
            config = self.config if not i else dataclasses.replace(self.config, grid=(-(-h // 2), -(-w // 2)))
            x = _Block(config, self.width, not i, self.norm, self.dtype, name=f"block_{i}")(x)
        return x


class _Block(nn.Module):
    config: AttentionConfig
    width: int
    halve: bool
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=torch_kernel)
        shortcut = x
        if self.halve:
            shortcut = conv(self.width, (3, 3), 2, padding=1, name="shortcut_conv")(x)
            shortcut = nn.relu(self.norm(name="shortcut_bn")(shortcut))
        y = nn.relu(self.norm(name="bn1")(conv(self.width // 4, (1, 1), name="conv1")(x)))
        y = _Attention(self.config, self.dtype, name="attention")(y)
        if self.halve:
            # Odd sizes keep their last row and column, as the shortcut's convolution does.
            y = nn.avg_pool(y, (2, 2), (2, 2), [(0, n % 2) for n in y.shape[1:3]], count_include_pad=False)
        y = nn.relu(self.norm(name="bn2")(y))
        y = conv(self.width, (1, 1), name="conv2")(y)
        # A block starts as its shortcut alone.
        y = self.norm(name="bn3", scale_init=nn.initializers.zeros)(y)
        return nn.relu(y + shortcut)


class _Attention(nn.Module):
    """Softmax over all pixels of q·(k + row + column) / sqrt(d), which is q·k + q·position, both scaled."""

    config: AttentionConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w n*d"]:
        heads, width = self.config.heads, self.config.head_width
        qkv = nn.Conv(
            3 * heads * width, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=torch_kernel, name="qkv"
        )(x)
        rows, columns = (
            self._positions(name, stored, size)
            for name, stored, size in zip(("rows", "columns"), self.config.grid, x.shape[1:3], strict=True)
        )
        position = rearrange(rows[:, None] + columns[None], "h w d -> (h w) 1 d").astype(self.dtype)
        q, k, v = rearrange(qkv, "b h w (three n d) -> three b (h w) n d", three=3, n=heads)
        found = attention(q, k + position, v)
        return rearrange(found, "b (h w) n d -> b h w (n d)", h=x.shape[1])

    def _positions(self, name: str, stored: int, size: int) -> Float[Array, "n d"]:
        width = self.config.head_width
        table = self.param(name, nn.initializers.normal(width**-0.5), (stored, width))
        return table if size == stored else jnp.asarray(linear_weights(size, stored, False)) @ table
